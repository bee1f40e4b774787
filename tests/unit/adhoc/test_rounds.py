"""Another round with the same people, and parties that were killed and are back."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adhoc import (
    COUNTING,
    LINK,
    PersonAtHome,
    Typist,
    acquainted,
    mediator,
    people,
    rooms_work,
)
from tests.unit.adhoc.test_sessions import WAITING

pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow,
    pytest.mark.skipif(
        not rooms_work(), reason="needs user namespaces, /dev/net/tun and e3-tunnel"
    ),
]

AGAIN = "another round with the same people"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[PersonAtHome]]:
    with mediator(tmp_path) as (url, _):
        made = people(tmp_path, ["alice", "bob"], url)
        acquainted(made)
        yield made


def consent(*persons: Typist) -> None:
    for each in persons:
        each.await_text("compute with them")
        each.type("y")


def kill(person: Typist) -> None:
    os.killpg(person.process.pid, signal.SIGKILL)
    person.process.wait()


def test_another_round_is_one_key(two: list[PersonAtHome]) -> None:
    alice, bob = two
    with alice.typing("invite", "demos/auction.py", "--parties", "2", "--rounds", "3") as a:
        link = a.await_text(LINK.pattern)[1]
        with bob.typing("join", link) as b:
            b.await_text("rounds    up to 3")
            b.await_text("take part")
            b.type("y")
            consent(a, b)
            for each in (a, b):
                each.await_text("wins and pays")
                each.await_text(AGAIN)
                each.type("")
            for each in (a, b):  # nobody is asked for the same consent twice
                each.await_text("wins and pays")
                each.await_text(AGAIN)
            a.type("n")
            b.type("")
            b.await_text(r"there is no further round: the initiator left \(declined\)")
            assert a.end() == b.end() == 0
    runs = [each for each in (bob.home / "sessions").iterdir() if each.name[0].isdigit()]
    assert len(runs) == 2


def test_a_party_that_was_killed_before_the_start_has_its_seat_again(
    two: list[PersonAtHome],
) -> None:
    alice, bob = two
    with alice.typing("invite", "demos/auction.py", "--parties", "2") as a:
        link = a.await_text(LINK.pattern)[1]
        with bob.typing("join", link, "--yes") as b:
            a.await_text("compute with them")
            kill(b)
        with bob.typing("join", link, "--yes") as b:
            a.await_text("a party is back")
            consent(a)
            for each in (a, b):
                each.await_text("wins and pays")
                assert each.end() == 0


@pytest.mark.long
@pytest.mark.parametrize("when", ["bob is here", "the parties were asked"])
def test_an_inviter_that_was_killed_goes_on_and_the_others_need_do_nothing(
    two: list[PersonAtHome], when: str
) -> None:
    alice, bob = two
    asked = ("invite", "demos/auction.py", "--parties", "2" if "asked" in when else "3")
    with alice.typing(*asked) as a:
        link = a.await_text(LINK.pattern)[1]
        with bob.typing("join", link, "--yes") as b:
            a.await_text("compute with them" if "asked" in when else r"2 of 3 are here: you, bob\r")
            kill(a)
            failed = alice.run("invite", "--resume", "--input", "nowhere")
            assert "nowhere does not exist" in failed.stderr  # and the invitation is still there
            with alice.typing("invite", "--resume") as again:
                again.await_text("can join within")
                b.await_text("all are gathered once more")
                if "asked" in when:
                    consent(again)
                    for each in (again, b):
                        each.await_text("wins and pays")
                        assert each.end() == 0
                else:
                    again.await_text(r"2 of 3 are here: you, bob\r")
    assert list((alice.home / "invited").iterdir()) == []


@pytest.mark.long
def test_a_session_outlives_a_party_that_was_killed_while_it_computed(
    two: list[PersonAtHome], tmp_path: Path
) -> None:
    """The round is lost, and nothing else: the party takes part in the next one."""
    program = tmp_path / "waiting.py"
    program.write_text(WAITING)
    alice, bob = two
    with alice.typing("invite", str(program), "--parties", "2", "--rounds", "2") as a:
        link = a.await_text(LINK.pattern)[1]
        with bob.typing("join", link, "--yes") as b:
            consent(a)
            for each in (a, b):
                each.await_text("computing")
            kill(b)
            a.await_text("party 1")
            a.await_text(AGAIN)
            a.type("")
        left = list((bob.home / "running").iterdir())
        with bob.typing("join", link, "--yes") as b:
            for each in (a, b):
                each.await_text("computing")
            assert not any(each.exists() for each in left)
            a.process.send_signal(signal.SIGINT)
            assert a.end() == 130
            b.await_text(r"party 0 \(alice\) left \(cancelled\)")


ASLEEP_SECONDS = 60


def everything(pid: int) -> list[int]:
    """Return a process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in everything(int(child)))]


@pytest.mark.long
def test_a_laptop_that_sleeps_for_a_minute_goes_on(two: list[PersonAtHome], tmp_path: Path) -> None:
    program = tmp_path / "counting.py"
    program.write_text(COUNTING)
    alice, bob = two
    with alice.typing("invite", str(program), "--args", "100", "--parties", "2", "--yes") as a:
        link = a.await_text(LINK.pattern)[1]
        with bob.typing("join", link, "--yes") as b:
            b.await_text("computing")
            asleep = everything(b.process.pid)
            for pid in asleep:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(ASLEEP_SECONDS)
            for pid in asleep:
                os.kill(pid, signal.SIGCONT)
            for each in (a, b):
                each.await_text("counted 200")
                assert each.end() == 0
