"""A campaign's file as cells and repetitions. Pure.

`e3.evaluation.campaign.entries` has the file's keys. A mistake is named with its key and a remedy.
What `e3.config` checks of a stack, it checks here of each cell, before anything is made.
"""

import hashlib
import json
import random
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from e3 import config
from e3.errors import ConfigurationError, E3Error
from e3.evaluation.campaign.entries import (
    CampaignFile,
    Observing,
    OverlayEntry,
    ProgramEntry,
    ScenarioEntry,
)
from e3.evaluation.campaign.place import stack_of
from e3.evaluation.results import LinkQuality, OverlayChoice, ProgramChoice, ScenarioChoice
from e3.experiment import Experiment
from e3.fleets import FLEETS
from e3.overlays import OVERLAYS
from e3.registry import build
from e3.remote.text import printable
from e3.session import programs

WARM_UP = "demos/helloworld.py"
"""What the stack of a cell runs as it comes up; it is no repetition."""

LEVEL = "{level}"
"""What stands for an input level in the arguments of a program."""

FEWEST_OBSERVED = 3
"""Two parties, and a host that takes no part."""

MOST_BYTES = 1_000_000
MOST_CELLS = 10_000

Entry = TypeVar("Entry", bound=msgspec.Struct)


@dataclass(frozen=True, kw_only=True)
class Work:
    """One repetition that is to be run."""

    program: ProgramChoice
    repetition: int


@dataclass(frozen=True, kw_only=True)
class MatrixCell:
    """An overlay in a scenario; ``values`` is the configuration of its stack."""

    overlay: OverlayChoice
    scenario: ScenarioChoice
    stack: str
    values: Mapping[str, object]

    @property
    def id(self) -> str:
        """The name of the cell."""
        return f"{self.overlay.id}/{self.scenario.id}"

    def experiment(self) -> Experiment:
        """Return what its stack is made of; raise an `E3Error` for a mistake."""
        text = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in self.values.items()
        }
        return config.parse(self.stack, text)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A campaign: its file, and what follows from it.

    ``digest`` is that of everything that decides what is run, without comments and order of keys.
    """

    file: CampaignFile
    digest: str
    cells: Sequence[MatrixCell]
    programs: Sequence[ProgramChoice]

    def only(self, names: Sequence[str]) -> "Matrix":
        """Return it with those cells alone that an overlay, a scenario or a cell is named of.

        All of them, if ``names`` is empty. Raises `ConfigurationError` for an unknown name.
        """
        kept: set[str] = set()
        for name in names:
            found = {
                cell.id
                for cell in self.cells
                if name in {cell.id, cell.overlay.id, cell.scenario.id}
            }
            if not found:
                known = [*self.file.overlays, *self.file.scenarios]
                raise ConfigurationError(
                    f"--only {printable(name)}: the campaign has no such cell; name an overlay or "
                    f"a scenario of {', '.join(known)}, or a cell as OVERLAY/SCENARIO"
                )
            kept |= found
        return replace(self, cells=[it for it in self.cells if not names or it.id in kept])

    def shuffled(self) -> list[MatrixCell]:
        """Return the cells in the order in which they run, which the seed decides."""
        order = list(self.cells)
        random.Random(f"{self.file.seed}").shuffle(order)  # noqa: S311 - no secret
        return order

    def programs_of(self, cell: MatrixCell) -> list[ProgramChoice]:
        """Return the programs of a cell."""
        return [program for program in self.programs if cell.scenario.runs(program.id)]

    def work(self, cell: MatrixCell) -> list[Work]:
        """Return the repetitions of a cell in the order in which they run.

        Each round has every program once, in another order: so what changes slowly, such as the
        machine's load, meets all programs alike.
        """
        chance = random.Random(f"{self.file.seed}/{cell.id}")  # noqa: S311 - no secret
        order: list[Work] = []
        for repetition in range(self.file.repetitions):
            one_round = [Work(program=p, repetition=repetition) for p in self.programs_of(cell)]
            chance.shuffle(one_round)
            order += one_round
        return order


def read(path: Path) -> Matrix:
    """Return the campaign of a file; raise `ConfigurationError` that names key and remedy."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ConfigurationError(f"{path}: longer than {MOST_BYTES} bytes; this is no campaign")
        return parse(yaml.safe_load(text), path.name)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; name a campaign's file") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigurationError(f"{path} is not YAML: {printable(error)}") from None


def parse(content: object, name: str) -> Matrix:
    """Return the campaign of a file's content; ``name`` is how errors name the file."""
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{name}: a campaign is a mapping with {', '.join(_keys(CampaignFile))}"
        )
    for key, kind in (
        ("overlays", OverlayEntry),
        ("scenarios", ScenarioEntry),
        ("programs", ProgramEntry),
    ):
        entries = content.get(key)
        if isinstance(entries, dict):
            for entry, value in entries.items():
                if value is not None or kind is not OverlayEntry:
                    _convert(value, kind, f"{name}: {key}.{entry}")
    file = _convert(content, CampaignFile, name)
    chosen = [choice for group in file.programs.items() for choice in _programs(name, *group)]
    limits = {scenario: _limits(name, file, scenario, chosen) for scenario in file.scenarios}
    cells = [
        _cell(name, file, overlay, scenario, limits[scenario])
        for overlay in file.overlays
        for scenario, placed in file.scenarios.items()
        if overlay in (placed.overlays or file.overlays)
    ]
    if len(cells) > MOST_CELLS:
        raise ConfigurationError(f"{name}: {len(cells)} cells; a campaign has up to {MOST_CELLS}")
    _check_parties(name, file, chosen)
    _check_observed(name, file, cells)
    return Matrix(file=file, digest=_digest(file, chosen), cells=cells, programs=chosen)


def _digest(file: CampaignFile, chosen: Sequence[ProgramChoice]) -> str:
    """Return the digest of what is run; newer keys count only where they are used."""
    told = msgspec.to_builtins(file)
    if file.observe == Observing():
        del told["observe"]
    for placed in told["scenarios"].values():
        for key in ("overlays", "programs", "processors"):
            if not placed[key]:
                del placed[key]
    decides = [told, [choice.digest for choice in chosen]]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _convert(value: object, kind: type[Entry], where: str) -> Entry:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        wrong, _, place = str(error).partition(" - at ")
        key = re.sub(r"^`?\$\.?|`$", "", place).replace("[...]", "")
        unknown = re.search(r"unknown field `(.*)`", wrong)
        if unknown:
            at, wrong = unknown[1], "unknown key"
        else:
            at = ""
        full = ": ".join(filter(None, [where, ".".join(filter(None, [key, at]))]))
        known = f"; choose one of {', '.join(_keys(kind))}" if not key or unknown else ""
        raise ConfigurationError(f"{full}: {printable(wrong)}{known}") from None


def _keys(kind: type[msgspec.Struct]) -> Sequence[str]:
    return kind.__struct_encode_fields__


def _programs(name: str, group: str, entry: ProgramEntry) -> Iterator[ProgramChoice]:
    where = f"{name}: programs.{group}"
    if bool(entry.levels) != (LEVEL in entry.args):
        raise ConfigurationError(
            f"{where}: levels and {LEVEL} in args belong together; write both or neither"
        )
    if len(set(map(str, entry.levels))) != len(entry.levels):
        raise ConfigurationError(f"{where}.levels: a level stands there twice; remove one")
    for level in map(str, entry.levels or [""]):
        identity = f"{group}-{re.sub(r'[^a-z0-9.-]', '-', level.lower())}" if level else group
        try:
            args = shlex.split(entry.args.replace(LEVEL, level))
            digest = programs.load(Path(entry.program), args=args).digest
        except ValueError as error:
            raise ConfigurationError(f"{where}.args: cannot be split: {error}") from None
        except E3Error as error:
            raise ConfigurationError(f"{where}: {error}") from None
        yield ProgramChoice(
            id=identity,
            group=group,
            level=level,
            about=entry.about,
            program=entry.program,
            args=args,
            parties=entry.parties,
            digest=digest,
        )


def _limits(
    name: str, file: CampaignFile, scenario: str, chosen: Sequence[ProgramChoice]
) -> list[str]:
    """Return the programs to which a scenario is limited, level by level; empty for all."""
    placed, where = file.scenarios[scenario], f"{name}: scenarios.{scenario}"
    for overlay in placed.overlays:
        if overlay not in file.overlays:
            raise ConfigurationError(
                f"{where}.overlays: the campaign has no overlay {overlay}; choose of "
                f"{', '.join(file.overlays)}"
            )
    known = {name for each in chosen for name in (each.id, each.group)}
    for program in placed.programs:
        if program not in known:
            raise ConfigurationError(
                f"{where}.programs: the campaign has no program {program}; choose of "
                f"{', '.join(sorted(known))}"
            )
    wanted = set(placed.programs)
    return [each.id for each in chosen if wanted & {each.id, each.group}]


def _cell(
    name: str, file: CampaignFile, overlay: str, scenario: str, limited: list[str]
) -> MatrixCell:
    chosen, placed = file.overlays[overlay] or OverlayEntry(), file.scenarios[scenario]
    kind = chosen.overlay or overlay
    values: dict[str, object] = {
        "fleet": placed.fleet,
        "fleet-options": placed.fleet_options,
        "regions": placed.regions,
        "latency-ms": placed.latency_ms,
        "nats": placed.nats,
        "overlay": kind,
        "overlay-options": chosen.options,
        "tls": chosen.tls,
        "program": WARM_UP,
        "max-hourly-usd": placed.max_hourly_usd,
        "expires-hours": placed.expires_hours,
    }
    chosen_values = {key: it for key, it in values.items() if it is not None and it != {}}
    cell = MatrixCell(
        overlay=OverlayChoice(id=overlay, overlay=kind, options=chosen.options, tls=chosen.tls),
        scenario=ScenarioChoice(
            id=scenario,
            about=placed.about,
            fleet=placed.fleet,
            regions=placed.regions,
            rtt_ms=placed.latency_ms,
            nats={
                name: it if isinstance(it, str) else json.dumps(it)
                for name, it in placed.nats.items()
            },
            links={
                pair: LinkQuality(jitter_ms=it.jitter_ms, loss=it.loss, rate_mbit=it.rate_mbit)
                for pair, it in placed.links.items()
            },
            processors=placed.processors,
            overlays=placed.overlays,
            programs=limited,
        ),
        stack=stack_of(file.name, overlay, scenario),
        values=chosen_values,
    )
    try:
        experiment = cell.experiment()
        build(FLEETS, experiment.fleet, key="fleet")
    except E3Error as error:
        raise ConfigurationError(f"{name}: scenarios.{scenario}: {error}") from None
    try:
        joining = build(OVERLAYS, experiment.overlay, key="overlay")
        if joining.needs.account is None:
            joining.assign(experiment.host_names, None)
    except E3Error as error:
        raise ConfigurationError(f"{name}: overlays.{overlay}: {error}") from None
    if placed.links and placed.fleet != "lab":
        raise ConfigurationError(
            f"{name}: scenarios.{scenario}.links: only the lab's links can be changed; use the "
            "fleet lab, or leave links out"
        )
    known = {f"{a}-{b}" for a in experiment.regions for b in experiment.regions}
    for pair in placed.links:
        if pair != "all" and pair not in known:
            raise ConfigurationError(
                f"{name}: scenarios.{scenario}.links: {pair!r} is neither all nor two of "
                f"{', '.join(experiment.regions)} joined by a hyphen"
            )
    _check_processors(f"{name}: scenarios.{scenario}", placed, experiment)
    return cell


def _check_processors(where: str, placed: ScenarioEntry, experiment: Experiment) -> None:
    if placed.processors and placed.fleet != "lab":
        raise ConfigurationError(
            f"{where}.processors: only a lab's hosts can be made slow; use the fleet lab, or leave "
            "processors out"
        )
    for host in placed.processors:
        if host not in experiment.host_names:
            raise ConfigurationError(
                f"{where}.processors: there is no host {host}; choose of "
                f"{', '.join(experiment.host_names)}"
            )


def _check_observed(name: str, file: CampaignFile, cells: Sequence[MatrixCell]) -> None:
    for scenario in {*file.observe.scenarios, *file.observe.traffic}:
        placed = file.scenarios.get(scenario)
        if placed is None:
            raise ConfigurationError(
                f"{name}: observe: the campaign has no scenario {scenario}; choose one "
                f"of {', '.join(file.scenarios)}"
            )
        first = next(cell for cell in cells if cell.scenario.id == scenario)
        classes = first.experiment().reachability.values()
        few = sum(placed.regions.values()) < FEWEST_OBSERVED
        if placed.fleet != "lab" or few or "public" not in classes:
            raise ConfigurationError(
                f"{name}: observe: {scenario} is to have the fleet lab and at least "
                f"{FEWEST_OBSERVED} hosts, one of them public; only a lab's network can be watched"
            )


def _check_parties(name: str, file: CampaignFile, chosen: Sequence[ProgramChoice]) -> None:
    for scenario, placed in file.scenarios.items():
        hosts = sum(placed.regions.values())
        limited = set(placed.programs)
        for program in chosen:
            if limited and not limited & {program.id, program.group}:
                continue
            if program.parties is not None and program.parties > hosts:
                raise ConfigurationError(
                    f"{name}: programs.{program.group}.parties: {program.parties} parties need as "
                    f"many hosts, but scenarios.{scenario} has {hosts}; ask for fewer parties, or "
                    "make another campaign for it"
                )
