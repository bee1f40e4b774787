"""What is shown before consent is all that would run, as it would run."""

import asyncio
import io
import os
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from e3.adhoc.flows import _check
from e3.adhoc.people import People
from e3.cli.consent import Terminal
from e3.didcomm.errors import DidcommError
from e3.didcomm.resolver import Resolver
from e3.errors import ConfigurationError
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


@pytest.mark.parametrize("args", [("-T", "0"), ("--threshold=0",), ()])
def test_a_threshold_that_the_arguments_do_not_have_is_refused(args: tuple[str, ...]) -> None:
    (host,) = people(1)
    claimed = 1 if args else 2
    made = msgspec.structs.replace(proposal(), args=args, threshold=claimed)
    told = msgspec.structs.replace(program(host), proposal=made)
    with pytest.raises(DidcommError, match=f"says threshold {claimed}"):
        _check(told, invitation(host), Resolver())


def test_a_proposal_that_says_what_runs_is_taken() -> None:
    (host,) = people(1)
    _check(program(host), invitation(host), Resolver())


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
