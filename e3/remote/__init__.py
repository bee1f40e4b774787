"""What runs on a host besides a party: standard library only, Python 3.11 or newer."""
