"""Tailscale's clients, with a control server of the stack or of another operator."""
