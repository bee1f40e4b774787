"""The evidence of a ceremony on the machine that deploys: who took part, and how it ended.

As a session, each has a folder: ``manifest.json`` from its beginning, ``result.json`` from its end,
and a log for each holder. If somebody is to blame, the logs have what was asked and answered, word
for word. Holders sign what they say, so that whoever reads it can check who is.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from e3.authority.joint.messages import Header
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.ceremonies.voices import Exchange, HostVoice
from e3.errors import E3Error
from e3.remote.text import printable
from e3.session.evidence import Evidence
from e3.session.queue import front_of_queue, holder
from e3.session.results import new_id
from e3.session.runs import INTERRUPTED, NAME, RUNNING, prune

KEEP = 200
"""The evidence of that many ceremonies of a stack is kept: of the newest."""

LIMIT_SECONDS = 120.0
"""The most that a ceremony may take."""

MANIFEST, RESULT = "manifest.json", "result.json"


@dataclass(kw_only=True)
class CeremonyRecord:
    """One ceremony: what it was for, its steps with seconds, and its notes; public values alone."""

    id: str
    purpose: str
    kind: str
    began: float = field(default_factory=time.monotonic)
    epoch: int = 0
    holders: list[str] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    voices: Mapping[str, HostVoice] = field(default_factory=dict)

    def of(self, header: Header) -> None:
        """Note whose shares of which epoch are used."""
        self.epoch = header.epoch
        self.holders = sorted(each.name for each in header.holders.values())

    def step(self, name: str) -> None:
        """Note that a step is done, and when."""
        self.steps[name] = round(time.monotonic() - self.began, 4)


class PastCeremony(msgspec.Struct, frozen=True, kw_only=True):
    """A ceremony as its folder has it; ``verdict`` may also be ``running`` or ``interrupted``."""

    id: str
    purpose: str
    kind: str
    started: str = ""
    verdict: str = ""
    reason: str = ""
    culprits: list[str] = []
    notes: list[str] = []
    holders: list[str] = []
    epoch: int = 0
    seconds: float | None = None


@asynccontextmanager
async def recorded(folder: Path, purpose: str, kind: str) -> AsyncIterator[CeremonyRecord]:
    """Run a ceremony when those before it have ended, within its limit; write how it went.

    ``folder`` is that of the stack's ceremonies. Raises `CeremonyFailedError`.
    """
    async with front_of_queue(folder, lambda _: None) as note:
        record = CeremonyRecord(id=new_id(), purpose=purpose, kind=kind)
        note(record.id, LIMIT_SECONDS)
        prune(folder, KEEP - 1)
        evidence = Evidence(folder, record.id)
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        known = {"id": record.id, "purpose": purpose, "kind": kind, "started": started}
        evidence.write(MANIFEST, json.dumps(known, indent=2) + "\n")
        ended = CeremonyFailedError(CeremonyVerdict.FAILED, "it was cancelled")
        try:
            async with asyncio.timeout(LIMIT_SECONDS) as limit:
                yield record
            ended = CeremonyFailedError(CeremonyVerdict.COMPLETED, "")
        except TimeoutError:
            if not limit.expired():
                raise
            ended = CeremonyFailedError(
                CeremonyVerdict.SILENT, f"it took longer than {LIMIT_SECONDS:g} s"
            )
            raise ended from None
        except CeremonyFailedError as error:
            ended = error
            raise
        except E3Error as error:
            ended = CeremonyFailedError(CeremonyVerdict.FAILED, str(error))
            raise
        finally:
            _write(evidence, record, known, ended)


def _write(
    evidence: Evidence,
    record: CeremonyRecord,
    known: Mapping[str, object],
    ended: CeremonyFailedError,
) -> None:
    result = {
        **known,
        "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "epoch": record.epoch,
        "holders": record.holders,
        "signed": record.signed,
        "verdict": ended.verdict,
        "reason": str(ended),
        "culprits": list(ended.culprits),
        "notes": record.notes,
        "steps": record.steps,
        "seconds": round(time.monotonic() - record.began, 4),
    }
    blamed = bool(ended.culprits or record.notes)
    for name, voice in record.voices.items():
        lines = [_line(each, record.began, whole=blamed) for each in voice.exchanges]
        evidence.write(f"{name}.log", "".join(f"{json.dumps(line)}\n" for line in lines))
    evidence.write(RESULT, json.dumps(result, indent=2) + "\n")


def _line(exchange: Exchange, began: float, *, whole: bool) -> dict[str, object]:
    """Return a step of one holder: when, how long, what; with all words if it is ``whole``."""
    words = {
        "request": exchange.request.decode(errors="backslashreplace"),
        "answer": exchange.answer.decode(errors="backslashreplace"),
    }
    return {
        "at": round(exchange.began - began, 4),
        "seconds": round(exchange.seconds, 4),
        "asked": exchange.asked,
        "answered": exchange.answered,
        **(words if whole else {}),
    }


def ceremonies(folder: Path) -> list[PastCeremony]:
    """Return the ceremonies of a stack, the newest last."""
    found = folder.iterdir() if folder.is_dir() else ()
    names = sorted(each.name for each in found if NAME.fullmatch(each.name))
    now = holder(folder)
    past = (_read(folder / name, running=now is not None and now.session == name) for name in names)
    return [each for each in past if each is not None]


def _read(folder: Path, *, running: bool) -> PastCeremony | None:
    """Return what a folder has; None if it is not of this version."""
    for name in (RESULT, MANIFEST):
        try:
            past = msgspec.json.decode((folder / name).read_bytes(), type=PastCeremony)
        except FileNotFoundError:
            continue
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        verdict = past.verdict or (RUNNING if running else INTERRUPTED)
        reason = printable(past.reason, 2000)
        return msgspec.structs.replace(past, verdict=printable(verdict), reason=reason)
    return None
