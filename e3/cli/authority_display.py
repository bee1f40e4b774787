"""What the verbs of `e3 authority` print: for a person, and as JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from e3.ceremonies import credentials, verbs
from e3.ceremonies.logs import Logged, Logs
from e3.ceremonies.overview import AuthorityState
from e3.ceremonies.record import PastCeremony
from e3.cli import terminal
from e3.remote.text import printable

SHOWN = 10
"""Entries that are shown of what was signed last, and ceremonies."""

WIDTH = 16
"""Digits of a digest that are shown to a person: enough to compare by eye."""


def credential(issued: credentials.Issued) -> dict[str, Any]:
    """Return a credential that was issued, for JSON."""
    return {
        "identifier": issued.identifier,
        "subject": issued.subject,
        "claims": issued.claims,
        "place": issued.place,
        "until": time_of(issued.not_after),
        "revoked": issued.revoked,
    }


def ceremony(past: PastCeremony, folder: Path) -> dict[str, Any]:
    """Return a ceremony with its evidence, for JSON."""
    return {**msgspec.structs.asdict(past), "evidence": str(folder / past.id)}


def print_ceremonies(past: Sequence[PastCeremony]) -> None:
    """Print ceremonies, one a line."""
    rows = [
        (
            each.id,
            each.purpose,
            each.kind,
            "-" if each.seconds is None else f"{each.seconds:.1f} s",
            terminal.word(each.verdict),
            "; ".join([each.reason, *each.notes] if each.reason else each.notes),
        )
        for each in past
    ]
    terminal.show(rows, header=("ceremony", "key", "", "took", "ended", ""))


def state_of(state: AuthorityState) -> dict[str, Any]:
    """Return the state of an authority, for JSON."""
    header = state.header
    return {
        "purpose": state.purpose,
        "public_key": header.public_key.hex() if header else "",
        "transcript": header.transcript.hex() if header else "",
        "threshold": header.threshold if header else 0,
        "epoch": header.epoch if header else 0,
        "made": time_of(header.made) if header else "",
        "able": state.able,
        "certificate": state.certificate,
        "holders": [
            {
                "host": each.name,
                "number": each.number,
                "share": each.share,
                "epoch": each.epoch,
                "transcript": each.transcript,
                "stored": each.stored,
                "reason": each.reason,
            }
            for each in state.holders
        ],
    }


def entry(logged: Logged) -> dict[str, Any]:
    """Return an entry of the holders' logs, for JSON."""
    entry = logged.entry
    return {
        "time": time_of(entry.time),
        "kind": entry.kind,
        "purpose": entry.purpose,
        "epoch": entry.epoch,
        "holders": entry.holders,
        "what": entry.what,
        "recorded_by": list(logged.recorded_by),
        "missing_from": list(logged.missing_from),
    }


def print_state(state: AuthorityState) -> None:
    """Print an authority: its key, and who holds it."""
    header = state.header
    if header is None:
        print(f"{state.purpose}: fewer hosts than the threshold have shares of one key")
    else:
        print(
            f"{state.purpose}: any {header.threshold} of {len(header.holders)} sign; epoch "
            f"{header.epoch}, made {verbs.ago(header.made)}"
        )
        print(f"key {header.public_key.hex()}")
        if state.certificate and "\n" not in state.certificate:
            print(f"known as {printable(state.certificate)}")
    rows = [
        (
            each.name,
            "-" if each.number is None else str(each.number),
            Text(each.share, "green" if each.share == "current" else "red"),
            each.stored or "-",
            each.transcript[:WIDTH] or "-",
            each.reason,
        )
        for each in state.holders
    ]
    terminal.show(rows, header=("host", "number", "share", "stored", "transcript", ""))
    print()


def print_signed(logs: Logs) -> None:
    """Print what was signed or refused last."""
    signed = [each for each in logs.compared() if each.entry.kind in ("signatures", "refused")]
    if len(signed) > SHOWN:
        print(f"{len(signed) - SHOWN} earlier ones: `e3 authority log`")
    print_entries(signed[-SHOWN:])


def print_entries(entries: Sequence[Logged]) -> None:
    """Print entries of logs, a line for each request."""
    rows = [
        (
            time_of(each.entry.time),
            each.entry.kind,
            printable(line),
            ", ".join(each.entry.holders or each.recorded_by),
        )
        for each in entries
        for line in each.entry.what or [""]
    ]
    terminal.show(rows, header=("time", "entry", "what", "holders"))


def time_of(seconds: int) -> str:
    """Return a Unix time as text; nothing if it is none."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):  # a host may say anything
        return ""
