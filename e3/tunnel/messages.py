"""What `e3-tunnel party` is told and what it answers: one JSON object a line, typed and bounded.

The other side of it is tools/tunnel/internal/party/control.go.
"""

from typing import Annotated, Literal

import msgspec

VERSION = 1
"""Of this control; the program says its own when it is opened."""

LINE_BYTES = 65_536
MOST_PIDS = 1024
MOST_CANDIDATES = 32

Mode = Literal["userspace", "tun", "namespace", "tls"]
"""Where packets of the tunnel go: to TCP forwarders in the program itself, which needs no right; to
a TUN device, for which one must be root; or to a TUN device in a user and network namespace of
one's own, which needs Linux and a /dev/net/tun that the user may open."""

PathKind = Literal["host", "ipv6", "reflexive", "relay", "tcp", "tcp-relay"]
"""How datagrams reach a peer: at an address of its machine, at one that its NAT has given it, by a
relay, or over TLS where no UDP passes. The order is that of preference."""

CandidateKind = Literal["host", "ipv6", "reflexive", "tcp"]

Mapping = Literal["none", "endpoint-independent", "address and port-dependent", "unknown"]
"""How the NAT before this party maps (RFC 4787, 4.1). A hint: every candidate is tried."""

Pid = Annotated[int, msgspec.Meta(ge=0, lt=MOST_PIDS)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Endpoint = Annotated[str, msgspec.Meta(max_length=64)]
Key = Annotated[str, msgspec.Meta(min_length=44, max_length=44)]
Sum = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, msgspec.Meta(max_length=512)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Candidate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ``address``, with its port, at which a party may be reached."""

    kind: CandidateKind
    address: Endpoint


class Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a relay has granted one side of a pair: addresses with ports, and its token."""

    token: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    udp: Endpoint | None = None
    tcp: Endpoint | None = None


class Open(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """How this party's end is made.

    ``address`` has the length of the tunnel's prefix, as in 10.77.0.1/24. ``stun`` are servers of
    STUN, best two ports of one host. ``namespace`` is a process in whose namespaces the TUN device
    is made; without it there are new ones. With ``relay_only`` no peer learns an address of this
    party, with ``loopback`` also loopback addresses are candidates.
    """

    pid: Pid
    mode: Mode
    address: Endpoint
    mtu: int = 0
    interface: str = ""
    namespace: int = 0
    port: Port = 0
    tcp_port: Port = 0
    stun: tuple[Endpoint, ...] = ()
    loopback: bool = False
    relay_only: bool = False
    without_tcp: bool = False


class Peer(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Another party, with what it has said of its own end.

    ``psk`` is the secret of the pair, 32 bytes in base64, which both derive from what they agreed.
    """

    pid: Pid
    address: Endpoint
    public_key: Key
    psk: Key
    certificate: Sum | Literal[""] = ""
    candidates: tuple[Candidate, ...] = ()
    relay: Grant | None = None


class Path(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to a peer that works; bytes are those of WireGuard's datagrams."""

    kind: PathKind
    address: Endpoint
    rtt_ms: Annotated[float, msgspec.Meta(ge=0)]
    sent_bytes: Count
    received_bytes: Count


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event"):
    """Something that a program says, of the kind in its field ``event``."""


class PeerReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of a tunnel: ``paths`` are those that work, the one in use first."""

    pid: Pid
    handshake_age_seconds: Annotated[float, msgspec.Meta(ge=0)] | None
    paths: Annotated[tuple[Path, ...], msgspec.Meta(max_length=64)]


class Opened(Said, frozen=True, kw_only=True, tag="opened"):
    """An end that was made: what its peers must know, and the process that holds its namespaces."""

    id: int
    version: int
    public_key: Key
    certificate: Sum
    port: Port = 0
    namespace: Count = 0


class Done(Said, frozen=True, kw_only=True, tag="done"):
    """A command was carried out; ``local`` is where a forwarder listens."""

    id: int
    local: Endpoint = ""


class Refused(Said, frozen=True, kw_only=True, tag="error"):
    """A command was not carried out."""

    id: int
    message: Text


class Report(Said, frozen=True, kw_only=True, tag="report"):
    """The state of all tunnels."""

    id: int
    mode: Mode
    peers: Annotated[tuple[PeerReport, ...], msgspec.Meta(max_length=MOST_PIDS)]


class Candidates(Said, frozen=True, kw_only=True, tag="candidates"):
    """Where this party may be reached now; told again when it changes."""

    candidates: Annotated[tuple[Candidate, ...], msgspec.Meta(max_length=MOST_CANDIDATES)]
    mapping: Mapping


class PathChange(Said, frozen=True, kw_only=True, tag="path"):
    """The path that a peer's datagrams take from now on; None if it cannot be reached."""

    pid: Pid
    path: Path | None


class Up(Said, frozen=True, kw_only=True, tag="up"):
    """The first handshake with a peer is done: data passes."""

    pid: Pid


Answer = Opened | Done | Refused | Report
Event = Candidates | PathChange | Up
DECODER = msgspec.json.Decoder(Answer | Event)
