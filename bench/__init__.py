"""Measurements: each module prints its results for a person, and as JSON."""
