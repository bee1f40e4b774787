"""Ceremonies of a joint authority, from the machine that deploys: it passes words on.

The coordinator asks each holder's program (`e3.authority.joint.holder`) on its host, passes on what
holders say to one another, and checks all of it itself. It never has a share, and what it could
change, holders notice: they sign what they say, and dealers seal what is for one receiver alone.
"""
