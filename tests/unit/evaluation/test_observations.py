"""Observations: figures of packets, what is planned, and how results keep it."""

from pathlib import Path

import pytest

from e3.errors import ConfigurationError
from e3.evaluation import results_file
from e3.evaluation.campaign import matrix, observe, traffic
from e3.evaluation.observations import ObservationRecord
from tests import campaigns

pytestmark = pytest.mark.unit

SECOND = 10**9


def test_packets_become_sizes_gaps_and_pairs() -> None:
    made = [(number * SECOND // 100, 100, "a", "b") for number in range(10)]
    made += [(SECOND, 1_400, "b", "a")]
    found = traffic.describe(made)
    assert found is not None
    assert (found.packets, found.bytes, found.ends, found.talking_pairs) == (11, 2_400, 2, 1)
    assert found.seconds == 1.0
    assert found.gap_ms[2] == 10.0
    assert found.bursts == 2  # nothing for 0.9 s before the last
    assert found.busiest_share == pytest.approx(1_400 / 2_400, abs=1e-3)


def test_a_segment_counts_as_the_packets_that_a_device_makes_of_it() -> None:
    found = traffic.describe([(0, 3_200, "a", "b")])
    assert found is not None
    assert (found.packets, found.bytes) == (3, 3_200)
    assert traffic.describe([]) is None


SEEN = {"scenarios": ["five"], "traffic": ["five"], "sessions": 3}


def asked(**observing: object) -> matrix.Matrix:
    return matrix.parse(
        {
            "name": "seen",
            "seed": 5,
            "observe": observing,
            "overlays": {"plain": None, "wireguard": None},
            "scenarios": {
                "five": {"regions": {"ams3": 3, "nyc3": 2}},
                "pair": {"regions": {"ams3": 2}},
                "hidden": {"regions": {"ams3": 3}, "nats": {"ams3": "port-restricted"}},
            },
            "programs": {
                "rounds": {"program": "campaigns/programs/rounds.py"},
                "bandwidth": {"program": "campaigns/programs/bandwidth.py"},
            },
        },
        "seen.yaml",
    )


def test_what_is_observed_follows_from_the_seed() -> None:
    of = asked(**SEEN)
    five, pair = of.cells[0], of.cells[1]
    planned = observe.planned(of, five)
    assert planned == observe.planned(asked(**SEEN), five)
    assert not observe.planned(of, pair)
    assert [each.kind for each in planned[:2]] == ["canary", "attack"]
    assert [each.number for each in planned] == list(range(2 + 3 * 2 + 3 * 4))
    sessions = [each for each in planned if each.kind == "session"]
    for program in ("rounds", "bandwidth"):
        sizes = {each.parties for each in sessions if each.program and each.program.id == program}
        assert sizes == {3, 4, 5}


@pytest.mark.parametrize(
    ("observing", "words"),
    [
        ({"scenarios": ["six"]}, "no scenario six; choose one of five, pair, hidden"),
        ({"scenarios": ["pair"]}, "at least 3 hosts"),
        ({"scenarios": ["hidden"]}, "one of them public"),
        ({"traffic": ["six"]}, "no scenario six"),
        ({"quiet-seconds": 0}, "quiet-seconds"),
    ],
)
def test_what_cannot_be_observed_is_refused(observing: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        asked(**observing)


def test_a_file_without_observations_has_the_digest_of_older_versions() -> None:
    assert asked().digest == asked(scenarios=[]).digest != asked(scenarios=["five"]).digest


def observation(**changes: object) -> ObservationRecord:
    values = {
        "cell": campaigns.CELL, "number": 0, "setup": 0, "started": campaigns.STARTED,
        "what": "canary", "seconds": 1.0, **changes,
    }  # fmt: skip
    return ObservationRecord(**values)  # type: ignore[arg-type] # the fields of the record


def test_an_observation_stands_in_results_once_and_after_its_set_up(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with results_file.Writer(path) as writer:
        for record in (campaigns.campaign(), campaigns.setup(), observation()):
            writer.write(record)
    assert list(results_file.read(path))[-1] == observation()
    with results_file.Writer(path) as writer:
        writer.write(observation(number=1, program="none"))
        writer.write(observation(number=2, setup=7))
        writer.write(observation())
    found = [problem.fault for problem in results_file.check(path)]
    assert found == ["misplaced", "misplaced", "duplicate"]


def test_results_of_the_schema_before_are_read(tmp_path: Path) -> None:
    path, chain = tmp_path / "results.jsonl", results_file.FIRST
    with path.open("wb") as file:
        for record in (campaigns.campaign(schema=1), campaigns.setup()):
            line, chain = results_file.link(record, chain)
            file.write(line)
    assert not list(results_file.check(path))
