"""Attacks on the agreement by the owner of one host: the culprit is named, or nobody."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from e3.interfaces import File
from e3.session import discord
from e3.session.verdicts import End, How, Verdict, decide
from tests.faults.cases_agreement import REASONS
from tests.local_access import LocalAccess
from tests.malice import ATTACKS, HONEST, WAITING, hostile_agree
from tests.sessions import Bench
from tests.shipped import runner_changed

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Hostile(LocalAccess):
    """A host whose owner has changed E3's part in the agreement."""

    attack: str = ""

    def _write(self, files: Sequence[File]) -> None:
        attack = hostile_agree(self.attack)
        super()._write([runner_changed(file, HONEST, attack) for file in files])


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack not in WAITING])
def test_an_attack_blames_nobody_else(tmp_path: Path, attack: str) -> None:
    bench = Bench(tmp_path)
    first = bench.hosts[0]
    assert isinstance(first.access, LocalAccess)
    bench.hosts[0] = replace(first, access=Hostile(first.access.root, attack))
    result = bench.run("print(1)")
    assert result.verdict is Verdict.INCOMPATIBLE
    assert REASONS[attack] in result.reason
    assert result.concerned == (() if attack == "accuses" else (0,)), result.reason
    assert result.advice
    assert all(not party.output for party in result.parties)


def end(pid: int, how: How = "incompatible", **said: object) -> End:
    host = f"ams3-{pid}"
    return End(pid=pid, host=host, how=how, phase="agreeing", **said)  # type: ignore[arg-type]  # by the test


def heard(pid: int, by: int) -> End:
    return end(pid, says_why=False, called_off_by=by, detail="it was called off")


def saw(pid: int, *about: int, how: How = "incompatible", compared: int = 0) -> End:
    detail = f"party {about} did it, as party {pid} saw"
    return end(pid, how, about=about, detail=detail, compared=compared)


def silent(pid: int) -> End:
    return end(pid, "unreachable", says_why=False, detail=f"party {pid} does not say why")


def stopped(pid: int) -> End:
    return end(pid, "stopped")


@pytest.mark.parametrize(
    ("ends", "concerned"),
    [
        pytest.param([silent(0), saw(1, 0), heard(2, 1)], (0,), id="one saw it"),
        pytest.param([heard(0, 1), saw(1, 0), saw(2, 0)], (0,), id="two saw it"),
        pytest.param([saw(0, 1), heard(1, 0), heard(2, 0)], (), id="only the accuser says so"),
        pytest.param([saw(0, 1), saw(1, 0), heard(2, 1)], (), id="each accuses the other"),
        pytest.param([saw(0, 1), saw(1, 0), saw(2, 0)], (0,), id="a third one knows"),
        pytest.param([silent(0), heard(1, 0), heard(2, 0)], (0,), id="called off for no reason"),
        pytest.param([stopped(0), heard(1, 0), heard(2, 1)], (0,), id="told on"),
        pytest.param([heard(0, 1), heard(1, 0), heard(2, 0)], (), id="each heard it of another"),
        pytest.param([silent(0), stopped(1), stopped(2)], (0,), id="it says nothing"),
        pytest.param([saw(0, 0, 1), saw(1, 0, 1)], (0, 1), id="two that differ"),
        pytest.param(
            [saw(0, 0, 2, compared=2), saw(1, 2, compared=3), saw(2, 2, compared=3)],
            (2,),
            id="one has not all statements",
        ),
        pytest.param(
            [saw(0, 2, how="unreachable"), stopped(1), saw(2, 0, how="unreachable")],
            (0, 2),
            id="two that do not reach each other",
        ),
        pytest.param([end(0, "gone"), heard(1, 2), saw(2, 0)], (0,), id="one is gone"),
    ],
)
def test_who_is_named(ends: list[End], concerned: tuple[int, ...]) -> None:
    outcome = decide(ends, silent=True)
    assert outcome.parties == concerned, outcome.reason
    assert outcome.reason
    assert outcome.advice


def test_the_accused_are_heard_before_one_is_believed() -> None:
    ends = [stopped(0), saw(1, 0), stopped(2)]
    assert discord.unheard(ends[1], ends)
    assert not discord.unheard(ends[1], [silent(0), *ends[1:]])
    assert not discord.unheard(ends[1], [*ends[:2], saw(2, 0)])
    assert discord.unheard(silent(0), [silent(0), *ends[1:]])
