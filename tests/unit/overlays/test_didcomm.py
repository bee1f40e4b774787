"""The overlay didcomm: what it refuses, what its agents store, and what each host gets to know."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import msgspec
import pytest

from e3.agents.settings import AgentSettings, Invited, MediatorSettings, read
from e3.didcomm.errors import DidcommError
from e3.didcomm.network.convener import Seat
from e3.didcomm.network.invitation import MediatorPlace
from e3.didcomm.network.invitation import read as read_link
from e3.errors import ConfigurationError, OverlayError
from e3.experiment import Choice
from e3.overlays import OVERLAYS
from e3.overlays.didcomm import E3, REQUIREMENTS, START, Didcomm, Known, Memory, program_files
from e3.overlays.unit import Members
from e3.registry import build
from tests.hosts import host

pytestmark = pytest.mark.unit


def run(folder: Path, *words: str, stdin: str = "", python: str = sys.executable) -> str:
    """Return what a program of agents prints, which has this checkout's modules."""
    argv = [python, "-I", "-B", "-c", START, str(E3.parent), str(folder), "/nowhere", *words]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [{"port": 8440}, {"mediator-port": 3478}, {"relay-port": 8440}, {"relay-port": 8441}],
    ids=str,
)
def test_ports_that_two_programs_would_share_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="choose different ones"):
        build(OVERLAYS, _choice(options), key="overlay")


def test_messages_alone_are_refused_but_for_comparison() -> None:
    with pytest.raises(ConfigurationError, match="set purpose: comparison"):
        Didcomm(mode="messages")
    with pytest.raises(ConfigurationError, match=r"such as 127\.76\.0\.0/16"):
        Didcomm(mode="messages", purpose="comparison")
    span = IPv4Network("127.76.0.0/16")
    made = Didcomm(mode="messages", purpose="comparison", range=span)
    assert not made.needs.tun  # so that no device is looked for
    assert Didcomm().needs.tun


def _choice(options: dict[str, int]) -> Choice:
    named = {name.replace("-", "_"): value for name, value in options.items()}
    return Choice(name="didcomm", options=named)


def test_an_identity_is_made_once_and_is_its_hosts_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    requirements = str(E3 / REQUIREMENTS)
    made = json.loads(run(folder, "prepare", requirements))
    assert made["agent"] != made["mediator"]
    assert json.loads(run(folder, "prepare", requirements)) == made
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes) == {"agent.json", "convener.key", "dids.json", "mediator.json"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_convener_gives_each_seat_the_same_invitation_again(tmp_path: Path) -> None:
    dids = json.loads(run(tmp_path, "prepare", str(E3 / REQUIREMENTS)))
    place = MediatorPlace(did=dids["mediator"], addresses=("198.18.0.2",), port=8440)
    seats = tuple(
        Seat(name=name, address=f"10.76.0.{number}", serial=str(number) * 64)
        for number, name in enumerate(("ams3-0", "ams3-1"), 1)
    )
    asked = msgspec.json.encode(Invited(seats=seats, prefix=16, mediators=(place,))).decode()
    links = json.loads(run(tmp_path, "invite", stdin=asked))
    assert links == json.loads(run(tmp_path, "invite", stdin=asked))
    invitations = {name: read_link(link) for name, link in links.items()}
    assert {name: it.address for name, it in invitations.items()} == {
        "ams3-0": "10.76.0.1/16",
        "ams3-1": "10.76.0.2/16",
    }
    assert {it.convener for it in invitations.values()} == {dids["agent"]}
    assert len({it.token for it in invitations.values()}) == 2


def test_a_host_without_the_packages_is_told_what_it_lacks(tmp_path: Path) -> None:
    """Its Python has none, and an index that is not there."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    argv = [str(bare / "bin/python"), "-I", "-B", "-c", START, str(E3.parent), str(tmp_path)]
    done = subprocess.run(
        [*argv, "/nowhere", "prepare", str(E3 / REQUIREMENTS)],
        env={**os.environ, "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "lacks aiohttp, base58, cryptography" in done.stderr
    assert "give pip an index" in done.stderr


def test_what_runs_on_hosts_needs_nothing_that_is_not_sent(tmp_path: Path) -> None:
    for file in program_files():
        place = tmp_path / file.path.partition("/program/")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.content)
    modules = "agent, invite, mediator, prepare"
    loaded = f"from e3.agents import {modules}; from e3.remote import ask; print(agent.__file__)"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {loaded}"
    argv = [sys.executable, "-I", "-B", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


def test_a_link_is_in_files_of_root_alone_and_in_no_memory() -> None:
    hosts = [host("ams3-0", "198.18.0.2"), host("ams3-1", "198.18.0.3")]
    known = {
        each.name: Known(agent=f"did:{each.name}", mediator="did:m", link=f"link {each.name}")
        for each in hosts
    }
    members = Members(
        hosts=hosts,
        addresses=Didcomm().assign([each.name for each in hosts], None),
        public=known,
        memory=Memory(mediators=["ams3-0"], convener="ams3-0"),
    )
    for each in hosts:
        files = [file for unit in Didcomm().plan(each, members) for file in unit.files]
        having = [file for file in files if f"link {each.name}".encode() in file.content]
        assert [file.path for file in having] == ["/run/e3/didcomm/agent.json"]
        assert {file.mode for file in files} == {0o600}
        other = {"ams3-0", "ams3-1"} - {each.name}
        assert not any(f"link {name}".encode() in file.content for name in other for file in files)


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"link": 1}', '{"link": "x", "tunnel": "/x", "more": 1}', "\udcff", "[" * 100_000],
    ids=["nothing", "a list", "a number", "too much", "no text", "deep"],
)
def test_settings_that_are_wrong_end_an_agent_with_their_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DidcommError, match=r"settings\.json"):
        read(file, AgentSettings)
    with pytest.raises(DidcommError, match=r"settings\.json"):
        read(file, MediatorSettings)


def test_hosts_that_none_can_call_cannot_be_joined() -> None:
    hidden = [
        host(f"nyc3-{number}", f"172.16.0.{number}", reachability="port-restricted")
        for number in range(2)
    ]
    with pytest.raises(OverlayError, match="didcomm needs a host that the others can reach"):
        asyncio.run(Didcomm().connect(hidden, None, None))
