"""Decide which overlay can join which hosts, by what both declare. Pure: nothing is made yet."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from e3.interfaces import Needs, Overlay
from e3.nats import WITHOUT_UDP, Reachability

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
    for kind, able, reason in _walls(needs):
        behind = [host for host, its in reachability.items() if its == kind]
        if behind and not able:
            return f"{_listed(behind)} {reason.format(name)}"
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


def _walls(needs: Needs) -> Sequence[tuple[Reachability, bool, str]]:
    """Return for each class that not every overlay can join whether these needs can, else why."""
    proxied = needs.http_proxies and needs.port_443_suffices
    return (
        (
            "tcp-443-only",
            needs.port_443_suffices,
            "can use TCP port 443 alone, and {} needs other ports",
        ),
        ("http-proxy", proxied, "can use an HTTP proxy to port 443 alone, and {} needs other ways"),
        ("ipv6-only", needs.ipv6, "can use IPv6 alone, and {} needs IPv4"),
        ("udp-blocked", not needs.udp, "cannot send UDP, and {} speaks nothing else"),
    )


def meet(one: Reachability, other: Reachability) -> bool:
    """Return whether two such hosts can find a direct path, if need be by hole punching.

    A symmetric NAT uses another port for each destination, which no other host can know, so its
    peer must accept packets from any port of its address. A host that has only IPv6 needs a peer
    with IPv6. Without UDP no direct path can be expected.
    """
    kinds = {one, other}
    if "ipv6-only" in kinds:
        return kinds <= {"ipv6-only", "public"}
    if kinds.intersection(WITHOUT_UDP):
        return False
    return "symmetric" not in kinds or bool(kinds & {"public", "full-cone", "address-restricted"})


def strangers(reachability: Mapping[str, Reachability]) -> list[tuple[str, str]]:
    """Return the pairs of hosts of which neither can open a connection to the other."""
    hidden = [host for host, kind in reachability.items() if kind != "public"]
    return list(combinations(hidden, 2))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
