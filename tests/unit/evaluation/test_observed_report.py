"""What a report says of a cell that was observed from outside, of made-up observations."""

import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from e3.evaluation import results, results_file
from e3.evaluation.observations import Attack, Memory, ObservationRecord, Traffic, View
from e3.evaluation.report import fingerprint, page, privacy, study
from tests import campaigns

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(
        find_spec("vl_convert") is None, reason="charts need vl-convert: scripts/setup --report"
    ),
    pytest.mark.skipif(
        find_spec("sklearn") is None, reason="classifiers need scikit-learn: scripts/setup --report"
    ),
]


def of_records(path: Path, observations: Sequence[ObservationRecord]) -> study.Study:
    programs = [
        results.ProgramChoice(id=name, group=name, program=f"{name}.py", digest=campaigns.DIGEST)
        for name in ("rounds", "bandwidth")
    ]
    host = campaigns.setup().hosts[0]
    hosts = [
        results.HostFacts(**{**{f: getattr(host, f) for f in host.__struct_fields__}, "name": name})
        for name in ("ams3-0", "ams3-1", "nyc3-0")
    ]
    chain = results_file.FIRST
    with path.open("wb") as file:
        first = campaigns.campaign(programs=programs)
        records: list[results.Record] = [first, campaigns.setup(hosts=hosts), *observations]
        for record in records:
            line, chain = results_file.link(record, chain)
            file.write(line)
    return study.load(path)


def observation(number: int, **changes: Any) -> ObservationRecord:  # noqa: ANN401 -- its fields
    values = {
        "cell": campaigns.CELL, "number": number, "setup": 0, "started": campaigns.STARTED,
        "seconds": 1.0, **changes,
    }  # fmt: skip
    return ObservationRecord(**values)


def view(vantage: str, phase: str, **changes: Any) -> View:  # noqa: ANN401 -- the same
    values = {
        "vantage": vantage, "where": "ams3-0", "phase": phase, "packets": 9, "bytes": 900,
        "unseen_packets": 0, "canary_packets": 0, "hosts": [], "overlay_hosts": [], "names": [],
        "pairs": [], **changes,
    }  # fmt: skip
    return View(**values)


def traffic(**changes: float) -> Traffic:
    values: dict[str, Any] = {
        "seconds": 1.0, "packets": 100, "bytes": 10_000, "ends": 3, "talking_pairs": 6,
        "mean_bytes": 100.0, "spread_bytes": 10.0, "size_bytes": [60.0, 70.0, 80.0, 90.0, 100.0],
        "gap_ms": [1.0, 2.0, 3.0, 4.0, 5.0], "small_share": 1.0, "large_share": 0.0, "bursts": 10,
        "mean_burst_packets": 10.0, "busiest_share": 0.2, "pair_spread": 0.1, **changes,
    }  # fmt: skip
    return Traffic(**values)


def test_who_reads_and_who_sees_whom(tmp_path: Path) -> None:
    record = observation(
        0,
        what="canary",
        parties=2,
        views=[
            view("wire", "during", canary_packets=7, hosts=["ams3-1", "nyc3-0"],
                 pairs=[("ams3-1", "nyc3-0"), ("nyc3-0", "ams3-1")]),
            view("third-party", "joining", names=["nyc3-0"], hosts=["ams3-0", "nyc3-0"]),
            view("neighbour", "during"),
        ],
        memory=[Memory(host="ams3-0", searches=3, searched_bytes=1000, canary_copies=2, names=[])],
    )  # fmt: skip
    of = of_records(tmp_path / "r.jsonl", [record])
    (found,) = privacy.exposures(of)
    assert found.parties == ["ams3-1", "nyc3-0"]
    assert found.reading == {"wire": 7, "third-party": 0, "neighbour": 0}
    assert found.sights["wire"]["during"] == privacy.Sight(
        hosts=2, pairs=1, names=[], packets=9, bytes=900
    )
    assert found.sights["third-party"]["joining"] == privacy.Sight(
        hosts=1, pairs=0, names=["nyc3-0"], packets=9, bytes=900
    )
    text = page.render(of)
    assert "reads <small>7 packets" in text
    assert "2 copies" in text


def test_who_gets_in(tmp_path: Path) -> None:
    attacks = [
        Attack(attack="outsider", target="ams3-0", opened=False, arrived_datagrams=0),
        Attack(attack="on-link", target="ams3-0", opened=True, arrived_datagrams=3),
        Attack(attack="borrowed-address", target="ams3-0", opened=False, arrived_datagrams=3),
    ]
    of = of_records(tmp_path / "r.jsonl", [observation(0, what="attack", attacks=attacks)])
    text = page.render(of)
    for words in (">refused<", ">connects<", ">datagrams arrive, no connection<"):
        assert text.count(words) == 1


def sessions(*, told: bool) -> list[ObservationRecord]:
    """Return observations whose packets tell the program, or tell nothing."""
    draw = random.Random(4)  # noqa: S311 -- not for secrets
    made = []
    for number in range(48):
        program = ("rounds", "bandwidth")[number % 2]
        size = draw.uniform(60, 200) + (1000 if told and program == "bandwidth" else 0)
        made.append(
            observation(
                number,
                what="session" if number % 3 else "requests",
                program=program if number % 3 else "",
                parties=3,
                traffic=traffic(mean_bytes=size),
            )
        )
    return made


@pytest.mark.parametrize("told", [True, False])
def test_a_classifier_recognises_what_packets_tell_and_nothing_else(
    tmp_path: Path, *, told: bool
) -> None:
    of = of_records(tmp_path / "r.jsonl", sessions(told=told))
    found = {one.question: one for one in fingerprint.recognitions(of)}
    which = found["Which program?"]
    assert which.samples == 32
    assert which.chance == 0.5
    assert which.better is told
    # all have three parties: there is nothing to guess
    assert found["How many parties?"].samples == 0
    assert "too few observations" in page.render(of)


def test_few_observations_say_nothing(tmp_path: Path) -> None:
    of = of_records(tmp_path / "r.jsonl", sessions(told=True)[:6])
    assert not any(one.samples for one in fingerprint.recognitions(of))


@pytest.mark.parametrize(
    ("right", "bounds"), [(0, (0.0, 0.278)), (10, (0.722, 1.0)), (5, (0.237, 0.763))]
)
def test_the_interval_of_a_share_is_wilsons(right: int, bounds: tuple[float, float]) -> None:
    assert fingerprint.wilson(right, 10) == pytest.approx(bounds, abs=1e-3)
