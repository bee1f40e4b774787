"""Where a campaign keeps its results, and what its process does now."""

import contextlib
from pathlib import Path

import msgspec

from e3 import private
from e3.access.identity import identify
from e3.deployed import FILES
from e3.evaluation.fields import Part

CAMPAIGNS = FILES / "campaigns"
RESULTS = "results.jsonl"
NOW = "now.json"
"""What the running campaign does, for `e3 campaign show`."""

PREFIX = "campaign_"


def stack_of(campaign: str, overlay: str = "", scenario: str = "") -> str:
    """Return the name of the stack of a cell, or the begin of those of all cells.

    The parts have no underscores, so no campaign's stacks are taken for another's.
    """
    return f"{PREFIX}{campaign}_" + (f"{overlay}_{scenario}" if overlay else "")


class Doing(Part, frozen=True, kw_only=True):
    """What a campaign's process does: a sentence for each cell that it works on."""

    pid: int
    cells: dict[str, str]


def results_of(root: Path, name: str) -> Path:
    """Return where the results of a campaign are."""
    return root / CAMPAIGNS / name / RESULTS


def doing(root: Path, name: str) -> Doing | None:
    """Return what the process of a campaign does; None if none runs."""
    with contextlib.suppress(OSError, ValueError):
        content = results_of(root, name).with_name(NOW).read_bytes()
        told = msgspec.json.decode(content, type=Doing)
        if identify(told.pid) is not None:
            return told
    return None


def tell(root: Path, name: str, told: Doing | None) -> None:
    """Note what the process of a campaign does; None at its end."""
    path = results_of(root, name).with_name(NOW)
    if told is None:
        path.unlink(missing_ok=True)
    else:
        private.write(path, msgspec.json.encode(told))
