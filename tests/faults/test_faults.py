"""Every fault has its verdict within the promised time: on a lab, over `plain` and `nebula`.

By default each once, and twice where an overlay matters; all over both by ``-m faults``
(`make faults`).

The cases run side by side, each on three hosts of its own; a test waits for its own. What each
came to stands in a table at the end of the run.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from e3.overlays.nebula import Nebula
from e3.overlays.plain import Plain
from e3.session.results import SessionResult
from tests.faults import cases, cases_agreement, cases_events, cases_identity
from tests.faults.case import CASES
from tests.faults.stage import PROMISE_SECONDS, Stage
from tests.labs import running
from tests.malice import ATTACKS, WAITING
from tests.overlays import Mesh

TABLES = (cases, cases_events, cases_identity, cases_agreement)
"""They add their cases to `CASES`."""

OVERLAYS = {"plain": Plain, "nebula": Nebula}
OVER_NEBULA = {
    "SIGKILL of one party",
    "a cable that is out for 3 s",
    "a cable that is out for a minute",
    "a host that died before",
    "a host that dies after its result",
    "a host that dies during the agreement",
    "a host that dies mid-computation",
    "a hostile host in the agreement, another pid",
    "another authority on one host, with TLS",
    "an impostor of another pid",
}
"""Where the overlay matters: its own links end, or its addresses prove who speaks."""

ON_THIS_MACHINE = {
    "-T0 on one party",
    "--no-prss on one party",
    "--mix32-64bit on one party",
    *(
        f"a hostile host in the agreement, {attack.replace('-', ' ')}"
        for attack in {*ATTACKS} - WAITING - {"another-pid", "two-faces", "accuses"}
    ),
}
"""What tests/unit/session causes as well, with hosts that are folders of this machine."""

AT_ONCE = 6
REGIONS = ("ams3", "nyc3")
RTT_MS = {("ams3", "ams3"): 0.0, ("nyc3", "nyc3"): 0.0, ("ams3", "nyc3"): 5.0}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The result of a case."""

    result: SessionResult
    seconds: float
    stop_seconds: float


Trials = Mapping[tuple[str, str], "Future[Trial]"]


@pytest.fixture(scope="module")
def trials(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trials]:
    """Start all selected cases, the slow ones first."""
    asked = [
        item.callspec.id.split(": ")
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_a_fault
    ]
    folder = tmp_path_factory.mktemp("faults")
    with running(folder / "lab", RTT_MS, REGIONS) as lab:
        pool = ThreadPoolExecutor(AT_ONCE)
        futures: dict[tuple[str, str], Future[Trial]] = {}
        try:
            for overlay, name in sorted(asked, key=lambda pair: not CASES[pair[1]].slow):
                number = len(futures)
                names = [f"ams3-{3 * number}", f"ams3-{3 * number + 1}", f"nyc3-{number}"]
                place = folder / str(number)
                place.mkdir()
                mesh = Mesh(lab, OVERLAYS[overlay]())
                futures[overlay, name] = pool.submit(try_one, mesh, names, place, overlay, name)
            yield futures
        finally:
            pool.shutdown(cancel_futures=True)


def try_one(mesh: Mesh, names: list[str], place: Path, overlay: str, name: str) -> Trial:
    """Run a case on new hosts, which are removed afterwards."""
    mesh.add(*names)
    try:
        addresses = mesh.connect(*names).addresses
        mesh.verify_pairs()
        stage = Stage(place, mesh.lab, list(mesh.hosts), addresses, overlay)
        result = CASES[name].act(stage)
        return Trial(result=result, seconds=stage.seconds, stop_seconds=stage.stop_seconds)
    finally:
        mesh.lab.remove_hosts(names)


def parameters(overlay: str, name: str) -> object:
    lean = name in OVER_NEBULA if overlay == "nebula" else name not in ON_THIS_MACHINE
    marks = [] if lean else [pytest.mark.long]
    return pytest.param(overlay, name, id=f"{overlay}: {name}", marks=marks)


def test_what_is_left_out_by_default_exists() -> None:
    assert {*CASES} >= OVER_NEBULA | ON_THIS_MACHINE


@pytest.mark.parametrize(
    ("overlay", "name"), [parameters(overlay, name) for overlay in OVERLAYS for name in CASES]
)
def test_a_fault(
    trials: Trials, overlay: str, name: str, record_property: Callable[[str, object], None]
) -> None:
    trial = trials[overlay, name].result(timeout=600)
    record_property("verdict", str(trial.result.verdict))
    case, result = CASES[name], trial.result
    record_property("seconds", trial.seconds)
    record_property("stop_seconds", trial.stop_seconds)
    # recorded, not asserted: a busy machine may be late
    record_property(
        "late", trial.seconds > PROMISE_SECONDS or trial.stop_seconds > case.stop_seconds
    )
    assert result.verdict is case.verdict, result.reason
    rest = result.reason
    for words in case.reason:
        assert words in rest, result.reason
        rest = rest.partition(words)[2]
    if case.concerned:
        assert result.concerned == case.concerned, result.reason
    assert bool(result.advice) is (result.verdict != "completed")
