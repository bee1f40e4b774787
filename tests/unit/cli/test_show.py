"""What `e3 show` makes of a state: old ones, those without hosts, hostile names, many hosts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from e3 import pulumi_state
from e3.cli import show
from tests.commands import private

STATES = Path(__file__).parents[2] / "states"


def described(resources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    export = json.dumps({"deployment": {"resources": resources}})
    return show.describe(pulumi_state.decode_export(export))


def resource(kind: str, /, **outputs: object) -> dict[str, Any]:
    urn = f"urn:pulumi:none::e3::{pulumi_state.OURS}{kind}::x"
    return {"urn": urn, "type": pulumi_state.OURS + kind, "outputs": outputs}


@pytest.mark.parametrize("overlay", ["nebula", "tinc", "wireguard"])
def test_a_state_of_an_older_version_is_shown(
    overlay: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = show.describe(pulumi_state.read(STATES / f"{overlay}.json"))
    assert known["overlay"] == overlay
    assert known["session"]["verdict"] == "completed"
    assert {host["pid"] for host in known["hosts"]} == {0, 1}
    show._print(known)  # noqa: SLF001 - as the verb does
    screen = capsys.readouterr().out
    assert f"2 hosts, joined by {overlay}" in screen
    assert "completed: " in screen
    assert "make down" in screen


def test_a_stack_without_resources_or_hosts_says_what_makes_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for resources in ([], [resource("Lab")]):
        known = described(resources)
        assert known["hosts"] == []
        assert known["session"] is None
        show._print(known)  # noqa: SLF001
        assert "no hosts that are joined" in capsys.readouterr().out
    assert any(command.startswith("pulumi up") for command in known["next"])


def test_hosts_whose_session_never_completed_have_no_party() -> None:
    host = {"name": "a-0", "region": "a", "underlay": "198.18.0.2"}
    known = described([resource("Overlay", kind="plain", hosts=[host], addresses={}, paths=[])])
    assert known["hosts"] == [{**host, "overlay": None, "pid": None}]


def test_what_a_host_calls_itself_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    host = {"name": "a-0", "region": "a", "underlay": "\x1b[2J198.18.0.2"}
    known = described([resource("Overlay", kind="plain", hosts=[host], addresses={}, paths=[])])
    show._print(known)  # noqa: SLF001
    assert "\x1b" not in capsys.readouterr().out


def hosts(count: int) -> list[dict[str, Any]]:
    return [{"name": f"r{i % 2}-{i // 2}", "region": f"r{i % 2}"} for i in range(count)]


def paths(names: Sequence[str]) -> list[dict[str, Any]]:
    pairs = [(a, b) for a in names for b in names if a != b]
    kinds = {True: "relayed", False: "direct"}
    return [
        {"from": a, "to": b, "class": kinds[(a, b) == ("r0-0", "r1-0")], "rtt_ms": float(i)}
        for i, (a, b) in enumerate(pairs)
    ]


def test_few_hosts_have_a_cell_a_pair() -> None:
    few = hosts(3)
    names, cells = show.matrix(few, paths([host["name"] for host in few]))
    assert names == ["r0-0", "r1-0", "r0-1"]
    assert cells["r0-0", "r1-0"] == "0.0r"
    assert cells["r1-0", "r0-0"] == "2.0"
    assert len(cells) == 6


def test_many_hosts_are_shown_by_region() -> None:
    many = hosts(40)
    names, cells = show.matrix(many, paths([host["name"] for host in many]))
    assert names == ["r0", "r1"]
    assert set(cells) == {("r0", "r0"), ("r0", "r1"), ("r1", "r0"), ("r1", "r1")}
    assert cells["r0", "r1"].endswith("r")


def test_a_stack_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    done = private(tmp_path)("show", "--stack", "nosuch")
    assert done.returncode == 2
    assert done.stderr.startswith("e3: ")
