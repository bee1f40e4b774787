"""What runs on a host that is reached by SSH: shipped with each call, standard library only.

`e3.access.shipping` sends these modules to the host's own Python, which may be older than ours
(3.8). Nothing is installed there, and nothing of a request stands on a command line.
"""
