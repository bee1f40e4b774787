"""Run a campaign: its cells in the order that the seed decides, some of them side by side.

Whatever ends it, what has finished is in the file of results, and the next run continues there.
"""

import os
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from e3 import nats, pulumi_state
from e3.deployed import FILES
from e3.errors import ConfigurationError
from e3.evaluation.campaign import machine, place
from e3.evaluation.campaign.automation import CellStack
from e3.evaluation.campaign.cell import Progress, run_cell, unsupported
from e3.evaluation.campaign.convert import now
from e3.evaluation.campaign.matrix import Matrix
from e3.evaluation.results import SCHEMA, CampaignRecord, ScenarioChoice
from e3.evaluation.results_file import Writer
from e3.experiment import Experiment
from e3.fleets import FLEETS
from e3.lab.links import default_rtt_ms
from e3.overlays import OVERLAYS
from e3.preflight import Equipment
from e3.registry import build
from e3.remote.tasks import gather_or_cancel, in_thread

CORES_A_JOB = 2
GIT_SECONDS = 10.0


async def run(  # noqa: PLR0913 -- what is run and how, by keyword
    matrix: Matrix,
    root: Path,
    *,
    jobs: int,
    tell: Callable[[str, str], None],
    only: Sequence[str] = (),
    clocks: machine.Clocks = machine.CLOCKS,
) -> None:
    """Run what has not finished; ``tell`` is called with a cell and what happens there.

    ``only`` names the cells that are run now (`Matrix.only`), by default all. ``clocks`` tell which
    repetitions were disturbed. Raises `ConfigurationError` before anything is made if the campaign
    or this machine cannot do it, and `ResultsError` if the file of results is not whole.
    """
    asked = matrix.only(only)
    check_jobs(asked, jobs, os.cpu_count() or 1)
    check_equipment(asked)
    path = place.results_of(root, matrix.file.name)
    doing: dict[str, str] = {}

    def told(cell: str, what: str) -> None:
        doing[cell] = what
        if cell in progress.ended:
            doing.pop(cell)
        place.tell(root, matrix.file.name, place.Doing(pid=os.getpid(), cells=doing))
        tell(cell, what)

    with Writer(path) as writer:
        progress = Progress(
            matrix=matrix,
            root=root,
            folder=path.parent,
            writer=writer,
            tell=told,
            e3=version(root),
            commit=commit(root),
            clocks=clocks,
        )
        _begin(matrix, root, progress, tell)
        try:
            await in_thread(remove_stacks, matrix.file.name, root, tell)
            waiting = [cell for cell in asked.shuffled() if cell.id not in progress.ended]
            waiting.reverse()

            async def work() -> None:
                while waiting:
                    await run_cell(waiting.pop(), progress)

            await gather_or_cancel(work() for _ in range(jobs))
        finally:
            place.tell(root, matrix.file.name, None)


def _begin(
    matrix: Matrix, root: Path, progress: Progress, tell: Callable[[str, str], None]
) -> None:
    """Write the first line, or check that it is this campaign's; tell if another E3 wrote it."""
    known, path = progress.writer.known, progress.folder / place.RESULTS
    if not known:
        progress.writer.write(header(matrix, root))
        return
    first = known[0]
    if isinstance(first, CampaignRecord) and first.digest != matrix.digest:
        raise ConfigurationError(
            f"{path} has results of this campaign as it was before it or its programs changed; "
            f"give the campaign another name, or move {path.parent} away"
        )
    if isinstance(first, CampaignRecord) and first.schema != SCHEMA:
        raise ConfigurationError(
            f"{path} was begun by an E3 that writes schema {first.schema}, and this one writes "
            f"{SCHEMA}; give the campaign another name, or move {path.parent} away"
        )
    if isinstance(first, CampaignRecord) and first.commit != progress.commit:
        what = f"began with commit {_short(first.commit)}; from here on {_short(progress.commit)}"
        tell(matrix.file.name, f"{what}, as each set-up says")
    progress.take_known()


def _short(commit: str) -> str:
    changed = "+" if commit.endswith("+") else ""
    return f"{commit[:10]}{changed}" if commit else "unknown"


def header(matrix: Matrix, root: Path) -> CampaignRecord:
    """Return the first line of a campaign's results."""
    seen = {cell.scenario.id: cell for cell in matrix.cells}
    return CampaignRecord(
        schema=SCHEMA,
        name=matrix.file.name,
        about=matrix.file.about,
        digest=matrix.digest,
        seed=matrix.file.seed,
        repetitions=matrix.file.repetitions,
        started=now(),
        e3=version(root),
        commit=commit(root),
        overlays=list({cell.overlay.id: cell.overlay for cell in matrix.cells}.values()),
        scenarios=[_placed(cell.scenario, cell.experiment()) for cell in seen.values()],
        programs=list(matrix.programs),
    )


def _placed(scenario: ScenarioChoice, experiment: Experiment) -> ScenarioChoice:
    """Return a scenario with every round trip that was asked for, and each host's own NAT."""
    rtt_ms = {}
    if scenario.fleet == "lab":
        regions = sorted(experiment.regions)
        pairs = [(a, b) for a in regions for b in regions if a <= b]
        rtt_ms = {
            f"{a}-{b}": experiment.latency_ms.get((a, b), default_rtt_ms(a, b)) for a, b in pairs
        }
    behind = {host: nats.to_text(behaviour) for host, behaviour in experiment.nats.items()}
    return msgspec.structs.replace(scenario, rtt_ms=rtt_ms, nats=behind)


def remove_stacks(name: str, root: Path, tell: Callable[[str, str], None]) -> None:
    """Remove every stack of a campaign of that name, which one that was killed has left."""
    prefix = place.stack_of(name)
    files = root / FILES
    found = {pulumi_state.stack_of(path) for path in pulumi_state.checkpoints(files)}
    found |= {path.name for path in files.glob(f"{prefix}*")}
    found |= {path.stem.removeprefix("Pulumi.") for path in root.glob(f"Pulumi.{prefix}*.yaml")}
    for stack in sorted(found):
        if stack.startswith(prefix):
            tell(stack, "removing what was left of it")
            CellStack(stack, {}, root).down()


def check_jobs(matrix: Matrix, jobs: int, cores: int) -> None:
    """Refuse cells side by side where they would disturb each other's figures."""
    fleets = {cell.scenario.fleet for cell in matrix.cells}
    if jobs > 1 and "inventory" in fleets:
        raise ConfigurationError(
            f"--jobs {jobs}: cells on the same machines would disturb each other's figures; "
            "leave --jobs out"
        )
    if jobs > 1 and "lab" in fleets and cores < jobs * CORES_A_JOB:
        raise ConfigurationError(
            f"--jobs {jobs}: this machine has {cores} cores, and cells of the lab side by side "
            f"would disturb each other's figures; a job takes {CORES_A_JOB} cores"
        )


def check_equipment(matrix: Matrix) -> None:
    """Raise `PlatformError` if this machine lacks what a supported overlay needs."""
    checked: set[str] = set()
    for cell in matrix.cells:
        fleet = build(FLEETS, cell.experiment().fleet, key="fleet")
        if cell.overlay.overlay in checked or unsupported(cell) or not fleet.own_programs:
            continue
        checked.add(cell.overlay.overlay)
        overlay = build(OVERLAYS, cell.experiment().overlay, key="overlay")
        Equipment().check(cell.overlay.overlay, overlay.needs, "--all")


def version(root: Path) -> str:
    """Return the version of E3."""
    found: str = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    return found


def commit(root: Path) -> str:
    """Return the commit of the sources, with a plus sign if they were changed since."""
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{head}+" if changed else head


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_SECONDS,
    ).stdout.strip()
