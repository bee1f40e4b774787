"""One file of results from several campaigns: each cell is that of the newest file that has it.

A cell is taken whole, with its set-ups, and only if it ended. The first line names the campaigns of
which the cells are, and each set-up the E3 that ran it, so a report tells them apart.
"""

import gzip
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import IO, TypeVar, cast

import msgspec

from e3.errors import ResultsError
from e3.evaluation import results_file
from e3.evaluation.aside import aside
from e3.evaluation.fields import MOST_SOURCES
from e3.evaluation.results import (
    SCHEMA,
    CampaignRecord,
    CellRecord,
    OverlayChoice,
    ProgramChoice,
    Record,
    RepetitionRecord,
    ScenarioChoice,
    SetupRecord,
    Source,
)

Choice = TypeVar("Choice", OverlayChoice, ScenarioChoice, ProgramChoice)

replace = msgspec.structs.replace


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A file that is joined: its first line, and its cells that no newer file has.

    ``commits`` are those that set-ups say, by cell.
    """

    path: Path
    campaign: CampaignRecord
    cells: frozenset[str]
    left_out: Sequence[str]
    commits: Mapping[str, str]


def join(paths: Sequence[Path], target: Path) -> Sequence[Taken]:
    """Write the cells of several files, the newest last, as one; raise `ResultsError`.

    ``target`` may be one of them, and is compressed if its name ends with ``.gz``. An older file of
    that name stays if anything fails.
    """
    parts = _parts(paths)
    first = _header(parts)
    chain = results_file.FIRST
    with _written(target) as file:
        line, chain = results_file.link(first, chain)
        file.write(line)
        for record in _records(parts):
            line, chain = results_file.link(record, chain)
            file.write(line)
    return parts


def _parts(paths: Sequence[Path]) -> Sequence[Taken]:
    """Return what is taken of each file."""
    found: list[Taken] = []
    newer: set[str] = set()
    for path in reversed(paths):
        campaign, ended, begun, commits = _look(path)
        cells = frozenset(ended - newer)
        newer |= cells
        part = Taken(
            path=path,
            campaign=campaign,
            cells=cells,
            left_out=sorted(begun - ended - newer),
            commits=commits,
        )
        found.insert(0, part)
    for older, later in combinations(found, 2):
        _check_alike(older, later)
    return found


def _look(path: Path) -> tuple[CampaignRecord, set[str], set[str], Mapping[str, str]]:
    """Return the first line of a file, its cells that ended, all that began, and their commits."""
    campaign, ended, begun = None, set(), set()
    commits: dict[str, str] = {}
    for record in results_file.records(path):
        if isinstance(record, CampaignRecord):
            campaign = record
        else:
            begun.add(record.cell)
            if isinstance(record, CellRecord):
                ended.add(record.cell)
            elif isinstance(record, SetupRecord) and record.e3:
                commits[record.cell] = record.commit
    if campaign is None or not ended:
        raise ResultsError(f"{path}: no cell has ended, so there is nothing to join")
    return campaign, ended, begun, commits


def _check_alike(older: Taken, later: Taken) -> None:
    """Raise `ResultsError` if something of one name is not the same in both."""
    one, other = older.campaign, later.campaign
    places = f"{older.path} and {later.path}"
    if one.repetitions != other.repetitions:
        raise ResultsError(
            f"{places}: they have {one.repetitions} and {other.repetitions} repetitions; compare "
            "them by `e3 report A B` instead"
        )
    differ = [
        *_unlike("overlay", one.overlays, other.overlays, lambda it: it),
        *_unlike(
            "scenario",
            one.scenarios,
            other.scenarios,
            lambda it: replace(it, about="", overlays=[]),
        ),
        *_unlike("program", one.programs, other.programs, lambda it: replace(it, about="")),
    ]
    if differ:
        raise ResultsError(
            f"{places}: {', '.join(differ)} not the same in both; compare them by `e3 report A B` "
            "instead"
        )


def _unlike(
    kind: str, one: Sequence[Choice], other: Sequence[Choice], bare: Callable[[Choice], Choice]
) -> Iterator[str]:
    known = {choice.id: bare(choice) for choice in one}
    for choice in other:
        if choice.id in known and known[choice.id] != bare(choice):
            yield f"{kind} {choice.id} is"


def _header(parts: Sequence[Taken]) -> CampaignRecord:
    """Return the first line: the matrix of all cells, in the order of the newest file."""
    last = parts[-1].campaign
    cells = {cell for part in parts for cell in part.cells}
    overlays = _merged(parts, cells, lambda it: it.overlays, 0)
    scenarios = []
    for scenario in _merged(parts, cells, lambda it: it.scenarios, 1):
        has = [each.id for each in overlays if f"{each.id}/{scenario.id}" in cells]
        scenarios.append(replace(scenario, overlays=[] if len(has) == len(overlays) else has))
    sources = [source for part in parts for source in _sources(part)]
    if len(sources) > MOST_SOURCES:
        raise ResultsError(
            f"{len(sources)} campaigns are too many for one file, which has at most "
            f"{MOST_SOURCES}; join fewer"
        )
    together = "".join(source.digest for source in sources)
    return replace(
        last,
        schema=SCHEMA,
        started=parts[0].campaign.started,
        digest=hashlib.sha256(together.encode()).hexdigest(),
        overlays=overlays,
        scenarios=scenarios,
        programs=_newest(parts, lambda it: it.programs),
        joined=sources,
    )


def _merged(
    parts: Sequence[Taken],
    cells: set[str],
    choices: Callable[[CampaignRecord], Sequence[Choice]],
    side: int,
) -> list[Choice]:
    """Return the overlays, or the scenarios, of which there is a cell."""
    used = {cell.split("/")[side] for cell in cells}
    return [choice for choice in _newest(parts, choices) if choice.id in used]


def _newest(
    parts: Sequence[Taken], choices: Callable[[CampaignRecord], Sequence[Choice]]
) -> list[Choice]:
    """Return what campaigns chose, each as the newest has it."""
    found: dict[str, Choice] = {}
    for part in reversed(parts):
        for choice in choices(part.campaign):
            found.setdefault(choice.id, choice)
    return list(found.values())


def _sources(part: Taken) -> Iterator[Source]:
    """Yield the campaigns of which a file's cells are; it may itself have been joined."""
    campaign = part.campaign
    if not campaign.joined:
        own = {
            name: getattr(campaign, name) for name in Source.__struct_fields__ if name != "cells"
        }
        if part.cells:
            yield Source(**own, cells=sorted(part.cells))
    for source in campaign.joined:
        if left := [cell for cell in source.cells if cell in part.cells]:
            yield replace(source, cells=left)


def _records(parts: Sequence[Taken]) -> Iterator[Record]:
    """Yield what is taken after the first line; repetitions are counted on from file to file."""
    begin = 0
    for part in parts:
        most = -1
        for record in results_file.records(part.path):
            if isinstance(record, CampaignRecord) or record.cell not in part.cells:
                continue
            taken: Record = record
            if isinstance(record, SetupRecord) and not record.e3:
                taken = replace(record, e3=part.campaign.e3, commit=part.campaign.commit)
            elif isinstance(record, RepetitionRecord):
                most = max(most, record.order)
                taken = replace(record, order=begin + record.order)
            yield taken
        begin += most + 1


@contextmanager
def _written(target: Path) -> Iterator[IO[bytes]]:
    """Yield the new file, and compress it if its name asks for that; see `aside`."""
    with aside(target) as plain:
        if target.suffix == ".gz":
            # without time and name: the same results make the same file
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0)
            with packed, io.BufferedWriter(cast("io.RawIOBase", packed)) as file:
                yield file
        else:
            yield plain


def told(parts: Sequence[Taken]) -> Mapping[str, int]:
    """Return how many cells are of which commit."""
    found: dict[str, int] = {}
    for part in parts:
        for source in _sources(part):
            for cell in source.cells:
                key = part.commits.get(cell, source.commit)[:10] or "unknown"
                found[key] = found.get(key, 0) + 1
    return found
