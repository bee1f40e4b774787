"""What docs/resilience.yaml expects, and the tables that docs/resilience.md shows of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import yaml

from tests.stack import ROOT

DATA = ROOT / "docs" / "resilience.yaml"
RECOVERY = ROOT / "docs" / "recovery.yaml"
PAGE = ROOT / "docs" / "resilience.md"

MARKS = {"itself": "", "itself or up": " (up?)", "up": " (up)", "never": " (lost)"}
Group = Literal["events", "membership"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An event: in which table it stands, and what happens."""

    group: Group
    what: str


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is expected of one overlay in one event, by `Arena.facts`; nothing where it cannot be.

    ``because`` is the reason.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    because: str

    def met_by(self, facts: Mapping[str, str]) -> bool:
        """Return whether these facts are as expected."""
        wanted = {key: words.split(" or ") for key, words in self.facts.items()}
        return facts.keys() == wanted.keys() and all(facts[k] in wanted[k] for k in wanted)

    @property
    def cell(self) -> str:
        """The expectation in a word or a few, for a table."""
        facts = dict(self.facts)
        if not facts:
            return "-"
        after = facts.pop("after", "itself")
        first, *others = facts.items()
        words = [first[1], *(f"{key} {word}" for key, word in others if word != first[1])]
        return ", ".join(words) + MARKS[after]


@dataclass(frozen=True, kw_only=True)
class Resilience:
    """The content of docs/resilience.yaml: the events, and by overlay what each does."""

    events: Mapping[str, Kind]
    overlays: Mapping[str, Mapping[str, Expected]]


def load() -> Resilience:
    """Return what is expected."""
    return msgspec.convert(yaml.safe_load(DATA.read_text()), Resilience)


class Recovery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long an overlay took to recover; ``by``: a deployment repaired it."""

    seconds: Annotated[float, msgspec.Meta(ge=0)]
    by: Literal["itself", "up"] = "itself"


def recovery() -> Mapping[str, Mapping[str, Recovery]]:
    """Return what docs/recovery.yaml has, by event and overlay."""
    return msgspec.convert(yaml.safe_load(RECOVERY.read_text()), dict[str, dict[str, Recovery]])


def seconds_table() -> str:
    """Return the table of seconds of docs/resilience.md."""
    names = sorted(load().overlays)
    rows = [["event", *names], ["---"] * (len(names) + 1)]
    for event, found in recovery().items():
        words = {name: f"{one.seconds:.0f}{MARKS[one.by]}" for name, one in found.items()}
        rows.append([f"`{event}`", *(words.get(name, "-") for name in names)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def table(group: Group) -> str:
    """Return a table of docs/resilience.md: a row for each event, a column for each overlay."""
    known = load()
    names = sorted(known.overlays)
    rows = [["event", *names], ["---"] * (len(names) + 1)]
    rows += [
        [f"`{event}`", *(known.overlays[name][event].cell for name in names)]
        for event, kind in known.events.items()
        if kind.group == group
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def legend(group: Group) -> str:
    """Return the rows of docs/resilience.md that say what happens in each event."""
    kinds = load().events.items()
    return "\n".join(f"| `{event}` | {kind.what} |" for event, kind in kinds if kind.group == group)
