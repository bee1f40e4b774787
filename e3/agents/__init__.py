"""What runs on the hosts of the overlay `didcomm`: an agent each, and mediators on public ones.

It is sent to the hosts, with those modules of E3 that it uses (`e3.overlays.didcomm`). An agent
makes the host's identity and keys, meets the others by messages, and drives `e3-tunnel`.
"""
