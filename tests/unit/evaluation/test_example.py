"""The committed example: it is whole, and agrees in shape with what others have measured.

WireGuard's author measured it beside OpenVPN on a line of a gigabit (Donenfeld, NDSS 2017, and
https://www.wireguard.com/performance/): 1,011 and 258 Mbit/s, by iperf3. So it carries about four
times as much, and nearly what the line does where that is the limit.
"""

from pathlib import Path

import numpy as np
import pytest

from e3.evaluation import results_file
from e3.evaluation.report import page, statistics, study
from e3.evaluation.report.study import Study

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).parents[3] / "docs/evaluation/results.jsonl.gz"
PUBLISHED = 1011 / 258


@pytest.fixture(scope="module")
def example() -> Study:
    assert not list(results_file.check(EXAMPLE))
    return study.load(EXAMPLE)


def rate(example: Study, cell: str, layer: str = "overlay") -> float:
    return min(example.cells[cell].mbit_per_second(layer).values())


@pytest.mark.parametrize("scenario", ["near", "five"])
def test_wireguard_carries_several_times_as_much_as_openvpn(example: Study, scenario: str) -> None:
    ratio = rate(example, f"wireguard/{scenario}") / rate(example, f"openvpn/{scenario}")
    assert PUBLISHED / 2 < ratio < PUBLISHED * 2


@pytest.mark.parametrize("scenario", ["slow", "far", "rtt-160"])
def test_wireguard_carries_nearly_what_a_line_does_that_is_the_limit(
    example: Study, scenario: str
) -> None:
    cell = f"wireguard/{scenario}"
    assert 0.85 < rate(example, cell) / rate(example, cell, "underlay") < 1.15


@pytest.mark.parametrize("scenario", ["near", "far", "rtt-40", "rtt-160"])
def test_wireguard_adds_less_than_a_millisecond(example: Study, scenario: str) -> None:
    cell = example.cells[f"wireguard/{scenario}"]
    below, above = cell.rtt_ms("underlay"), cell.rtt_ms("overlay")
    assert 0 < np.median([above[pair] - below[pair] for pair in below]) < 1


@pytest.mark.long
def test_the_committed_report_is_that_of_the_committed_results(example: Study) -> None:
    pytest.importorskip("vl_convert", reason="charts need it: scripts/setup --report")
    assert page.render(example) == EXAMPLE.with_name("report.html").read_text()


def test_over_a_long_way_wireguard_takes_as_long_as_plain(example: Study) -> None:
    for program in ("rounds", "bandwidth-4000", "digits"):
        times = [
            example.of(overlay, "far", program).values("online_seconds")
            for overlay in ("wireguard", "plain")
        ]
        ratio = statistics.compare(*times)
        assert ratio is not None
        assert ratio.value == pytest.approx(1.0, abs=0.03)
