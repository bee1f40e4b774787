"""Identities and messages of parties who have no deployer: DIDs, DIDComm v2, its mediator.

`did` reads identifiers and their documents. docs/didcomm.md describes the protocol and who learns
what.
"""
