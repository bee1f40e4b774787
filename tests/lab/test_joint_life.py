"""The life of a stack with a joint authority: hosts come, go and are lost; it stays the same."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.commands import Command
from tests.schemas import conforming
from tests.stack import Stack, project, until

pytestmark = [pytest.mark.lab, pytest.mark.long]

OPTIONS = {"overlay": "nebula", "authority": "joint", "program": "demos/helloworld.py"}
MORE = {"ams3": 2, "sgp1": 2}


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with project(tmp_path_factory.mktemp("project")) as made:
        yield made


def authority_of(stack: Stack) -> dict[str, Any]:
    said = Command(folder=stack.folder, environment=stack.environment)(
        "authority", "--json", "--stack", "trial"
    )
    (found,) = conforming("authority show", said.stdout)["authorities"]
    assert found["able"], found
    return dict(found)


def names(found: dict[str, Any]) -> list[str]:
    return [each["host"] for each in found["holders"] if each["share"] == "current"]


def test_it_stays_the_same_while_hosts_come_go_and_are_lost(stack: Stack) -> None:
    stack.brought_up(**OPTIONS)
    first = authority_of(stack)
    assert (first["threshold"], len(names(first))) == (2, 3)

    stack.brought_up(**OPTIONS, regions=MORE)
    grown = authority_of(stack)
    assert (grown["threshold"], len(names(grown))) == (3, 4)

    stack.lab.remove_host("ams3-0")
    assert stack.pulumi("refresh", "--yes", "--skip-preview").exit == 0
    stack.brought_up(**OPTIONS, regions=MORE)
    repaired = authority_of(stack)
    assert names(repaired) == names(grown)

    stack.brought_up(**OPTIONS, regions={"ams3": 1, "sgp1": 1})
    last = authority_of(stack)
    assert names(last) == ["ams3-0", "sgp1-0"]

    ages = [first, grown, repaired, last]
    assert len({each["public_key"] for each in ages}) == 1
    assert len({each["certificate"] for each in ages}) == 1
    assert [each["epoch"] for each in ages] == [1, 2, 3, 4]


def test_who_is_left_with_too_few_shares_is_told_what_to_do(stack: Stack) -> None:
    stack.brought_up(**OPTIONS)
    for name in ("ams3-0", "ams3-1"):
        stack.lab.remove_host(name)
    assert stack.pulumi("refresh", "--yes", "--skip-preview").exit == 0
    ended = stack.up(**OPTIONS)
    assert ended.exit != 0
    assert "nothing can be signed with it any more" in ended.said
    anew = stack.pulumi("up", "--yes", "--skip-preview", "--replace", "**Joint**")
    assert anew.exit == 0, anew.said
    assert authority_of(stack)["epoch"] == 1


@pytest.mark.parametrize("after_seconds", [0.3, 0.8, 1.2])
def test_a_killed_up_leaves_an_authority_that_the_next_one_uses(
    stack: Stack, after_seconds: float
) -> None:
    stack.brought_up(**OPTIONS)
    first = authority_of(stack)
    stack.configure({f"e3:{key}": value for key, value in OPTIONS.items()} | {"e3:regions": MORE})
    going = stack.begin("up", "--yes", "--skip-preview")
    until(
        lambda: "JointAuthority authority updating" in stack.log.read_text() or exited(going.pid),
        "the authority's update begins",
    )
    time.sleep(after_seconds)  # somewhere within the ceremony
    os.killpg(going.pid, signal.SIGKILL)
    going.wait()
    assert stack.pulumi("cancel", "--yes").exit == 0
    stack.brought_up(**OPTIONS, regions=MORE)
    second = authority_of(stack)
    assert (second["public_key"], second["certificate"]) == (
        first["public_key"],
        first["certificate"],
    )
    assert len(names(second)) == 4


def exited(pid: int) -> bool:
    """Return whether a child of ours has ended, without waiting for it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
