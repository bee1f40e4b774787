"""The small campaign end to end: killed, stopped, resumed, and nothing is left of it."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest

from e3.evaluation import results_file
from e3.evaluation.observations import ObservationRecord
from e3.evaluation.results import (
    CampaignRecord,
    CellRecord,
    Record,
    RepetitionRecord,
    SetupRecord,
)
from tests.commands import Command
from tests.stack import Stack, processes_below, project, until

SECONDS = 600.0
"""Of a campaign on a busy machine; it takes a minute on a calm one."""

NEAR = """\
  near:
    about: Three parties in one region
    regions: {ams3: 3}
"""
"""The scenario that is left out here: what is asked of the other one asks more."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with project(tmp_path_factory.mktemp("project"), "campaigns", "pyproject.toml") as stack:
        small = stack.folder / "campaigns/small.yaml"
        text = small.read_text()
        for before, after in (("repetitions: 3", "repetitions: 2"), (NEAR, "")):
            assert before in text
            text = text.replace(before, after)
        small.write_text(text)
        yield stack


@pytest.fixture
def e3(stack: Stack) -> Command:
    return Command(folder=stack.folder, environment=stack.environment)


def records(stack: Stack) -> list[Record]:
    path = stack.folder / ".e3/campaigns/small/results.jsonl"
    return list(results_file.records(path)) if path.exists() and path.stat().st_size else []


def repetitions(stack: Stack) -> int:
    return sum(isinstance(it, RepetitionRecord) for it in records(stack))


def left(stack: Stack) -> list[str]:
    """Return what is there of the campaign's stacks."""
    folder = stack.folder
    places = (folder.glob("Pulumi.campaign_*"), (folder / ".e3").glob("campaign_*"))
    states = (folder / ".e3/state/.pulumi/stacks/e3").glob("campaign_*.json")
    return sorted(str(path) for paths in (*places, states) for path in paths)


def begin(e3: Command) -> subprocess.Popen[str]:
    return e3.begin("campaign", "run", "campaigns/small.yaml")


def ended(process: subprocess.Popen[str]) -> str:
    with process:
        out, err = process.communicate(timeout=SECONDS)
    return out + err


def test_a_campaign_survives_being_killed(stack: Stack, e3: Command) -> None:
    killed = begin(e3)
    until(lambda: repetitions(stack) > 1, "two repetitions", SECONDS)
    os.kill(killed.pid, signal.SIGKILL)
    ended(killed)
    assert left(stack)
    known = records(stack)
    shown = e3("campaign", "show")
    assert "interrupted" in shown.stdout, shown.stderr
    assert "campaign small" in e3("doctor").stdout

    last = begin(e3)
    said = ended(last)
    assert last.returncode == 0, said
    assert not left(stack)
    assert not [line for line in processes_below(stack.folder) if "e3.lab" in line]
    assert records(stack)[: len(known)] == known
    check(records(stack))
    checked = e3("results", "check", ".e3/campaigns/small/results.jsonl")
    assert checked.returncode == 0, checked.stdout
    assert "2 succeeded" in e3("campaign", "show", "small").stdout
    # all has finished: nothing runs again
    again = begin(e3)
    assert "deploying" not in ended(again)
    assert again.returncode == 0


@pytest.mark.long
def test_a_campaign_that_is_stopped_keeps_what_has_finished(stack: Stack, e3: Command) -> None:
    path = stack.folder / ".e3/campaigns/small/results.jsonl"
    path.unlink(missing_ok=True)
    stopped = begin(e3)
    until(lambda: repetitions(stack) > 0, "a repetition", SECONDS)
    stopped.send_signal(signal.SIGINT)
    assert "stopping; what has finished is kept" in ended(stopped)
    assert stopped.returncode == 130
    assert not left(stack)
    known = records(stack)
    resumed = begin(e3)
    until(lambda: len(records(stack)) > len(known), "more records", SECONDS)
    resumed.send_signal(signal.SIGINT)
    ended(resumed)
    assert records(stack)[: len(known)] == known


def check(found: list[Record]) -> None:
    """Check that every repetition was measured, and once only."""
    (first,) = (it for it in found if isinstance(it, CampaignRecord))
    done = [it for it in found if isinstance(it, RepetitionRecord)]
    counted = Counter((it.cell, it.program, it.repetition) for it in done)
    assert len(counted) == len(done) == 2 * 2 * first.repetitions
    assert [it.order for it in done] == list(range(len(done)))
    cells = [it for it in found if isinstance(it, CellRecord)]
    assert {(it.cell, it.state) for it in cells} == {
        (f"{overlay}/far", "succeeded") for overlay in ("plain", "wireguard")
    }
    setups = [it for it in found if isinstance(it, SetupRecord)]
    assert len(setups) >= len(cells) + 1  # one was interrupted
    for setup in setups:
        assert len(setup.hosts) == 3
        assert {it.layer for it in setup.throughput} == {"underlay", "overlay"}
        assert len(setup.pairs) == 6
        assert all(it.contact_seconds is not None for it in setup.pairs)
    for one in done:
        assert one.setup_seconds is not None
        assert one.online_seconds is not None
        for party in one.parties:
            assert party.sent_bytes == party.stated_bytes == sum(party.sent_bytes_to)
            assert party.cpu_seconds
            assert party.peak_memory_bytes
        for host in one.hosts:
            assert host.sent_wire_bytes is not None
            assert host.sent_wire_bytes > max(party.sent_bytes or 0 for party in one.parties)
        assert len(one.round_trips) == 12
        assert {it.before for it in one.paths} == {"direct"}
    far = [it for it in done if it.program == "rounds"]
    # ten rounds, most of which cross the 165 ms to Singapore one way
    assert all((it.online_seconds or 0) > 10 * 0.165 / 2 / 2 for it in far)
    daemons = {
        it.cell.partition("/")[0]: sum(host.daemon_peak_memory_bytes or 0 for host in it.hosts)
        for it in done
    }
    assert daemons["wireguard"] > daemons["plain"]
    check_observed([it for it in found if isinstance(it, ObservationRecord)])


def check_observed(found: list[ObservationRecord]) -> None:
    """Check that the canary is read where nothing protects it, and nowhere else."""
    assert not [it.reason for it in found if it.reason]
    known = {(it.cell, it.what): it for it in found}
    assert set(known) == {
        (f"{overlay}/far", what)
        for overlay in ("plain", "wireguard")
        for what in ("canary", "attack")
    }
    reading = {
        overlay: {
            (view.vantage, view.where)
            for view in known[f"{overlay}/far", "canary"].views
            if view.canary_packets
        }
        for overlay in ("plain", "wireguard")
    }
    on_the_way = {("wire", ""), ("region-router", "ams3"), ("region-router", "sgp1")}
    assert reading == {"plain": on_the_way, "wireguard": set()}
    attacks = {
        overlay: {it.attack: it.opened for it in known[f"{overlay}/far", "attack"].attacks}
        for overlay in ("plain", "wireguard")
    }
    assert attacks["plain"]["outsider"]
    assert not attacks["wireguard"]["outsider"]
