"""What each verb prints with ``--json``, as types; docs/schemas/cli.json is made of them.

    python -m e3.cli.schemas > docs/schemas/cli.json

Keys are never renamed or removed. New ones may come: a reader ignores those it does not know.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from e3.cli import adhoc_schemas as adhoc
from e3.cli import authority_schemas as authority
from e3.cli.checks.finding import Level
from e3.paths import PathClass
from e3.session.results import Identity, PartyResult
from e3.session.verdicts import Verdict

Seconds = Annotated[float, Meta(ge=0)]
PATH_KEYS = {"source": "from", "target": "to", "path_class": "class"}


class Path(Struct, rename=PATH_KEYS):
    """How a host reaches another; ``by`` relays; ``..._after`` as the session ended."""

    source: str
    target: str
    path_class: PathClass
    rtt_ms: float
    by: str = ""
    exchange: str = ""
    class_after: PathClass | None = None
    by_after: str = ""


class Session(Struct):
    """The result of a session; docs/verdicts.md has the verdicts."""

    id: str
    program: str
    digest: str
    overlay: str
    verdict: Verdict
    reason: str
    concerned: list[int]
    advice: str
    parties: list[PartyResult]
    setup_seconds: Seconds | None
    online_seconds: Seconds | None
    wall_seconds: Seconds
    identity: Identity
    paths: list[Path]
    notes: list[str]
    evidence: str


class ShownHost(Struct):
    """A host of a stack; ``overlay`` and ``pid`` are None where it has none."""

    name: str
    region: str
    underlay: str
    overlay: str | None
    pid: int | None


class NewestRun(Struct):
    """The newest run of a stack, if it is not that of ``session``."""

    id: str
    verdict: str
    reason: str
    evidence: str


class Took(Struct):
    """Where the time went, in seconds; None where that is not known."""

    hosts: Seconds | None
    join: Seconds | None
    session: Seconds | None
    session_setup: Seconds | None
    session_online: Seconds | None


class Shown(Struct):
    """A stack; ``session`` is its last one that completed, ``next`` are commands to type."""

    stack: str
    overlay: str | None
    hosts: list[ShownHost]
    paths: list[Path]
    session: Session | None
    newest_run: NewestRun | None
    seconds: Took
    next: list[str]


class Run(Struct):
    """A run; ``verdict`` is one of a session, ``running`` or ``interrupted``."""

    id: str
    stack: str
    program: str
    args: list[str]
    overlay: str
    hosts: list[str]
    started: str
    verdict: str
    reason: str
    wall_seconds: Seconds | None
    evidence: str


class LogLine(Struct):
    """A line of a party's log; each is a JSON text of its own."""

    host: str
    line: str


class MeasuredPath(Struct, rename=PATH_KEYS):
    """A path as measured now, and the seconds from joining to first data and a direct path.

    ``exchange`` is how its keys were made, as the connection tells; empty where none does.
    """

    source: str
    target: str
    path_class: PathClass
    by: str
    overlay_rtt_ms: float | None
    underlay_rtt_ms: float | None
    mbit_per_second: float | None
    level: Level
    advice: str
    exchange: str
    contact_seconds: float | None
    direct_seconds: float | None


class Paths(Struct):
    """Every ordered pair of a stack's hosts."""

    stack: str
    overlay: str
    paths: list[MeasuredPath]


class DoctorFinding(Struct):
    """A finding; ``fixable`` by `e3 doctor --fix`."""

    level: Level
    subject: str
    detail: str
    remedy: str
    fixable: bool


class Doctor(Struct):
    """All findings; ``ok`` if none is FAIL."""

    ok: bool
    findings: list[DoctorFinding]


class Gone(Struct):
    """What is left of each stack, a line for each thing."""

    gone: bool
    stacks: dict[str, list[str]]


class Imported(Struct):
    """The machines of a list as ``hosts.yaml`` has them (docs/inventory.md)."""

    hosts: list[dict[str, Any]]
    notes: list[str]
    left_out: list[str]


class Swept(Struct):
    """What became of an experiment at a cloud; ``hours`` is the time that it has left."""

    label: str
    state: Literal["stays", "failed", "would be removed", "removed"]
    found: list[str]
    hours: float
    error: str


class Cell(Struct):
    """How far a cell of a campaign is; ``verdicts`` counts its repetitions."""

    cell: str
    state: str
    what: str
    finished: int
    total: int
    disturbed: int
    verdicts: dict[str, int]


class Campaign(Struct):
    """How far a campaign is; ``results`` is its file of results."""

    name: str
    running: bool
    left_seconds: float | None
    results: str
    cells: list[Cell]


class Cleaned(Struct):
    """The stacks that a campaign had left."""

    removed: list[str]


class Estimate(Struct):
    """What `e3 campaign run --dry-run` says, line by line."""

    estimate: list[str]


class Joined(Struct):
    """The file that was written, and the cells that it has of each file."""

    file: str
    cells: dict[str, list[str]]


class Checked(Struct):
    """The problems of each file."""

    ok: bool
    files: dict[str, list[str]]


class Exported(Struct):
    """The file that was written; a row a repetition."""

    file: str
    rows: int


class Report(Struct):
    """The files that were written: HTML, and PDF if that was asked for."""

    files: list[str]


class Script(Struct):
    """What a shell evaluates."""

    shell: str
    script: str


class Input(Struct):
    """A private input on a host; ``changed`` is a time in ISO 8601, "" if it is not one."""

    host: str
    name: str
    size: int
    changed: str
    owned: bool


class SentInput(Struct):
    """An input that was put on a host."""

    name: str
    bytes: int


class Put(Struct):
    """The inputs that were put on a host."""

    host: str
    inputs: list[SentInput]


class Removed(Struct):
    """The names that were not among a host's inputs."""

    host: str
    missing: list[str]


class OutputFile(Struct):
    """An output file in a run's evidence."""

    host: str
    name: str
    bytes: int


class Fetched(Struct):
    """The number of output files of each host, in a folder for each below ``folder``."""

    run: str
    folder: str
    files: dict[str, int]


class RemovedOutputs(Struct):
    """The hosts whose output files of a run were removed."""

    run: str
    hosts: list[str]


VERBS: Mapping[str, Any] = {
    "show": Shown,
    "run": Session,
    "runs": list[Run],
    "logs": LogLine,
    "input put": Put,
    "input list": list[Input],
    "input remove": Removed,
    "output list": list[OutputFile],
    "output get": Fetched,
    "output remove": RemovedOutputs,
    "paths": Paths,
    "authority show": authority.Authorities,
    "authority log": authority.AuthorityLog,
    "authority refresh": authority.Refreshed,
    "authority ceremonies": list[authority.Ceremony],
    "authority issue": authority.IssuedCredential,
    "authority credentials": list[authority.ListedCredential],
    "authority revoke": authority.Revocations,
    "authority revocations": authority.Revocations,
    "doctor": Doctor,
    "verify-gone": Gone,
    "inventory import": Imported,
    "sweep": list[Swept],
    "campaign run": Campaign,
    "campaign run --dry-run": Estimate,
    "campaign show": Campaign,
    "campaign clean": Cleaned,
    "results check": Checked,
    "results export": Exported,
    "results join": Joined,
    "results schema": dict[str, Any],
    "report": Report,
    "completion": Script,
    "board": list[adhoc.Posted],
    "id": adhoc.OwnIdentity,
    "inbox": Session,
    "invite": Session,
    "join": Session,
    "nearby": list[adhoc.Offered],
    "mediator": adhoc.RunningMediator,
}
"""The type of what each verb prints."""


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema (2020-12) with a definition for each verb, by its name."""
    found, components = msgspec.json.schema_components(
        VERBS.values(), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What the verbs of e3 print with --json",
        "verbs": dict(zip(VERBS, found, strict=True)),
        "$defs": components,
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1))
