"""What `e3-tunnel relay` is told and what it answers.

The other side of it is tools/tunnel/internal/relay/control.go.
"""

from typing import Annotated

import msgspec

from e3.tunnel.messages import Count, Port, Said

Token = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class RelayOpen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a relay listens: ports of UDP, best two, and one of TCP; 0 is any.

    ``tls_backend`` is an address of the loopback interface that gets the connections which begin as
    TLS does, so that HTTPS and the relay can share port 443.
    """

    udp: Annotated[tuple[Port, ...], msgspec.Meta(max_length=4)] = ()
    tcp: Port | None = None
    tls_backend: str = ""


class RelayGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What a pair may use: its two tokens, one a side, and the limits of both sides together."""

    tokens: tuple[Token, Token]
    bytes: Annotated[int, msgspec.Meta(gt=0)]
    seconds: Annotated[float, msgspec.Meta(gt=0)]
    bytes_per_second: Annotated[int, msgspec.Meta(gt=0, lt=1 << 31)]


class RelayOpened(Said, frozen=True, kw_only=True, tag="opened"):
    """The ports at which a relay listens."""

    id: int
    udp: Annotated[tuple[Port, ...], msgspec.Meta(max_length=4)] = ()
    tcp: Port | None = None


class RelayReport(Said, frozen=True, kw_only=True, tag="report"):
    """The pairs that a relay serves now, and what it has carried since it began."""

    id: int
    grants: Count
    forwarded_bytes: Count
    dropped_datagrams: Count
    stun_requests: Count
