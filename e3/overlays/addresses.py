"""Assign overlay addresses, automatic and stable, and write underlay addresses."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from e3.errors import ConfigurationError
from e3.interfaces import Network


def socket(address: str, port: int) -> str:
    """Return ``address:port``, with an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def assign(names: Sequence[str], span: IPv4Network, joined: Network | None) -> dict[str, str]:
    """Return an address of ``span`` for each name, in the order of ``names``.

    A name keeps its address. A new name gets the lowest address that was never used, so that
    adding a host never moves another, and a removed host's address is not reused at once.
    Raises `ConfigurationError` when ``span`` is too small.
    """
    previous = joined.addresses if joined else {}
    kept = {
        name: previous[name]
        for name in names
        if name in previous and IPv4Address(previous[name]) in span
    }
    room = span.num_addresses - 2
    if len(names) > room:
        raise ConfigurationError(
            f"e3:overlay-options: range is {str(span)!r}: {max(room, 0)} addresses are too few "
            f"for {len(names)} hosts; choose a shorter prefix, such as /16"
        )
    current = set(kept.values())
    fresh = (str(address) for address in span.hosts() if str(address) not in previous.values())
    reused = (str(address) for address in span.hosts() if str(address) not in current)
    given = dict(kept)
    for name in names:
        if name not in given:
            address = next(fresh, None) or next(a for a in reused if a not in given.values())
            given[name] = address
    return {name: given[name] for name in names}
