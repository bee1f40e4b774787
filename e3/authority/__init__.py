"""Who signs identities, and the encodings of what is signed."""
