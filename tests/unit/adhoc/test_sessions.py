"""Whole sessions between people at terminals on this machine, as docs/ad-hoc.md has them."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from e3.authority import credentials
from tests.adhoc import LINK, acquainted, free_port, mediator, people, rooms_work, serving
from tests.sessions import SEALED_BID
from tests.stack import until
from tests.unit.authority.test_credentials import ISSUER, JOINT

pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow,
    pytest.mark.skipif(
        not rooms_work(), reason="needs user namespaces, /dev/net/tun and e3-tunnel"
    ),
]

WAITING = """
import asyncio
from mpyc.runtime import mpc

async def main():
    async with mpc:
        print("together", flush=True)
        await asyncio.sleep(60)

mpc.run(main())
"""


def test_three_strangers_compute_after_they_consented(tmp_path: Path) -> None:
    with mediator(tmp_path) as (url, _):
        alice, bob, carol = people(tmp_path, ["alice", "bob", "carol"], url)
        asked = ("invite", "demos/auction.py", "--parties", "3", "--", "--bid", "200")
        with alice.typing(*asked) as a:
            link = a.await_text(LINK.pattern)[1]
            bid = ("join", link, "--", "--bid")
            with bob.typing(*bid, SEALED_BID) as b, carol.typing(*bid, "250") as c:
                for each in (b, c):
                    each.await_text(r"alice \(unknown\) invites you to compute auction")
                    each.await_text("3; each of them alone learns nothing more than the result")
                    each.await_text("take part")
                    each.type("y")
                for each in (a, b, c):
                    each.await_text("all parties are here")
                    each.await_text("ask them for these words")
                    each.await_text("compute with them")
                    each.type("y")
                for each in (a, b, c):
                    each.await_text("wins and pays 250")
                    each.await_text("completed")
                    assert each.end() == 0
    result = json.loads((bob.home / "sessions/latest/result.json").read_text())
    assert result["verdict"] == "completed"
    # each names its evidence by itself: the inviter chooses no place on other machines
    names = {(it.home / "sessions/latest").resolve().name for it in (alice, bob, carol)}
    assert len(names) == 3
    kept = "".join(path.read_text() for path in bob.home.glob("sessions/latest/*"))
    assert SEALED_BID not in kept


@pytest.mark.long
def test_strangers_of_a_board_compute_if_each_shows_a_credential(tmp_path: Path) -> None:
    """Holders of a joint key signed both: a JWT, and an SD-JWT, which another one cannot show."""
    with mediator(tmp_path) as (url, _):
        alice, bob, carol = people(tmp_path, ["alice", "bob", "carol"], url)
        for person in (alice, bob):
            plain = credentials.asked(person.did, {"role": "auditor"})
            request = credentials.selective(plain) if person is bob else plain
            issued = asyncio.run(credentials.issue(JOINT, request))
            (tmp_path / f"{person.home.name}.jwt").write_text(issued)
        own, shown = str(tmp_path / "alice.jwt"), str(tmp_path / "bob.jwt")
        required = ("--require", f"role=auditor by {ISSUER}", "--credential", own)
        asked = ("invite", "demos/auction.py", "--parties", "2", "--board", "auctions", *required)
        with alice.typing(*asked) as a:
            link = a.await_text(LINK.pattern)[1]
            until(lambda: link in bob.run("board", "auctions").stdout, "it is on the board")
            lacking = carol.run("join", link)
            assert "give a credential that says so by --credential" in lacking.stderr
            stolen = carol.run("join", link, "--credential", shown)
            assert "has no credential role=auditor that admits it" in stolen.stderr
            with bob.typing("join", link, "--credential", shown) as b:
                b.await_text("required  of every party: role=auditor by")
                b.await_text("take part")
                b.type("y")
                for each in (a, b):
                    each.await_text("compute with them")
                    each.type("y")
                for each in (a, b):
                    each.await_text("wins and pays")
                    assert each.end() == 0


def test_a_party_that_leaves_ends_the_session_and_is_named(tmp_path: Path) -> None:
    program = tmp_path / "waiting.py"
    program.write_text(WAITING)
    with mediator(tmp_path) as (url, process):
        alice, bob = two = people(tmp_path, ["alice", "bob"], url)
        acquainted(two)
        with alice.typing("invite", str(program), "--parties", "2", "--yes") as a:
            link = a.await_text(LINK.pattern)[1]
            with bob.typing("join", link, "--yes") as b:
                a.await_text("computing")
                # a dead mediator does not end what is connected
                process.send_signal(signal.SIGSTOP)
                b.await_text("computing")
                process.send_signal(signal.SIGCONT)
                b.process.send_signal(signal.SIGINT)
                assert b.end() == 130
                a.await_text(r"party 1 \(bob\) left \(cancelled\): its user ended the session")
                assert a.end() in {11, 12}
    result = json.loads((alice.home / "sessions/latest/result.json").read_text())
    assert result["verdict"] in {"unreachable", "party-failed"}
    assert "party 1 (bob-1)" in result["reason"]


def computed(url: str, folder: Path) -> None:
    """Assert that two acquaintances come to a result by the mediator at ``url``."""
    alice, bob = two = people(folder, ["alice", "bob"], url)
    acquainted(two)
    with alice.typing("invite", "demos/auction.py", "--parties", "2", "--yes") as a:
        link = a.await_text(LINK.pattern)[1]
        with bob.typing("join", link, "--yes") as b:
            for each in (a, b):
                each.await_text("wins and pays")
                assert each.end() == 0


def test_a_malicious_mediator_delays_and_changes_nothing(tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "tests.malicious_mediator", str(port)]
    with serving(argv, os.environ) as process:
        computed(f"http://127.0.0.1:{port}/", tmp_path)
        process.terminate()
        assert process.stdout is not None
        assert {b"drop", b"hold", b"replay", b"twice"} <= set(process.stdout.read().split())


WITHOUT_DEVICE = 'mount -t tmpfs tmpfs /dev/net && exec "$@"'


@pytest.mark.skipif(os.geteuid() != 0, reason="hides /dev/net/tun by a mount")
@pytest.mark.parametrize("lacking", [1, pytest.param(2, marks=pytest.mark.long)])
def test_who_has_no_tun_device_computes_by_forwarded_ports(tmp_path: Path, lacking: int) -> None:
    """With somebody who has one, and with somebody who has none."""
    with mediator(tmp_path) as (url, _):
        three = people(tmp_path, ["alice", "bob", "carol"], url)
        acquainted(three)
        for person in three[:lacking]:
            person.inside = ["unshare", "--mount", "sh", "-c", WITHOUT_DEVICE, "sh"]
        alice, bob, carol = three
        asked = ("invite", "demos/auction.py", "--parties", "3", "--yes")
        with alice.typing(*asked) as a:
            link = a.await_text(LINK.pattern)[1]
            with bob.typing("join", link, "--yes") as b, carol.typing("join", link, "--yes") as c:
                for each in (a, b, c):
                    each.await_text("wins and pays")
                    assert each.end() == 0


@pytest.mark.long
def test_a_slow_mediator_delays_and_nothing_else(tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "tests.malicious_mediator", str(port), "slow"]
    with serving(argv, os.environ):
        computed(f"http://127.0.0.1:{port}/", tmp_path)


@pytest.mark.long
def test_a_mediator_that_restarts_meanwhile_delays_and_nothing_else(tmp_path: Path) -> None:
    port = free_port()
    with mediator(tmp_path, port) as (url, _):
        alice, bob = two = people(tmp_path, ["alice", "bob"], url)
        acquainted(two)
        inviting = alice.typing("invite", "demos/auction.py", "--parties", "2", "--yes")
        a = inviting.__enter__()
        link = a.await_text(LINK.pattern)[1]
    with mediator(tmp_path, port), bob.typing("join", link, "--yes") as b:
        for each in (a, b):
            each.await_text("wins and pays")
            assert each.end() == 0
    inviting.__exit__(None, None, None)


def test_who_does_not_consent_runs_nothing(tmp_path: Path) -> None:
    with mediator(tmp_path) as (url, _):
        alice, bob = people(tmp_path, ["alice", "bob"], url)
        with alice.typing("invite", "demos/auction.py", "--parties", "2") as a:
            link = a.await_text(LINK.pattern)[1]
            with bob.typing("join", link) as b:
                b.await_text("take part")
                a.await_text(r"2 of 2 are here: you, bob \(unknown\) \(reading\)")
                b.type("n")
                b.await_text("you did not consent; nothing was run")
                assert b.end() == 2
                a.await_text("1 of 2 are here: you")
    assert not (bob.home / "sessions").exists()


@pytest.mark.long
def test_without_a_terminal_nobody_consents_to_strangers(tmp_path: Path) -> None:
    with mediator(tmp_path) as (url, _):
        alice, bob = people(tmp_path, ["alice", "bob"], url)
        with alice.typing("invite", "demos/auction.py", "--parties", "2") as a:
            link = a.await_text(LINK.pattern)[1]
            done = bob.run("join", link, "--yes")
    assert done.returncode == 2
    assert "consent needs a terminal" in done.stderr
