"""What is kept of a ceremony on the machine that deploys: who took part, and how it ended."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from e3 import private
from e3.authority.joint.messages import Header
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.errors import E3Error
from e3.session.queue import front_of_queue
from e3.session.results import new_id

KEEP = 200
LIMIT_SECONDS = 120.0
"""The most that a ceremony may take."""


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

    def of(self, header: Header) -> None:
        """Note whose shares of which epoch are used."""
        self.epoch = header.epoch
        self.holders = sorted(each.name for each in header.holders.values())

    def step(self, name: str) -> None:
        """Note that a step is done, and when."""
        self.steps[name] = round(time.monotonic() - self.began, 4)


@asynccontextmanager
async def recorded(folder: Path, purpose: str, kind: str) -> AsyncIterator[CeremonyRecord]:
    """Run a ceremony when those before it have ended, within its limit; write how it went.

    ``folder`` is that of the stack's ceremonies. Raises `CeremonyFailedError`.
    """
    async with front_of_queue(folder, lambda _: None) as note:
        record = CeremonyRecord(id=new_id(), purpose=purpose, kind=kind)
        note(record.id, LIMIT_SECONDS)
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
            _write(folder, record, ended)


def _write(folder: Path, record: CeremonyRecord, ended: CeremonyFailedError) -> None:
    """Write the record; of older ones keep some."""
    known = {
        "id": record.id,
        "purpose": record.purpose,
        "kind": record.kind,
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
    private.write(folder / f"{record.id}.json", json.dumps(known, indent=2) + "\n")
    for old in sorted(folder.glob("*-*.json"))[:-KEEP]:
        old.unlink(missing_ok=True)
