"""Tailscale's clients, with a control server of our own or somebody else's."""
