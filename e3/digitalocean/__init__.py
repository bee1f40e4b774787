"""A DigitalOcean account: what it offers, what a stack has there, and how that is removed.

It does not import Pulumi: `e3 sweep` and `e3 verify-gone` use it without.
"""
