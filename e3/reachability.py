"""Decide which overlay can join which hosts, by what both declare. Pure: nothing is made yet."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

from e3.experiment import Reachability
from e3.interfaces import Needs, Overlay

SHOWN = 3
HTTPS = 443


def needs_of(overlay: Overlay) -> Needs:
    """Return the needs of an overlay with its options: port 443 suffices if it listens there."""
    needs = overlay.needs
    listening = [span for span in overlay.ingress() if span.protocol == "tcp"]
    there = not listening or any(span.first <= HTTPS <= span.last for span in listening)
    return replace(needs, port_443_suffices=needs.port_443_suffices and there)


def shortfall(name: str, needs: Needs, reachability: Mapping[str, Reachability]) -> str | None:
    """Return why an overlay with these needs cannot join these hosts, or None if it can."""
    walled = [host for host, kind in reachability.items() if kind == "tcp-443-only"]
    if walled and not needs.port_443_suffices:
        return f"{_listed(walled)} can use TCP port 443 alone, and {name} needs other ports"
    modern = [host for host, kind in reachability.items() if kind == "ipv6-only"]
    if modern and not needs.ipv6:
        return f"{_listed(modern)} can use IPv6 alone, and {name} needs IPv4"
    mute = [host for host, kind in reachability.items() if kind == "udp-blocked"]
    if mute and needs.udp:
        return f"{_listed(mute)} cannot send UDP, and {name} speaks nothing else"
    apart = strangers(reachability)
    if apart and not needs.crosses_nats:
        pairs = [
            f"{a} ({reachability[a]}) and {b} ({reachability[b]})" for a, b in sorted(apart)[:SHOWN]
        ]
        more = f" and {len(apart) - SHOWN} more pairs" if len(apart) > SHOWN else ""
        return (
            f"neither of {', nor of '.join(pairs)}{more} can open a connection to the other, and "
            f"{name} adds nothing that could join them; at most one host can be without a "
            "public address"
        )
    if needs.public_host and reachability and "public" not in reachability.values():
        return f"{name} needs a host that the others can reach, and none is public"
    return None


def meet(one: Reachability, other: Reachability) -> bool:
    """Return whether two such hosts can find a direct path, if need be by hole punching.

    A symmetric NAT uses another port for each destination, which no other host can know, so its
    peer must accept packets from any port. A host that has only IPv6 needs a peer with IPv6.
    Without UDP no direct path can be expected.
    """
    kinds = {one, other}
    if "ipv6-only" in kinds:
        return kinds <= {"ipv6-only", "public"}
    if kinds & {"udp-blocked", "tcp-443-only"}:
        return False
    return "symmetric" not in kinds or bool(kinds & {"public", "full-cone"})


def strangers(reachability: Mapping[str, Reachability]) -> list[tuple[str, str]]:
    """Return the pairs of hosts of which neither can open a connection to the other."""
    hidden = [host for host, kind in reachability.items() if kind != "public"]
    return list(combinations(hidden, 2))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
