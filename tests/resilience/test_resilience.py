"""Every overlay through every event, as docs/resilience.yaml expects it, on a real lab.

By default a few of them, which are quick; all by ``pytest -m resilience`` (`make resilience`).
They run side by side, each on hosts of its own; a test waits for its own.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from e3.overlays import OVERLAYS
from e3.preflight import Equipment
from tests.overlays import skip_without_programs
from tests.resilience.arena import arena
from tests.resilience.events import EVENTS
from tests.resilience.expected import (
    PAGE,
    Group,
    legend,
    load,
    recovery,
    seconds_table,
    table,
)

AT_ONCE = 6
TRIAL_SECONDS = 900.0
"""For a trial that waits for others."""

QUICK = {
    "nebula: daemon-killed",
    "nebula: host-added",
    "plain: cut-3s",
    "tinc: host-removed",
    "wireguard: nat-rebooted",
    "wireguard: removed-returns",
    "wireguard: stranger",
}
"""One trial of each kind, over overlays that join quickly."""

KNOWN = load()
CASES = [
    (overlay, event)
    for overlay, events in KNOWN.overlays.items()
    for event, expected in events.items()
    if expected.facts
]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of an event."""

    facts: Mapping[str, str]
    notes: str
    seconds: float


Trials = Mapping[tuple[str, str], "Future[Trial]"]


def case(overlay: str, event: str) -> object:
    name = f"{overlay}: {event}"
    marks = [] if name in QUICK else [pytest.mark.long]
    return pytest.param(overlay, event, id=name, marks=marks)


@pytest.fixture(scope="module")
def trials(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trials]:
    """Start all trials that were asked for."""
    asked = [
        tuple(item.callspec.id.split(": "))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_an_event
    ]
    asked = [each for each in asked if not Equipment().left_out(OVERLAYS[each[0]]().needs)]
    folder = tmp_path_factory.mktemp("resilience")
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield {
            (overlay, event): pool.submit(try_one, overlay, event, folder / str(number))
            for number, (overlay, event) in enumerate(asked)
        }
    finally:
        pool.shutdown(cancel_futures=True)


def try_one(overlay: str, event: str, folder: Path) -> Trial:
    with arena(overlay, OVERLAYS[overlay](), folder) as made:
        EVENTS[event](made)
        notes = "; ".join(made.notes)
        return Trial(facts=made.facts, notes=notes, seconds=made.seconds)


@pytest.mark.parametrize(("overlay", "event"), [case(*each) for each in CASES])
def test_an_event(
    trials: Trials, overlay: str, event: str, record_property: Callable[[str, object], None]
) -> None:
    skip_without_programs(overlay, OVERLAYS[overlay]())
    trial = trials[overlay, event].result(timeout=TRIAL_SECONDS)
    outcome = ", ".join(f"{key} {word}" for key, word in sorted(trial.facts.items()))
    record_property("outcome", outcome)
    record_property("seconds", trial.seconds)
    record_property("notes", trial.notes)
    assert KNOWN.overlays[overlay][event].met_by(trial.facts), (trial.facts, trial.notes)


def test_every_overlay_has_an_expectation_of_every_event() -> None:
    assert set(KNOWN.overlays) == set(OVERLAYS)
    assert set(KNOWN.events) == set(EVENTS)
    for overlay, events in KNOWN.overlays.items():
        assert set(events) == set(EVENTS), overlay


def test_the_page_shows_what_is_expected() -> None:
    page = PAGE.read_text()
    groups: tuple[Group, ...] = get_args(Group)
    for group in groups:
        assert table(group) in page
        assert legend(group) in page


def test_the_page_shows_the_seconds_that_were_measured() -> None:
    assert seconds_table() in PAGE.read_text()
    for event, found in recovery().items():
        assert event in EVENTS
        for overlay in found:
            assert KNOWN.overlays[overlay][event].facts, f"{overlay} has no {event}"


def test_who_is_quick_exists() -> None:
    assert {f"{overlay}: {event}" for overlay, event in CASES} >= QUICK
