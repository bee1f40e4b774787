"""A DigitalOcean account: what it offers, what a stack has there, and how that is removed.

No Pulumi in here: `e3 sweep` and `e3 verify-gone` ask without it.
"""
