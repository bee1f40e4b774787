"""Programs of campaigns compute what they say; one party alone computes it as three do."""

import json
import re
import subprocess
import sys

import pytest

from tests.commands import ROOT

pytestmark = pytest.mark.unit


def said(program: str, *arguments: str) -> str:
    """Return what a program of campaigns prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "campaigns/programs" / program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout


def test_digits_are_those_of_the_network_in_clear() -> None:
    out = said("digits/main.py", "--images", "100")
    assert re.findall(r"right .*: (\d+) of 100", out) == ["96", "96"]  # in clear, and under MPC
    assert "the same digits: True" in out


@pytest.mark.parametrize("players", [3, 12])
def test_everybody_gives_to_one_and_is_given_to_by_one(players: int) -> None:
    out = said("secret_santa.py", "--players", str(players))
    (given,) = re.findall(r"^santa: (.*)$", out, re.MULTILINE)
    assert sorted(json.loads(given)) == list(range(players))
