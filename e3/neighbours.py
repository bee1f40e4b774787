"""Ranges of addresses that are taken already: by the lab below, and by other stacks."""

import json
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

from e3.errors import ConfigurationError
from e3.experiment import Choice, Experiment
from e3.interfaces import Overlay
from e3.lab.addresses import CARRIERS, HOMES, LAB_NETWORK
from e3.overlays import OVERLAYS
from e3.registry import build

STATES = Path("state/.pulumi/stacks/e3")
"""Where Pulumi keeps the stacks, below the folder of all stacks' files."""

SPARE = [IPv4Network((0x0A00_0000 + (index << 16), 16)) for index in range(80, 256)]
"""To be proposed: parts of 10.0.0.0/8 that no overlay takes by default."""


def check(experiment: Experiment, overlay: Overlay) -> None:
    """Raise `ConfigurationError` if the overlay's option ``range`` overlaps what others use.

    Labs do not see each other, so several stacks may leave the range at its default; one that was
    chosen is meant to be the stack's own.
    """
    span = overlay.range
    if span is None:
        return
    chosen = "range" in experiment.overlay.options
    taken = [*_below(experiment), *(_of_stacks(experiment) if chosen else ())]
    for other, whose in taken:
        if span.overlaps(other):
            used = [network for network, _ in taken]
            free = next(s for s in SPARE if not any(map(s.overlaps, used)))
            raise ConfigurationError(
                f"e3:overlay-options: range is {str(span)!r}, which overlaps {other}, {whose}; "
                f"choose one that is free, such as {free}"
            )


def _below(experiment: Experiment) -> Iterator[tuple[IPv4Network, str]]:
    """Yield what the lab keeps for itself, whoever makes this stack's hosts."""
    yield LAB_NETWORK, "the underlay of labs"
    if experiment.nats:
        yield HOMES, "where hosts behind NATs have their addresses"
        yield CARRIERS, "what lies between a carrier's NAT and its customers"


def _of_stacks(experiment: Experiment) -> Iterator[tuple[IPv4Network, str]]:
    """Yield the range of each other stack of this machine that is up."""
    for path in sorted((experiment.folder.parent / STATES).glob("*.json")):
        if path.stem != experiment.stack:
            latest = json.loads(path.read_text())["checkpoint"].get("latest") or {}
            for resource in latest.get("resources") or []:
                if resource["type"].endswith("e3:Overlay") and not resource.get("delete"):
                    values = resource.get("outputs") or {}
                    choice = Choice(name=values["kind"], options=values["options"])
                    span = build(OVERLAYS, choice, key="overlay").range
                    if span is not None:
                        yield span, f"the overlay of stack {path.stem}"
