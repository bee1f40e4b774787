"""How two hosts reach each other over an overlay: as it reports that, and as it was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

PathClass = Literal["direct", "relayed", "none"]
"""How two hosts reach each other."""


@dataclass(frozen=True, kw_only=True)
class Relayed:
    """The path class ``relayed``, where the overlay knows the relaying host: ``by``.

    ``exchange`` is how the two ends made their keys, as the connection itself tells.
    """

    by: str
    exchange: str = ""


@dataclass(frozen=True, kw_only=True)
class Direct:
    """The path class ``direct``, where the connection tells its ``exchange`` of keys."""

    exchange: str


Reported = PathClass | Relayed | Direct
"""What an overlay tells of a path."""

Paths = Mapping[tuple[str, str], Reported]
"""The path of each ordered pair of host names."""


@dataclass(frozen=True, kw_only=True)
class PairPath:
    """How one host reaches another over the overlay, both named; ``rtt_ms`` as measured.

    ``by`` names the host that relays, and ``exchange`` is the exchange of keys, such as
    ``X25519MLKEM768``; empty unless the overlay knows it. The seconds count from the start
    of connecting: ``contact_seconds`` until the two had exchanged data, ``direct_seconds`` until
    the overlay reported the path as direct, at most. They are None where that was not seen.
    """

    source: str
    target: str
    path_class: PathClass
    rtt_ms: float
    by: str = ""
    contact_seconds: float | None = None
    direct_seconds: float | None = None
    exchange: str = ""

    def reported(self, known: Reported) -> "PairPath":
        """Return this path as the overlay reports it now."""
        if isinstance(known, Relayed):
            return replace(self, path_class="relayed", by=known.by, exchange=known.exchange)
        if isinstance(known, Direct):
            return replace(self, path_class="direct", by="", exchange=known.exchange)
        return replace(self, path_class=known, by="", exchange="")
