"""Machines that exist: listed in a file, looked at, and made ready for a party."""
