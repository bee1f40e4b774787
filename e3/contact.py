"""Proof that every pair of hosts talks over the overlay, in both directions, and how fast.

Each host runs e3/party/probe.py: it answers all others and dials all others, so that each
ordered pair exchanges application data once.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Any

from e3.access.together import together
from e3.errors import OverlayError
from e3.interfaces import PROBE_PORT, File, Host, Network, Overlay, Path

PROBE = FilePath(__file__).parent / "party" / "probe.py"
PROBE_ON_HOST = "/run/e3/probe.py"
GRACE_SECONDS = 10.0
SHOWN_PAIRS = 5


async def prove(
    overlay: Overlay, hosts: Sequence[Host], network: Network, *, timeout_seconds: float
) -> tuple[Path, ...]:
    """Return the path of each ordered pair of hosts.

    Raises `OverlayError` with the pairs that exchanged nothing within the limit.
    """
    limit = timeout_seconds + GRACE_SECONDS
    try:
        reports = await asyncio.wait_for(_probe(hosts, network, timeout_seconds), limit)
    except TimeoutError as error:
        reason = str(error) or "a host goes on without an answer"
        raise OverlayError(f"the hosts could not be probed within {limit:g} s: {reason}") from error
    silent = [
        f"{source} -> {target}: {reason}"
        for source, report in reports.items()
        for target, reason in report["errors"].items()
    ]
    if silent:
        more = f" (and {len(silent) - SHOWN_PAIRS} more)" if len(silent) > SHOWN_PAIRS else ""
        raise OverlayError(
            f"{len(silent)} of {len(hosts) * (len(hosts) - 1)} pairs of hosts exchanged nothing "
            f"within {timeout_seconds:g} s over {type(overlay).__name__.lower()}: "
            f"{'; '.join(silent[:SHOWN_PAIRS])}{more}"
        )
    classes = await overlay.paths(hosts, network)
    return tuple(
        Path(
            source=source,
            target=target,
            path_class=classes[source, target],
            rtt_ms=round(rtt_ms, 3),
        )
        for source, report in reports.items()
        for target, rtt_ms in report["rtt_ms"].items()
    )


async def _probe(
    hosts: Sequence[Host], network: Network, timeout_seconds: float
) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    script = File(path=PROBE_ON_HOST, content=PROBE.read_bytes())
    waiting = {host.name for host in hosts}
    all_done = asyncio.Event()

    async def probe(host: Host) -> bytes:
        await host.access.put([script], timeout_seconds=GRACE_SECONDS)
        async with host.access.attach([host.python, "-I", "-S", PROBE_ON_HOST]) as process:
            task = {
                "name": host.name,
                "address": network.addresses[host.name],
                "port": PROBE_PORT,
                "peers": {h.name: network.addresses[h.name] for h in hosts if h != host},
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
