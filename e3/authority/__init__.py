"""Authorities, which sign identities, and the encodings of certificates."""
