"""The paths of a stack that is up: every ordered pair, over the overlay and below it.

`judge` is pure: it says what is wrong with a path, and what would improve it. What can be
expected between two NATs is in docs/nat-matrix.yaml.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from e3 import contact
from e3.errors import ConfigurationError
from e3.evaluation.nat_matrix import Expectations, Rule, load
from e3.interfaces import PARTY_PORT, File, Host, Network, Overlay
from e3.nats import Reachability
from e3.overlays.plain import Plain
from e3.paths import PairPath, PathClass

FLOOD = Path(__file__).parents[1] / "remote" / "flood.py"
FLOOD_ON_HOST = "/run/e3/flood.py"
FLOOD_PORT = PARTY_PORT
"""Party 0's own, where no session ever listens: it dials. Other ports do not pass every overlay."""

LIMIT_SECONDS = 60.0
CONTACT_SECONDS = 10.0
MOST_FACTOR, MOST_EXTRA_MS = 1.5, 5.0
"""An overlay's round trip may be that many times the underlay's, or that much longer."""

BETTER: Sequence[Reachability] = ("port-restricted", "full-cone", "public")
"""Classes that the owner of a router could change it to, the easiest first."""

Level = Literal["OK", "WARN", "FAIL"]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is known of the path from one host to another; None if it could not be measured.

    ``underlay_rtt_ms`` is None if neither host can dial the other without the overlay.
    ``exchange`` is how the connection's keys were made, where the overlay tells.
    """

    source: str
    target: str
    path_class: PathClass
    by: str
    overlay_rtt_ms: float | None
    underlay_rtt_ms: float | None
    mbit_per_second: float | None = None
    level: Level = "OK"
    advice: str = ""
    exchange: str = ""


async def diagnose(
    overlay: Overlay, hosts: Sequence[Host], network: Network, *, flood_seconds: float = 0.0
) -> list[Diagnosis]:
    """Return the diagnosis of every ordered pair.

    With ``flood_seconds``, throughput is measured, too: pair after pair, that long each.
    Raises `OverlayError` or `HostError` if hosts cannot be reached.
    """
    name, expected = type(overlay).__name__.lower(), load()
    over = await contact.survey(overlay, hosts, network, timeout_seconds=CONTACT_SECONDS)
    rtt_ms = await _below(hosts)
    found = {(path.source, path.target): path for path in over.paths}
    classes = {host.name: host.reachability for host in hosts}
    diagnoses = []
    for source in hosts:
        for target in hosts:
            if source == target:
                continue
            pair = (source.name, target.name)
            path, reason = found.get(pair), over.silent.get(pair, "")
            known = judge(name, pair, path, rtt_ms.get(pair), reason, classes, expected)
            if flood_seconds and path is not None:
                mbit = await measure_throughput(source, target, network, flood_seconds)
                known = replace(known, mbit_per_second=mbit)
            diagnoses.append(known)
    return diagnoses


async def _below(hosts: Sequence[Host]) -> dict[contact.Pair, float]:
    """Return the round trips of the underlay, by IPv6 for hosts that have only that."""
    rtt_ms: dict[contact.Pair, float] = {}
    for ipv6 in (True, False):
        asking = [host for host in hosts if (":" in host.underlay) == ipv6]
        if not asking:
            continue
        known = Network(addresses={host.name: host.seen_from(asking[0]) for host in hosts})
        members = [host for host in hosts if (":" in known.addresses[host.name]) == ipv6]
        found = await contact.survey(Plain(), members, known, timeout_seconds=CONTACT_SECONDS)
        rtt_ms |= {(path.source, path.target): path.rtt_ms for path in found.paths}
    return rtt_ms


def judge(  # noqa: PLR0913, PLR0917 - the facts
    name: str,
    pair: contact.Pair,
    path: PairPath | None,
    underlay_rtt_ms: float | None,
    reason: str,
    classes: Mapping[str, Reachability],
    expected: Expectations,
) -> Diagnosis:
    """Return the diagnosis of a path of the overlay ``name``; ``reason`` says why none is."""
    level: Level = "OK"
    advice = ""
    if path is None:
        level = "FAIL"
        advice = f"no data within {CONTACT_SECONDS:g} s: {reason}; `e3 doctor` looks at the hosts"
    elif path.path_class == "relayed":
        level, advice = "WARN", _about_relay(name, path, classes, expected)
    elif underlay_rtt_ms is not None and _is_slow(path.rtt_ms, underlay_rtt_ms):
        level = "WARN"
        advice = (
            f"takes {path.rtt_ms:.1f} ms where the network below takes {underlay_rtt_ms:.1f} ms; "
            "look for load on the hosts, and measure again"
        )
    return Diagnosis(
        source=pair[0],
        target=pair[1],
        path_class=path.path_class if path else "none",
        by=path.by if path else "",
        overlay_rtt_ms=path.rtt_ms if path else None,
        underlay_rtt_ms=underlay_rtt_ms,
        level=level,
        advice=advice,
        exchange=path.exchange if path else "",
    )


def _is_slow(rtt_ms: float, underlay_rtt_ms: float) -> bool:
    return rtt_ms > max(MOST_FACTOR * underlay_rtt_ms, underlay_rtt_ms + MOST_EXTRA_MS)


def _about_relay(
    name: str,
    path: PairPath,
    classes: Mapping[str, Reachability],
    expected: Expectations,
) -> str:
    """Return why two hosts are relayed, and the least change that would join them directly."""
    ends = (path.source, path.target)
    one, other = (classes[end] for end in ends)
    by = f" by {path.by}" if path.by else ""
    rule = _rule(expected, name, one, other)
    if rule is None:
        return f"relayed{by}"
    if rule.path == "direct":
        return f"relayed{by}, though {rule.because}; it may become direct within seconds"
    said = f"{path.source} ({one}) and {path.target} ({other}) are relayed{by}: {rule.because}"
    for kind in BETTER:
        for end, stays in ((ends[0], other), (ends[1], one)):
            better = _rule(expected, name, kind, stays)
            if better is not None and better.path == "direct":
                return f"{said}; it would be direct if {end} were {kind}"
    return said


def _rule(expected: Expectations, name: str, one: Reachability, other: Reachability) -> Rule | None:
    try:
        return expected.of(name, (one, other))
    except ConfigurationError:
        return None


async def measure_throughput(
    source: Host, target: Host, network: Network, seconds: float
) -> float | None:
    """Return the throughput from one host to another in Mbit/s; None if they cannot connect."""
    file = File(path=FLOOD_ON_HOST, content=FLOOD.read_bytes())
    for host in (source, target):
        await host.access.put([file], timeout_seconds=LIMIT_SECONDS)
    own, address = network.addresses[source.name], network.addresses[target.name]
    receiving = [FLOOD_ON_HOST, "receive", address, str(FLOOD_PORT), str(seconds / 2)]
    sending = [FLOOD_ON_HOST, "send", own, address, str(FLOOD_PORT), str(seconds)]
    receive = [target.python, "-I", "-S", *receiving]
    send = [source.python, "-I", "-S", *sending]
    async with target.access.attach(receive) as receiver:
        if await receiver.stdout.readline() != b"\n":
            return None
        done = await source.access.run(send, timeout_seconds=LIMIT_SECONDS)
        if done.exit:
            return None
        line = await receiver.stdout.readline()
    return round(float(line) / 1e6, 1) if line else None
