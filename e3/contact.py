"""Check that every pair of hosts exchanges data over the overlay, and measure the round trips.

Each host runs e3/remote/probe.py: it answers all others and dials all others, so that each
ordered pair exchanges application data once. If an overlay does not cross NATs, no host can dial
one behind a NAT: the data of both directions then uses the connection that this host opened, as
that of its party will.

A path may begin as relayed and become direct once both hosts know each other's address:
`wait_for_direct` waits for that, where it can be expected.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec

from e3 import reachability
from e3.errors import OverlayError
from e3.interfaces import PROBE_PORT, File, Host, Network, Overlay
from e3.paths import PairPath, Paths
from e3.remote.tasks import gather_or_cancel
from e3.remote.text import printable

PROBE = Path(__file__).parent / "remote" / "probe.py"
PROBE_ON_HOST = "/run/e3/probe.py"
GRACE_SECONDS = 10.0
CONTACT_SECONDS = 30.0
PAIRS_A_SECOND = 200
"""That exchange data at least, beyond the usual time, where all hosts are on one busy machine."""

SHOWN_PAIRS = 5
DIRECT_SECONDS = 10.0


Pair = tuple[str, str]
Positive = Annotated[float, msgspec.Meta(ge=0, lt=1e9)]


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the probe on a host answers (e3/remote/probe.py), by name of the other host.

    ``rtt_ms`` and ``ago``, the seconds since they first exchanged data, are of hosts that it met;
    ``errors`` says why it did not meet the others, and what is wrong with itself. ``at`` is when
    the report arrived.
    """

    rtt_ms: dict[str, Positive]
    ago: dict[str, Positive]
    errors: dict[str, Annotated[str, msgspec.Meta(max_length=10_000)]]
    at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ContactReport:
    """The path of each ordered pair that exchanged data, and the reason for each that did not."""

    paths: tuple[PairPath, ...]
    silent: Mapping[Pair, str]


def limit_seconds(hosts: int) -> float:
    """Return how long so many hosts may take until every pair has exchanged data."""
    return CONTACT_SECONDS + hosts * (hosts - 1) / PAIRS_A_SECOND


async def verify_pairs(
    overlay: Overlay,
    hosts: Sequence[Host],
    network: Network,
    *,
    timeout_seconds: float,
    since: float | None = None,
) -> tuple[PairPath, ...]:
    """Return the path of each ordered pair of hosts.

    ``since`` is the start of connecting on the monotonic clock; default: now. Raises
    `OverlayError` with the pairs that exchanged nothing within the limit, or that never can.
    """
    kind = type(overlay).__name__.lower()
    reason = reachability.shortfall(
        kind, reachability.needs_of(overlay), {host.name: host.reachability for host in hosts}
    )
    if reason is not None:
        raise OverlayError(f"{reason}; make more hosts public, or choose another overlay")
    found = await survey(
        overlay, hosts, network, timeout_seconds=timeout_seconds, since=since, one_begins=False
    )
    if found.silent:
        silent = [f"{source} -> {target}: {why}" for (source, target), why in found.silent.items()]
        more = f" (and {len(silent) - SHOWN_PAIRS} more)" if len(silent) > SHOWN_PAIRS else ""
        raise OverlayError(
            f"{len(silent)} of {len(hosts) * (len(hosts) - 1)} pairs of hosts exchanged nothing "
            f"within {timeout_seconds:g} s over {kind}: {'; '.join(silent[:SHOWN_PAIRS])}{more}"
        )
    return found.paths


async def survey(  # noqa: PLR0913 - the facts, by keyword
    overlay: Overlay,
    hosts: Sequence[Host],
    network: Network,
    *,
    timeout_seconds: float,
    everyone: bool = False,
    one_begins: bool = True,
    since: float | None = None,
) -> ContactReport:
    """Return what can be found out about every ordered pair within the limit.

    With ``everyone``, hosts also dial those that no host can dial, as the overlay declares. With
    ``one_begins`` one host of each pair begins: after a long silence a pair may have no tunnel any
    more, and setting one up takes longer if both begin at once (e3/remote/probe.py). Times count
    from ``since`` on the monotonic clock; default: now. Raises `OverlayError` if the hosts cannot
    be asked.
    """
    since = time.monotonic() if since is None else since
    both_dial = overlay.needs.crosses_nats
    dialled = [h for h in hosts if both_dial or everyone or h.reachability == "public"]
    reports = await _talk(hosts, dialled, network, timeout_seconds, one_begins=one_begins)
    met = {
        (source, target): PairPath(
            source=source,
            target=target,
            path_class="none",
            rtt_ms=round(rtt_ms, 3),
            contact_seconds=round(report.at - report.ago[target] - since, 3),
        )
        for source, report in reports.items()
        for target, rtt_ms in report.rtt_ms.items()
    }
    errors = {
        (s, t): printable(why) for s, report in reports.items() for t, why in report.errors.items()
    }
    if not both_dial:  # one connection serves both ways
        met = {(t, s): replace(path, source=t, target=s) for (s, t), path in met.items()} | met
    seen = _seen(met, await overlay.paths(hosts, network), since)
    pairs = [(a.name, b.name) for a in hosts for b in hosts if a.name != b.name]
    return ContactReport(
        paths=tuple(seen[pair] for pair in pairs if pair in seen),
        silent={pair: _reason(pair, errors) for pair in pairs if pair not in seen},
    )


async def wait_for_direct(  # noqa: PLR0913 - the same
    overlay: Overlay,
    hosts: Sequence[Host],
    network: Network,
    paths: Sequence[PairPath],
    *,
    since: float,
    timeout_seconds: float = DIRECT_SECONDS,
) -> tuple[PairPath, ...]:
    """Return ``paths`` once all that can become direct are direct, or the time is over.

    Every pair exchanges data meanwhile: some overlays look for a better path only then.
    """
    deadline = time.monotonic() + (timeout_seconds if overlay.needs.punches else 0)
    kinds = {host.name: host.reachability for host in hosts}
    found = {(path.source, path.target): path for path in paths}
    while time.monotonic() < deadline:
        waiting = {
            name
            for pair, path in found.items()
            if path.path_class != "direct" and reachability.meet(kinds[pair[0]], kinds[pair[1]])
            for name in pair
        }
        if not waiting:
            break
        talking = [host for host in hosts if host.name in waiting]
        reports = await _talk(talking, talking, network, max(deadline - time.monotonic(), 1.0))
        for source, report in reports.items():
            for target, rtt_ms in report.rtt_ms.items():
                found[source, target] = replace(found[source, target], rtt_ms=round(rtt_ms, 3))
        found = _seen(found, await overlay.paths(hosts, network), since)
    return tuple(found.values())


def _seen(paths: Mapping[Pair, PairPath], known: Paths, since: float) -> dict[Pair, PairPath]:
    """Return ``paths`` with the classes that the overlay reports now."""
    now = round(time.monotonic() - since, 3)
    found = {pair: path.reported(known[pair]) for pair, path in paths.items()}
    return {
        pair: replace(path, direct_seconds=now)
        if path.path_class == "direct" and path.direct_seconds is None
        else path
        for pair, path in found.items()
    }


def _reason(pair: Pair, errors: Mapping[Pair, str]) -> str:
    """Return why a pair exchanged nothing; a host that cannot at all has an error with itself."""
    source, target = pair
    known = [errors[p] for p in (pair, (source, source), (target, target)) if p in errors]
    return known[0] if known else "neither can dial the other"


async def _talk(
    hosts: Sequence[Host],
    dialled: Sequence[Host],
    network: Network,
    timeout_seconds: float,
    *,
    one_begins: bool = True,
) -> Mapping[str, ProbeReport]:
    """Let each of ``hosts`` exchange data with each that is ``dialled``; return their reports."""
    limit = timeout_seconds + GRACE_SECONDS
    try:
        return await asyncio.wait_for(
            _probe(hosts, dialled, network, timeout_seconds, one_begins=one_begins), limit
        )
    except TimeoutError as error:
        reason = str(error) or "a host goes on without an answer"
        raise OverlayError(f"the hosts could not be probed within {limit:g} s: {reason}") from error


async def _probe(
    hosts: Sequence[Host],
    dialled: Sequence[Host],
    network: Network,
    timeout_seconds: float,
    *,
    one_begins: bool,
) -> Mapping[str, ProbeReport]:
    """Return each host's report; ``at`` is when it arrived, on the monotonic clock."""
    script = File(path=PROBE_ON_HOST, content=PROBE.read_bytes())
    waiting = {host.name for host in hosts}
    reachable = {host.name for host in dialled}
    all_done = asyncio.Event()

    async def probe(place: int, host: Host) -> tuple[bytes, float]:
        await host.access.put([script], timeout_seconds=timeout_seconds)
        async with host.access.attach([host.python, "-I", "-S", PROBE_ON_HOST]) as process:
            # each begins with the one after itself, so that not all dial the same one at once
            others = [*hosts[place + 1 :], *hosts[:place]]
            peers = {h.name: network.addresses[h.name] for h in others if h.name in reachable}
            waits = one_begins and host.name in reachable
            task = {
                "name": host.name,
                "address": network.addresses[host.name],
                "port": PROBE_PORT,
                "peers": peers,
                # of two that dial each other, the first by name begins
                "first": [name for name in peers if waits and name < host.name],
                "seconds": timeout_seconds,
            }
            with suppress(OSError):  # it has ended; its output tells why
                process.stdin.write(json.dumps(task).encode() + b"\n")
                await process.stdin.drain()
            line, at = await process.stdout.readline(), time.monotonic()
            waiting.discard(host.name)
            if not waiting:
                all_done.set()
            await all_done.wait()  # until then the probe answers the others
        return line, at

    lines = await gather_or_cancel(probe(*each) for each in enumerate(hosts))
    return {
        host.name: msgspec.structs.replace(_report(host, line, hosts), at=at)
        for host, (line, at) in zip(hosts, lines, strict=True)
    }


def _report(host: Host, line: bytes, hosts: Sequence[Host]) -> ProbeReport:
    """Return what a host reports; the host belongs to somebody else, and may say anything."""
    others = {other.name for other in hosts if other != host}
    with suppress(ValueError, RecursionError):
        report = msgspec.json.decode(line, type=ProbeReport)
        if report.rtt_ms.keys() <= others & report.ago.keys():
            return report
    said = printable(line.decode(errors="replace").strip()) or "nothing"
    reason = f"the probe on {host.name} ended and said {said}"
    return ProbeReport(rtt_ms={}, ago={}, errors=dict.fromkeys(others, reason))
