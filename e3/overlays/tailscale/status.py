"""What Tailscale's client and Headscale answer, decoded into bounded values.

A host answers for itself, so its answers are foreign. Fields that E3 does not read are ignored.
A client's are in ipn/ipnstate/ipnstate.go of github.com/tailscale/tailscale, Headscale's in
proto/headscale/v1 of github.com/juanfont/headscale.
"""

import re
from collections.abc import Iterable
from typing import Annotated, TypeVar

from msgspec import DecodeError, Meta, Struct, json

from e3.errors import OverlayError
from e3.interfaces import Host
from e3.paths import PathClass, Relayed
from e3.remote.tailscale_peers import NEVER
from e3.remote.text import printable

RELAY = re.compile(r" via (?:DERP|peer-relay)\((?P<by>.*?)\) in ")

Text = Annotated[str, Meta(max_length=1_000)]
Addresses = Annotated[list[Text], Meta(max_length=100)] | None
"""Go prints a list that was never made as ``null``."""

Number = int | Annotated[str, Meta(pattern=r"^[0-9]{1,20}$")]
"""How Go's two encoders of JSON print a number of 64 bits."""

Answer = TypeVar("Answer")


class OwnNode(
    Struct,
    frozen=True,
    kw_only=True,
    rename={
        "id": "ID",
        "public_key": "PublicKey",
        "host_name": "HostName",
        "addresses": "TailscaleIPs",
    },
):
    """The client's own node, as its control server knows it."""

    id: Text = ""
    public_key: Text = ""
    host_name: Text = ""
    addresses: Addresses = None


class Peer(
    Struct,
    frozen=True,
    kw_only=True,
    rename={
        "active": "Active",
        "last_handshake": "LastHandshake",
        "address": "CurAddr",
        "relay": "Relay",
        "peer_relay": "PeerRelay",
        "addresses": "TailscaleIPs",
    },
):
    """Another node as the client knows it; ``last_handshake`` is as Go prints a time.

    ``address`` is where packets go directly, empty if a relay forwards them.
    """

    active: bool = False
    last_handshake: Text = NEVER
    address: Text = ""
    relay: Text = ""
    peer_relay: Text = ""
    addresses: Addresses = None


class Status(
    Struct,
    frozen=True,
    kw_only=True,
    rename={"state": "BackendState", "own": "Self", "peers": "Peer"},
):
    """A client's status; ``peers`` are by their public keys."""

    state: Text = "NoState"
    own: OwnNode = OwnNode()
    peers: dict[Text, Peer] | None = None

    @property
    def known(self) -> bool:
        """Whether the client knows its state."""
        return self.state != "NoState"

    @property
    def logged_in(self) -> bool:
        """Whether the client holds an identity that it uses."""
        return self.state in {"Running", "Starting"}

    @property
    def address(self) -> str:
        """The client's IPv4 address on the overlay; `OverlayError` if it has none."""
        for address in self.own.addresses or ():
            if "." in address:
                return address
        raise OverlayError(
            f"the control server gave host {printable(self.own.host_name)} no IPv4 address"
        )


class Greeted(
    Struct,
    frozen=True,
    kw_only=True,
    rename={"state": "BackendState", "own": "Self", "silent": "Peer"},
):
    """What `e3.remote.tailscale_peers` prints: a status, and the names that did not answer."""

    state: Text = "NoState"
    own: OwnNode = OwnNode()
    silent: Annotated[list[Text], Meta(max_length=10_000)] = []

    @property
    def status(self) -> Status:
        """The status alone."""
        return Status(state=self.state, own=self.own)


class User(Struct, frozen=True):
    """A user of Headscale."""

    id: Number


class Node(Struct, frozen=True):
    """A node that Headscale knows."""

    id: Number
    node_key: Text


class AuthKey(Struct, frozen=True):
    """A key with which a node logs in."""

    key: Text


def decode(host: Host, program: str, answer: bytes, kind: type[Answer]) -> Answer:
    """Return the answer of a program on a host; raise `OverlayError` if it is no such value."""
    try:
        return json.decode(answer, type=kind)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = printable(answer.decode(errors="replace").strip())
        raise OverlayError(
            f"{program} on host {host.name} gives an answer that cannot be read: {said} "
            f"({printable(error)})"
        ) from None


def read_paths(peers: Iterable[Peer]) -> dict[str, PathClass | Relayed]:
    """Return the path to each address to which a client sends now. Pure."""
    found: dict[str, PathClass | Relayed] = {}
    for peer in peers:
        if peer.active and not peer.last_handshake.startswith(NEVER):
            relayed = Relayed(by=peer.peer_relay or peer.relay)
            path: PathClass | Relayed = "direct" if peer.address else relayed
            found.update(dict.fromkeys(peer.addresses or (), path))
    return found


def read_pongs(said: str) -> PathClass | Relayed:
    """Return the path that a ping found, by its last answer. Pure."""
    pongs = [line for line in said.splitlines() if line.startswith("pong")]
    if not pongs:
        return "none"
    relay = RELAY.search(pongs[-1])
    return Relayed(by=relay["by"]) if relay else "direct"
