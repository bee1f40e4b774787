"""The committed example: it is whole, and agrees in shape with what others have measured.

WireGuard's author measured it beside OpenVPN on a line of a gigabit (Donenfeld, NDSS 2017, and
https://www.wireguard.com/performance/): 1,011 and 258 Mbit/s, by iperf3. So it carries about four
times as much, and nearly what the line does where that is the limit.
"""

from pathlib import Path

import numpy as np
import pytest

from e3.evaluation import results_file
from e3.evaluation.report import criteria, page, statistics, study
from e3.evaluation.report.study import Study

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs/evaluation/results.jsonl.gz"
NAMES = {"plain with TLS": "plain-tls", "tor, private network": "tor"}
"""Of the table in docs/evaluation.md, where they are not those of the campaign."""

COLUMNS = (
    *(("near", program) for program in ("rounds", "bandwidth-4000", "digits")),
    *(("far", program) for program in ("rounds", "bandwidth-4000", "digits")),
    ("five", "secret-santa"),
)
"""Of the same table: scenario and program."""

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


def test_the_table_of_the_docs_comes_out_of_the_results_again(example: Study) -> None:
    """Medians, their ratios to plain, which differences stand, and when all hosts were joined."""
    text = (ROOT / "docs/evaluation.md").read_text()
    lines = text.partition("| overlay | rounds, near |")[2].partition("\n\n")[0].splitlines()[2:]
    ratios = criteria.comparisons(example)
    told = set()
    for line in lines:
        name, *cells, joined = (cell.strip() for cell in line.strip("|").split("|"))
        choice = NAMES.get(name, name)
        told.add(choice)
        for (scenario, program), cell in zip(COLUMNS, cells, strict=True):
            median = np.median(example.of(choice, scenario, program).values("online_seconds"))
            shown = f"{median:.2f}"
            if choice != "plain":
                ratio = ratios[choice, scenario, program]
                shown = f"{shown} ({ratio.value:.2f}{'◆' if ratio.marked else ''})"
            assert cell == shown, (name, scenario, program)
        assert joined == f"{example.cells[f'{choice}/far'].setups[-1].overlay_seconds:.1f} s", name
    assert told == {cell.overlay.id for cell, _ in example.ends()}


def test_over_a_long_way_wireguard_takes_as_long_as_plain(example: Study) -> None:
    for program in ("rounds", "bandwidth-4000", "digits"):
        times = [
            example.of(overlay, "far", program).values("online_seconds")
            for overlay in ("wireguard", "plain")
        ]
        ratio = statistics.compare(*times)
        assert ratio is not None
        assert ratio.value == pytest.approx(1.0, abs=0.03)
