"""The protocol e3-network 1.0: how agents keep a network of tunnels between them, by messages.

Unlike a session, a network lasts: members come and go, and an agent that was restarted has new
keys. `bodies` are the messages, `invitation` the link, `convener` the part of the agent that says
who the members are, `membership` every agent's part. The last two are state machines without any
input or output of their own.
"""
