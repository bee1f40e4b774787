"""Parties whose words have different widths."""

from dataclasses import replace
from pathlib import Path

import pytest

from e3.session.verdicts import Verdict
from tests.hosts import host
from tests.sessions import Bench, joined

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("system", "bits"),
    [
        ("x86_64-linux", 64),
        ("aarch64-linux", 64),
        ("armv7l-linux", 32),
        ("armv6l-linux", 32),
        ("i686-linux", 32),
    ],
)
def test_a_system_tells_the_width_of_its_words(system: str, bits: int) -> None:
    assert replace(host("a-0", "198.18.0.2"), system=system).bits == bits


@pytest.mark.parametrize("mixed", [False, True])
def test_a_mixed_fleet_numbers_messages_portably(tmp_path: Path, *, mixed: bool) -> None:
    bench = Bench(tmp_path)
    if mixed:
        bench.hosts[1] = replace(bench.hosts[1], system="armv7l-linux")
    program = bench.write(joined("print(mpc.options.mix32_64bit)"))
    result = bench.run(program)
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert [party.output for party in result.parties] == [f"{mixed}\n"] * 3
