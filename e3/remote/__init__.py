"""What runs on a host besides a party: standard library only, and Python 3.9 or newer."""
