"""What is derived from measurements: disturbances, costs, round trips, what programs state."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e3.evaluation.campaign import automation, cell, gauges, machine, overview
from e3.evaluation.campaign.convert import Stated, stated
from e3.evaluation.results import LinkQuality, Record, RoundTrip
from e3.impairments import Impairment
from e3.session.verdicts import Verdict
from tests import campaigns

BEFORE = machine.Moment(day=1000.0, monotonic=50.0, boot=60.0, busy=70.0, ours=30.0, stolen=0.0)


def later(**changes: Any) -> machine.Moment:  # noqa: ANN401 -- the fields of a moment
    """Return the moment ten seconds after `BEFORE`, of which we took six of 20 core seconds."""
    calm = machine.Moment(day=1010.0, monotonic=60.0, boot=70.0, busy=76.5, ours=36.0, stolen=0.0)
    return replace(calm, **changes)


@pytest.mark.parametrize(
    ("after", "kinds"),
    [
        (later(), []),
        (later(busy=86.0), ["cpu"]),  # a hog beside us
        (later(stolen=3.0), ["cpu"]),
        (later(day=1010.2), ["clock"]),
        (later(day=1009.8), ["clock"]),
        (later(day=1015.0, boot=75.0), ["suspend"]),  # all clocks but one go on meanwhile
        (later(busy=86.0, day=1020.0), ["cpu", "clock"]),
    ],
)
def test_what_disturbs_is_named(after: machine.Moment, kinds: list[str]) -> None:
    found = machine.disturbances(BEFORE, after, 2, local=True)
    assert [it.kind for it in found] == kinds
    assert all(abs(it.value) > it.limit for it in found)


def test_load_of_this_machine_does_not_disturb_hosts_elsewhere() -> None:
    assert not machine.disturbances(BEFORE, later(busy=86.0), 2, local=False)


def test_a_look_counts_what_this_process_takes_as_ours() -> None:
    before = machine.look([])
    # a look itself takes as much where many processes run
    total = sum(range(10_000))
    while machine.look([]).ours < before.ours + 0.05:
        total += sum(range(10_000))
    assert total
    assert machine.look([]).busy > before.busy


def trip(median_ms: float | None, source: str = "a-0", target: str = "b-0") -> RoundTrip:
    return RoundTrip(
        source=source, target=target, layer="underlay", transport="udp", sent=10, lost=0,
        least_ms=median_ms, median_ms=median_ms, most_ms=median_ms, jitter_ms=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "now", "count"),
    [(80.0, 81.0, 0), (80.0, 110.0, 1), (0.5, 2.0, 0), (0.5, 4.0, 1), (80.0, 40.0, 1),
     (80.0, None, 0), (None, 80.0, 0)],
)  # fmt: skip
def test_a_bare_network_that_is_not_as_it_was_disturbs(
    before: float | None, now: float | None, count: int
) -> None:
    assert len(machine.off_baseline([trip(before)], [trip(now)])) == count


def test_the_pair_that_is_farthest_off_is_named() -> None:
    base = [trip(10.0), trip(10.0, "b-0", "a-0")]
    (found,) = machine.off_baseline(base, [trip(20.0), trip(40.0, "b-0", "a-0")])
    assert found.detail.startswith("b-0 to a-0 took 40.0 ms")


def test_round_trips_are_summed_up() -> None:
    found = gauges.summary(
        "a-0", "b-0", "overlay", gauges.Echoed(transport="udp", rtt_ms=[4.0, None, 6.0, 5.0, None])
    )
    assert (found.sent, found.lost) == (5, 2)
    assert (found.least_ms, found.median_ms, found.most_ms) == (4.0, 5.0, 6.0)
    assert found.jitter_ms == pytest.approx(1.5)
    silent = gauges.summary(
        "a-0", "b-0", "overlay", gauges.Echoed(transport="udp", rtt_ms=[None, None])
    )
    assert (silent.lost, silent.median_ms, silent.jitter_ms) == (2, None, None)


def used(**values: Any) -> gauges.Usage:  # noqa: ANN401 -- the fields of a usage
    clocks = {"day": 1000.0, "monotonic": 50.0, "boot": 60.0}
    return gauges.Usage(**{"cpu_seconds": None, "peak_bytes": None, **clocks, **values})


def test_a_clock_of_another_machine_is_told_by_its_name() -> None:
    (found,) = machine.clock_disturbances(
        used(), used(day=1012.5, monotonic=60.0, boot=70.0), "pi-0"
    )
    assert (found.kind, found.value) == ("clock", 2.5)
    assert found.detail == "the clock of pi-0 was set by +2.500 s"
    assert not machine.clock_disturbances(used(), used(day=1010.01, monotonic=60.0, boot=70.0), "x")


def reading(sent: int, cpu: float | None, peak: int | None = 5000) -> gauges.Reading:
    wire = gauges.Wire(received_bytes=sent, received_packets=1, sent_bytes=sent, sent_packets=1)
    usage = used(cpu_seconds=cpu, peak_bytes=peak)
    return gauges.Reading(wire={"a-0": wire, "b-0": None}, usage={"a-0": usage, "b-0": usage})


def test_costs_are_differences_and_unknown_is_not_zero() -> None:
    known, unknown = gauges.costs(reading(100, 1.0), reading(350, 1.25))
    assert (known.sent_wire_bytes, known.daemon_cpu_seconds) == (250, 0.25)
    assert known.daemon_peak_memory_bytes == 5000
    assert unknown.sent_wire_bytes is None
    assert gauges.costs(reading(0, None), reading(0, 1.0))[0].daemon_cpu_seconds is None
    assert gauges.costs(reading(0, 3.0), reading(0, 1.0))[0].daemon_cpu_seconds == 0  # restarted


def zone(folder: Path, name: str, of: str, **counters: str) -> None:
    place = folder / f"intel-rapl:{name}"
    place.mkdir(parents=True)
    (place / "name").write_text(f"{of}\n")
    for counter, value in counters.items():
        (place / counter).write_text(f"{value}\n")


def test_energy_is_that_of_packages_and_their_memory(tmp_path: Path) -> None:
    for name, of, value in [("0", "package-0", 5), ("0:0", "core", 4), ("0:1", "dram", 2)]:
        zone(tmp_path, name, of, energy_uj=str(value * 10**6), max_energy_range_uj="9000000")
    zone(tmp_path, "1", "psys", energy_uj="7", max_energy_range_uj="9")  # contains the packages
    before = machine.energy(tmp_path)
    assert set(before) == {"intel-rapl:0", "intel-rapl:0:1"}
    assert not machine.no_energy(tmp_path)
    (tmp_path / "intel-rapl:0/energy_uj").write_text("1500000")  # it has begun again
    (tmp_path / "intel-rapl:0:1/energy_uj").write_text("2250000")
    after = machine.energy(tmp_path)
    took = machine.joules(later(energy=before), later(energy=after))
    assert took == pytest.approx(9 - 5 + 1.5 + 0.25)
    assert machine.joules(later(energy=before), later()) is None


def test_where_there_is_no_energy_the_reason_is_told(tmp_path: Path) -> None:
    assert "no counters of energy" in machine.no_energy(tmp_path)
    zone(tmp_path, "0", "package-0", energy_uj="locked", max_energy_range_uj="9")
    assert "cannot be read" in machine.no_energy(tmp_path)
    assert machine.joules(later(), later()) is None


def test_a_pair_with_another_mark_had_a_handshake() -> None:
    def at(**marks: str) -> gauges.Reading:
        found = {(name[0], name[1]): mark for name, mark in marks.items()}
        return gauges.Reading(wire={}, usage={}, handshakes=found)

    before = at(ab="1", ba="1", ac="1")
    assert gauges.handshakes(before, before) == 0
    assert gauges.handshakes(before, at(ab="2", ba="2", ac="1", bc="1")) == 2
    assert gauges.handshakes(before, at(ab="1", ba="2")) == 1
    assert gauges.handshakes(before, gauges.Reading(wire={}, usage={})) is None


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('work: {"rounds": 3, "bytes": 40}\n', Stated(rounds=3, bytes=40)),
        ('x\nwork: {"rounds": 1}\nwork: {"bytes": 7}\ny', Stated(bytes=7)),
        ("nothing", Stated()),
        ("work: nonsense", Stated()),
        ('work: {"rounds": -1}', Stated()),
        ('work: {"rounds": 1e99}', Stated()),
        ("work: " + "[" * 100_000, Stated()),
    ],
)
def test_what_a_program_states_is_read_and_nothing_else_believed(
    output: str, expected: Stated
) -> None:
    assert stated(output) == expected


def test_an_overview_counts_and_estimates() -> None:
    first = campaigns.campaign(
        overlays=[campaigns.overlay("plain"), campaigns.overlay("nebula"),
                  campaigns.overlay("tailscale")]
    )  # fmt: skip
    records: list[Record] = [
        first,
        campaigns.setup(),
        campaigns.repetition(),
        campaigns.repetition(repetition=1, order=1, verdict=Verdict.TIMED_OUT),
        campaigns.cell(cell="tailscale/near", state="unsupported", reason="no account", verdicts={},
                       destroy_seconds=None),
    ]  # fmt: skip
    found = overview.overview(records, {"plain/near": "deploying"}, running=True)
    assert [(it.cell, it.state, it.finished, it.total) for it in found.cells] == [
        ("plain/near", "running", 2, 3),
        ("nebula/near", "waiting", 0, 3),
        ("tailscale/near", "unsupported", 0, 3),
    ]
    # four repetitions of 3 s, two cells of 9 s to bring up
    assert found.left_seconds == pytest.approx(4 * 3.0 + 2 * 9.0)
    assert "1 running, 1 waiting, 1 unsupported" in found.summary


def test_the_time_left_has_what_cells_take_besides_their_repetitions() -> None:
    """Observing is part of it, and differs by scenario."""
    overlays = [campaigns.overlay(name) for name in ("plain", "nebula", "tinc")]
    ended = {"plain": "2026-11-26T10:01:00Z", "nebula": "2026-11-26T10:03:00Z"}
    records: list[Record] = [campaigns.campaign(overlays=overlays)]
    for name, at in ended.items():
        records += [
            campaigns.setup(cell=f"{name}/near", started="2026-11-26T10:00:00Z"),
            campaigns.repetition(cell=f"{name}/near"),
            campaigns.cell(cell=f"{name}/near", ended=at),
        ]
    left = overview.overview(records, {}, running=True).left_seconds
    # three repetitions of 3 s, and the median of 57 s and 177 s
    assert left == pytest.approx(3 * 3.0 + 117.0)


def test_an_overview_of_nothing_yet_has_no_estimate() -> None:
    found = overview.overview([campaigns.campaign()], {}, running=True)
    assert found.left_seconds is None
    assert "1 waiting" in found.summary


def test_pulumis_errors_become_one_sentence() -> None:
    said = "Updating\n  error: e3:regions: ams3 has 0 hosts; write 1\nerror: update failed\n"
    assert automation.sentence(said) == "e3:regions: ams3 has 0 hosts; write 1"
    assert automation.sentence("boom") == "boom"
    assert automation.sentence("") == "pulumi failed without a word"


def test_the_link_of_a_pair_replaces_that_of_all() -> None:
    links = {"all": LinkQuality(loss=0.1, jitter_ms=1.0), "sgp1-ams3": LinkQuality(rate_mbit=2.0)}
    found = cell.impairments(links, ["ams3", "sgp1"])
    assert found["ams3", "sgp1"] == found["sgp1", "ams3"] == Impairment(rate_mbit=2.0)
    assert found["ams3", "ams3"] == Impairment(loss=0.1, jitter_ms=1.0)
    del links["all"]
    assert len(cell.impairments(links, ["ams3", "sgp1"])) == 2


def test_the_farthest_pairs_are_those_of_the_bare_network_and_hardly_depend_on_noise() -> None:
    far = [trip(160.0, "b-0", "c-0"), trip(165.0, "a-0", "c-0"), trip(1.0, "a-0", "b-0")]
    back = [trip(161.0, "c-0", "b-0"), trip(169.0, "c-0", "a-0")]
    assert gauges.farthest([*far, *back], 2)[1] == ("b-0", "c-0")
    assert gauges.farthest([*back, *far], 1) == [("a-0", "c-0")]
    assert gauges.farthest([trip(None)], 3) == []
