"""How many cases Hypothesis makes up where each costs a process; the profiles: conftest.py."""

from hypothesis import settings

FEWER = settings(max_examples=max(2, settings().max_examples // 10))
"""A decorator: a tenth of the profile's number."""
