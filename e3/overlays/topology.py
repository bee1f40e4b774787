"""Decide which hosts serve the others, and which host of a pair dials. Pure."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from e3.errors import OverlayError
from e3.interfaces import Host


def is_public(host: Host) -> bool:
    """Return whether the others can reach ``host`` from outside."""
    return host.reachability == "public"


def can_meet(one: Host, other: Host) -> bool:
    """Return whether one of two hosts can reach the other."""
    return is_public(one) or is_public(other)


def dials(host: Host, peer: Host, addresses: Mapping[str, str]) -> bool:
    """Return whether ``host`` dials ``peer``: one side of each pair that can meet does.

    It is the host that no other can reach, else the newer one, which has the higher address.
    """
    if host.name == peer.name or not is_public(peer):
        return False
    return not is_public(host) or _number(host, addresses) > _number(peer, addresses)


def public_hosts(hosts: Sequence[Host], *, need: str, instead: str) -> list[Host]:
    """Return the hosts that the others can reach.

    If there is none, `OverlayError` says ``need``, such as "Nebula needs {} as relay", and what
    the user can do ``instead`` of making a host public.
    """
    public = [host for host in hosts if is_public(host)]
    if not public:
        raise OverlayError(
            f"{need.format('a host that the others can reach from outside')}, and this fleet has "
            f"none; make one host public, or {instead}"
        )
    return public


def choose_servers(
    hosts: Sequence[Host], known: Sequence[str], *, count: int, need: str, instead: str
) -> list[str]:
    """Return the names of at most ``count`` public hosts: those ``known``, then one a region first.

    So a server stays one as long as it can. ``need`` and ``instead`` are those of `public_hosts`.
    """
    public = public_hosts(hosts, need=need, instead=instead)
    first = {host.region: host for host in reversed(public)}
    public.sort(key=lambda host: (host.name not in known, first[host.region] is not host))
    return [host.name for host in public[:count]]


def hub(hosts: Sequence[Host], addresses: Mapping[str, str], *, of: str) -> Host:
    """Return the hub, where hosts meet that no other can reach: the oldest public host.

    It has the lowest address, as newer hosts get higher ones. ``of`` names the overlay.
    """
    public = public_hosts(
        hosts, need=f"{of} needs {{}}", instead="choose an overlay that brings its own relays"
    )
    return min(public, key=lambda host: _number(host, addresses))


def _number(host: Host, addresses: Mapping[str, str]) -> IPv4Address:
    return IPv4Address(addresses[host.name])
