"""The overlay `tor`, and the private Tor network that it makes."""
