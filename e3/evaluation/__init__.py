"""Measurements with E3, and how they are shown."""
