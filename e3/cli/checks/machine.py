"""Disk, memory and clock."""

import ctypes
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from e3.cli.checks.finding import Finding
from e3.cli.place import ROOT
from e3.remote.linux import libc

SCARCE_MB, NEEDED_MB = 1000, 100
SCARCE_MEMORY_MB = 500
"""A host with its party takes some 40 MB; its disk lies in memory as well."""

CLOCK_SECONDS = 3600.0
TIME_ERROR = 5  # of adjtimex(2): nobody keeps this clock
TIMEX_BYTES = 512  # more than any struct timex; all zero, it asks and changes nothing


def check() -> Iterator[Finding]:
    """Yield findings about disk, memory and clock of this machine."""
    yield _disk()
    yield _memory()
    yield _clock()


def _disk() -> Finding:
    free = shutil.disk_usage(ROOT).free // 1_000_000
    level = "OK" if free >= SCARCE_MB else "WARN" if free >= NEEDED_MB else "FAIL"
    remedy = "" if level == "OK" else "make room: state, evidence and set-up lie there"
    return Finding(
        level=level,  # type: ignore[arg-type]
        subject="disk",
        detail=f"{free:,} MB free in {ROOT}",
        remedy=remedy,
    )


def _memory() -> Finding:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) // 1000
    if free < SCARCE_MEMORY_MB:
        remedy = "hosts of a lab and what they write lie in memory: use fewer hosts"
        return Finding(
            level="WARN", subject="memory", detail=f"{free:,} MB available", remedy=remedy
        )
    return Finding(level="OK", subject="memory", detail=f"{free:,} MB available")


def _clock() -> Finding:
    now = time.time()
    said = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    written = max(path.stat().st_mtime for path in (ROOT, ROOT / "e3", Path(__file__)))
    if written > now + CLOCK_SECONDS:
        return Finding(
            level="FAIL",
            subject="clock",
            detail=f"{said}, but files of this project are of "
            f"{datetime.fromtimestamp(written, UTC):%Y-%m-%d %H:%M} UTC",
            remedy="set the clock: certificates and runs are dated by it",
        )
    kept = libc.adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)) != TIME_ERROR
    note = "kept by NTP" if kept else "not kept by NTP, which a lab does not need"
    return Finding(level="OK", subject="clock", detail=f"{said}, {note}")
