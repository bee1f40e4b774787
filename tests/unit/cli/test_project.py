"""How the command reads a stack's state, also one that an older version wrote."""

from pathlib import Path

import pytest

from e3 import pulumi_state
from e3.cli import project
from e3.interfaces import decode_address_trust

pytestmark = pytest.mark.unit

STATES = Path(__file__).parents[2] / "states"


@pytest.mark.parametrize(
    ("overlay", "trust"),
    [("nebula", "authenticated"), ("tinc", "unverified"), ("wireguard", "authenticated")],
)
def test_an_old_state_says_what_its_addresses_prove(overlay: str, trust: str) -> None:
    stack = project.joined(pulumi_state.read(STATES / f"{overlay}.json"))
    assert stack is not None
    assert stack.address_trust == trust


@pytest.mark.parametrize(
    ("stored", "trust"),
    [
        ("proven", "authenticated"),
        ("claimed", "unverified"),
        ("hidden", "translated"),
        ("authenticated", "authenticated"),
        ("unverified", "unverified"),
        ("translated", "translated"),
        ("of another version", "unverified"),
    ],
)
def test_old_and_new_words_of_address_trust_are_read(stored: str, trust: str) -> None:
    assert decode_address_trust(stored) == trust
