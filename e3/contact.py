"""Proof that every pair of hosts talks over the overlay, in both directions, and how fast.

Each host runs e3/party/probe.py: it answers all others and dials all others, so that each
ordered pair exchanges application data once. Where an overlay leaves hosts where they are, one
behind a NAT is dialled by nobody: the data of both directions goes over the connection that it
opened, as that of its party will.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from e3 import reach
from e3.access.together import together
from e3.errors import OverlayError
from e3.interfaces import PROBE_PORT, File, Host, Network, Overlay, Path, PathClass, Relayed

PROBE = FilePath(__file__).parent / "party" / "probe.py"
PROBE_ON_HOST = "/run/e3/probe.py"
GRACE_SECONDS = 10.0
SHOWN_PAIRS = 5


Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found: the path of each ordered pair that talks, and why the others do not."""

    paths: tuple[Path, ...]
    silent: Mapping[Pair, str]


async def prove(
    overlay: Overlay, hosts: Sequence[Host], network: Network, *, timeout_seconds: float
) -> tuple[Path, ...]:
    """Return the path of each ordered pair of hosts.

    Raises `OverlayError` with the pairs that exchanged nothing within the limit, or that
    never can.
    """
    kind = type(overlay).__name__.lower()
    reason = reach.shortfall(kind, overlay.needs, {host.name: host.reachability for host in hosts})
    if reason is not None:
        raise OverlayError(f"{reason}; make more hosts public, or choose another overlay")
    found = await survey(overlay, hosts, network, timeout_seconds=timeout_seconds)
    if found.silent:
        silent = [f"{source} -> {target}: {why}" for (source, target), why in found.silent.items()]
        more = f" (and {len(silent) - SHOWN_PAIRS} more)" if len(silent) > SHOWN_PAIRS else ""
        raise OverlayError(
            f"{len(silent)} of {len(hosts) * (len(hosts) - 1)} pairs of hosts exchanged nothing "
            f"within {timeout_seconds:g} s over {kind}: {'; '.join(silent[:SHOWN_PAIRS])}{more}"
        )
    return found.paths


async def survey(
    overlay: Overlay,
    hosts: Sequence[Host],
    network: Network,
    *,
    timeout_seconds: float,
    everyone: bool = False,
) -> Survey:
    """Return what can be found out about every ordered pair within the limit.

    With ``everyone``, hosts also dial those of whom the overlay declares that nobody can.
    Raises `OverlayError` when the hosts cannot be asked.
    """
    both_dial = overlay.needs.crosses_nats
    dialled = [h for h in hosts if both_dial or everyone or h.reachability == "public"]
    limit = timeout_seconds + GRACE_SECONDS
    try:
        reports = await asyncio.wait_for(_probe(hosts, dialled, network, timeout_seconds), limit)
    except TimeoutError as error:
        reason = str(error) or "a host goes on without an answer"
        raise OverlayError(f"the hosts could not be probed within {limit:g} s: {reason}") from error
    rtt_ms = {(s, t): ms for s, report in reports.items() for t, ms in report["rtt_ms"].items()}
    errors = {(s, t): why for s, report in reports.items() for t, why in report["errors"].items()}
    if not both_dial:  # one connection serves both ways
        rtt_ms = {(t, s): ms for (s, t), ms in rtt_ms.items()} | rtt_ms
    classes = await overlay.paths(hosts, network)
    pairs = [(a.name, b.name) for a in hosts for b in hosts if a != b]
    return Survey(
        paths=tuple(_path(pair, classes[pair], rtt_ms[pair]) for pair in pairs if pair in rtt_ms),
        silent={pair: _reason(pair, errors) for pair in pairs if pair not in rtt_ms},
    )


def _path(pair: Pair, known: PathClass | Relayed, rtt_ms: float) -> Path:
    by = known.by if isinstance(known, Relayed) else ""
    path_class = "relayed" if isinstance(known, Relayed) else known
    return Path(
        source=pair[0], target=pair[1], path_class=path_class, rtt_ms=round(rtt_ms, 3), by=by
    )


def _reason(pair: Pair, errors: Mapping[Pair, str]) -> str:
    """Return why a pair does not talk; a host that cannot talk at all has an error with itself."""
    source, target = pair
    known = [errors[p] for p in (pair, (source, source), (target, target)) if p in errors]
    return known[0] if known else "neither can dial the other"


async def _probe(
    hosts: Sequence[Host], dialled: Sequence[Host], network: Network, timeout_seconds: float
) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    script = File(path=PROBE_ON_HOST, content=PROBE.read_bytes())
    waiting = {host.name for host in hosts}
    all_done = asyncio.Event()

    async def probe(host: Host) -> bytes:
        await host.access.put([script], timeout_seconds=GRACE_SECONDS)
        async with host.access.attach([host.python, "-I", "-S", PROBE_ON_HOST]) as process:
            peers = {h.name: network.addresses[h.name] for h in dialled if h != host}
            task = {
                "name": host.name,
                "address": network.addresses[host.name],
                "port": PROBE_PORT,
                "peers": peers,
                # of two that dial each other the first by name begins
                "first": [name for name in peers if host in dialled and name < host.name],
                "seconds": timeout_seconds,
            }
            with suppress(OSError):  # it has ended: what it said tells why
                process.stdin.write(json.dumps(task).encode() + b"\n")
                await process.stdin.drain()
            line = await process.stdout.readline()
            waiting.discard(host.name)
            if not waiting:
                all_done.set()
            await all_done.wait()  # until then it goes on answering others
        return line

    lines = await together(map(probe, hosts))
    return {host.name: _report(host, line, hosts) for host, line in zip(hosts, lines, strict=True)}


def _report(host: Host, line: bytes, hosts: Sequence[Host]) -> dict[str, dict[str, Any]]:
    try:
        report: dict[str, dict[str, Any]] = json.loads(line)
    except ValueError:
        said = line.decode(errors="replace").strip() or "nothing"
        reason = f"the probe on {host.name} ended and said {said}"
        return {"rtt_ms": {}, "errors": {h.name: reason for h in hosts if h != host}}
    return report
