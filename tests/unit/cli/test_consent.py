"""What is shown before consent is all that would run, as it would run."""

import asyncio
import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from rich.console import Console

from e3.adhoc.flows import _check
from e3.adhoc.people import People
from e3.cli.consent import Terminal
from e3.didcomm.errors import DidcommError
from e3.didcomm.resolver import Resolver
from e3.didcomm.session.bodies import Requirement
from e3.didcomm.session.invitation import link
from e3.errors import ConfigurationError
from e3.remote.tasks import beside
from tests.unit.didcomm.parties import invitation, people, program, proposal, roster

pytestmark = pytest.mark.unit


def test_no_argument_is_cut_or_runs_into_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    out = io.StringIO()
    console = Console(file=out, width=1_000_000)
    terminal = Terminal(console, People(tmp_path), "did:key:z", yes=False)
    made = msgspec.structs.replace(proposal(), args=("x" * 900, "--a b", "-T0"))
    with pytest.raises(ConfigurationError, match="needs a terminal"):
        asyncio.run(terminal.consents_to(made, invitation(people(1)[0])))
    assert f"{'x' * 900} '--a b' -T0\n" in out.getvalue()


@pytest.mark.parametrize("columns", [80, 200])
def test_a_link_is_drawn_where_it_is_shown_if_it_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    """With `--json` that is standard error: the other one has the result alone."""
    out, made = io.StringIO(), invitation(people(1)[0])
    console = Console(file=out, force_terminal=True, width=columns)
    terminal = Terminal(console, People(tmp_path), "did:key:z", yes=False)
    terminal.invited(link(made), made, proposal())
    assert ("\u2588" in out.getvalue()) is (columns == 200)
    assert ("columns also shows the link as a QR code" in out.getvalue()) is (columns == 80)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("args", [("-T", "0"), ("--threshold=0",), ()])
def test_a_threshold_that_the_arguments_do_not_have_is_refused(args: tuple[str, ...]) -> None:
    (host,) = people(1)
    claimed = 1 if args else 2
    made = msgspec.structs.replace(proposal(), args=args, threshold=claimed)
    told = msgspec.structs.replace(program(host), proposal=made)
    with pytest.raises(DidcommError, match=f"says threshold {claimed}"):
        _check(told, invitation(host), Resolver())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"digest": "1" * 64}, "another one than in the invitation"),
        ({"parties": 4, "threshold": 1}, "another one than in the invitation"),
        (
            {"requires": (Requirement(claim="salary", value="1", issuer="did:key:z"),)},
            "other credentials",
        ),
    ],
    ids=["program", "parties", "credentials"],
)
def test_a_proposal_of_something_else_than_the_link_is_refused(
    changed: dict[str, Any], why: str
) -> None:
    (host,) = people(1)
    made = msgspec.structs.replace(proposal(), **changed)
    with pytest.raises(DidcommError, match=why):
        _check(msgspec.structs.replace(program(host), proposal=made), invitation(host), Resolver())


def test_a_proposal_that_says_what_runs_is_taken() -> None:
    (host,) = people(1)
    _check(program(host), invitation(host), Resolver())


def test_messages_go_on_while_somebody_reads_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that stopped everything would lose the connection to the mediator."""
    keyboard, terminal = os.openpty()
    read, written = tmp_path / "read", tmp_path / "written"
    pager = tmp_path / "pager"
    pager.write_text(
        f"#!/bin/sh\ncat > {read}.part && mv {read}.part {read}\n"
        f"until [ -e {written} ]; do sleep 0.05; done\n"
    )
    pager.chmod(0o755)
    monkeypatch.setenv("PAGER", str(pager))
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    out = io.StringIO()

    async def run() -> None:
        person = Terminal(Console(file=out), People(tmp_path), "did:key:z", yes=False)
        async with beside(person.consents_to(proposal(), invitation(people(1)[0]))) as asked:
            await until(lambda: "take part?" in out.getvalue())
            os.write(keyboard, b"s\n")
            await until(read.exists)
            person.tell("Carol is here")
            assert "Carol" not in out.getvalue()
            written.touch()
            await until(lambda: "Carol is here" in out.getvalue())
            await until(lambda: out.getvalue().count("take part?") == 2)
            os.write(keyboard, b"n\n")
            assert not await asked

    with os.fdopen(terminal) as stdin, os.fdopen(keyboard, "wb"):
        monkeypatch.setattr("sys.stdin", stdin)
        asyncio.run(run())
    assert "print(1)" in read.read_text()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - of a file, and of another program
            await asyncio.sleep(0.02)


def test_what_was_typed_before_a_question_is_no_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who typed the first answer twice has not seen who the parties are."""
    keyboard, terminal = os.openpty()

    class Screen(io.StringIO):
        def write(self, text: str) -> int:
            if "compute with them?" in text:
                os.write(keyboard, b"n\n")
            return super().write(text)

    with os.fdopen(terminal) as stdin, os.fdopen(keyboard, "wb"):
        monkeypatch.setattr("sys.stdin", stdin)
        os.write(keyboard, b"y\n")
        person = Terminal(Console(file=Screen()), People(tmp_path), "did:key:z", yes=False)
        assert not asyncio.run(person.consents(roster(people(2))))
