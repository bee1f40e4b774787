"""What results take over from sessions and stacks: other names for the same figures."""

import math
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec

from e3.deployed import Stack
from e3.evaluation.campaign import machine
from e3.evaluation.campaign.matrix import MatrixCell
from e3.evaluation.fields import Count
from e3.evaluation.results import HostFacts, Installed, JoinedPair, PartyCost, PathChange
from e3.fleets import FLEETS
from e3.interfaces import Needs
from e3.inventory import tools
from e3.overlays import OVERLAYS
from e3.registry import build
from e3.remote.text import printable
from e3.session.plan import seat
from e3.session.results import PartyResult, SessionResult

STATED = "work: "
"""The begin of the line in which a program states what it takes, as JSON."""

PACKAGES = ("mpyc", "numpy", "pulumi")
TAKEN_OF_HOSTS = ("name", "region", "system", "reachability")
REASON_LENGTH = 2000
DPKG_SECONDS = 10.0


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """What a program says that it takes: sequential rounds, and bytes that this party sends.

    ``openings`` are those of its rounds in which a value is opened, and nothing is multiplied.
    """

    rounds: Count | None = None
    openings: Count | None = None
    bytes: Count | None = None


def manifest(cell: MatrixCell, joined: Stack) -> dict[str, Any]:
    """Return what a set-up says of machine, programs and hosts, as fields of it."""
    pids = {host.name: pid for pid, host in enumerate(seat(joined.hosts, len(joined.hosts)))}
    needs = OVERLAYS[cell.overlay.overlay].needs
    experiment = cell.experiment()
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "programs": tools.digest(needs),
        "installed": installed(needs),
        "machine": machine.facts(),
        "hourly_usd": build(FLEETS, experiment.fleet, key="fleet").hourly_usd(experiment),
        "hosts": [
            HostFacts(
                **{name: getattr(host, name) for name in TAKEN_OF_HOSTS},
                underlay_address=host.underlay,
                overlay_address=joined.network.addresses[host.name],
                pid=pids[host.name],
            )
            for host in joined.hosts
        ],
        "overlay_seconds": joined.setup_seconds,
        "settled_seconds": joined.settled_seconds,
        "pairs": [
            JoinedPair(**{name: getattr(path, name) for name in JoinedPair.__struct_fields__})
            for path in joined.paths
        ],
    }


def installed(needs: Needs) -> list[Installed]:
    """Return what hosts need for an overlay, with its size where this machine has it."""
    place = tools.folder(f"{platform.machine()}-linux")
    programs = [
        Installed(
            name=name,
            kind="program",
            bytes=(place / name).stat().st_size if (place / name).is_file() else None,
        )
        for name in tools.programs(needs)
    ]
    packages = [
        Installed(name=name, kind="package", bytes=_package_bytes(name)) for name in needs.packages
    ]
    return [*programs, *packages]


def _package_bytes(name: str) -> int | None:
    """Return what a package takes as dpkg counts it, without those that it needs; else None."""
    argv = ["dpkg-query", "--show", "--showformat=${Installed-Size}", name]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=DPKG_SECONDS, check=False)
        return int(done.stdout) * 1024  # in KiB: deb-control(5)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def of_session(result: SessionResult) -> Mapping[str, Any]:
    """Return what a repetition takes over from its session, as fields of it."""
    ends = {(path.source, path.target): path for path in result.paths_after}
    return {
        "session": result.id,
        "verdict": result.verdict,
        "reason": printable(result.reason, REASON_LENGTH),
        "setup_seconds": _rounded(result.setup_seconds),
        "online_seconds": _rounded(result.online_seconds),
        "wall_seconds": _rounded(result.wall_seconds) or 0.0,
        "parties": [_of_party(party) for party in result.parties],
        "paths": [
            PathChange(
                source=path.source,
                target=path.target,
                before=path.path_class,
                by_before=path.by,
                after=None
                if (end := ends.get((path.source, path.target))) is None
                else end.path_class,
                by_after="" if end is None else end.by,
            )
            for path in result.paths
        ],
    }


def _of_party(party: PartyResult) -> PartyCost:
    said = stated(party.output)
    return PartyCost(
        pid=party.pid,
        host=party.host,
        exit=party.exit,
        seconds=_rounded(party.seconds) or 0.0,
        sent_bytes=party.sent_bytes,
        cpu_seconds=_rounded(party.cpu_seconds),
        peak_memory_bytes=party.peak_memory_bytes,
        stated_rounds=said.rounds,
        stated_bytes=said.bytes,
        stated_openings=said.openings,
        sent_bytes_to=list(party.sent_bytes_to),
    )


def stated(output: str) -> Stated:
    """Return what a program states in its last line that begins so; nothing if it does not."""
    for line in reversed(output.splitlines()):
        if line.startswith(STATED):
            try:
                return msgspec.json.decode(line.removeprefix(STATED), type=Stated)
            except (ValueError, RecursionError):  # a party may print anything
                return Stated()
    return Stated()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else round(max(seconds, 0.0), 6)


def now() -> str:
    """Return the time of day as results have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
