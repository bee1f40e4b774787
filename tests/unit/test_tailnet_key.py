"""What a stack asks of a tailnet, as data."""

import re

import pytest

from e3.components.tailnet_key import DESCRIPTION_LENGTH, describe, render_policy

HERE = {"access": {"kind": "ssh", "address": "198.18.0.2"}}
THERE = {"access": {"address": "198.18.0.3", "kind": "ssh"}}


@pytest.mark.parametrize("stack", ["dev", "do-tailscale", "with_under.score", "x" * 100])
def test_a_description_is_one_that_the_service_takes(stack: str) -> None:
    said = describe(stack, [HERE])
    assert re.fullmatch(r"[A-Za-z0-9 -]+", said)
    assert len(said) <= DESCRIPTION_LENGTH


def test_other_hosts_have_another_key_and_the_same_ones_have_not() -> None:
    assert describe("dev", [HERE, THERE]) == describe("dev", [THERE, HERE])
    same = {"name": "renamed", "access": dict(reversed(HERE["access"].items()))}
    assert describe("dev", [same]) == describe("dev", [HERE])
    assert len({describe("dev", hosts) for hosts in ([HERE], [THERE], [HERE, THERE])}) == 3


def test_a_policy_admits_the_tag_at_the_ports_of_sessions_alone() -> None:
    assert render_policy("tag:lab") == {
        "tagOwners": {"tag:lab": ["autogroup:admin"]},
        "acls": [
            {
                "action": "accept",
                "proto": "tcp",
                "src": ["tag:lab"],
                "dst": ["tag:lab:11299,11365-21364"],
            }
        ],
    }
