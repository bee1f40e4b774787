"""The protocol e3-session 1.0: how parties agree on who computes what with whom, and by which keys.

`bodies` are the messages, `invitation` is the link, `proof` ties a session's DID to a lasting one,
`lobby` is the initiator's part until all are there, `negotiation` is every party's part after it.
The last two are state machines without any input or output of their own.
"""
