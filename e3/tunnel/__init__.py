"""Tunnels between the parties of a session: what drives `e3-tunnel`, built from tools/tunnel.

docs/tunnel.md describes its modes, its paths and its control.
"""

from e3.tunnel.client import Tunnel, local, over
from e3.tunnel.control import PROGRAM
from e3.tunnel.messages import Candidate, Grant, Mode, Open, Opened, Path, Peer, PeerReport, Report
from e3.tunnel.relay import Relay, local_relay, relay_over, token
from e3.tunnel.relay_messages import RelayGrant, RelayOpen, RelayOpened, RelayReport

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
    "Relay",
    "RelayGrant",
    "RelayOpen",
    "RelayOpened",
    "RelayReport",
    "Report",
    "Tunnel",
    "local",
    "local_relay",
    "over",
    "relay_over",
    "token",
]
