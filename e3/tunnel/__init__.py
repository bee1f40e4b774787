"""Tunnels between the parties of a session: what drives `e3-tunnel`, built from tools/tunnel.

docs/tunnel.md describes its modes, its paths and its control.
"""

from e3.tunnel.client import PROGRAM, Tunnel, local, over
from e3.tunnel.messages import Candidate, Grant, Mode, Open, Opened, Path, Peer, PeerReport, Report

__all__ = [
    "PROGRAM",
    "Candidate",
    "Grant",
    "Mode",
    "Open",
    "Opened",
    "Path",
    "Peer",
    "PeerReport",
    "Report",
    "Tunnel",
    "local",
    "over",
]
