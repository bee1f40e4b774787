"""What every overlay must fulfil, on hosts of a real lab. A new overlay needs no line here."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.errors import HostError
from e3.handshakes import Marks, TellsHandshakes
from e3.overlays import OVERLAYS
from tests.labs import running
from tests.overlays import Mesh, ask, files, network_of, processes, skip_without_programs
from tests.stack import until

REGIONS = ("ams3", "sgp1")
NAMES = ("ams3-0", "ams3-1", "sgp1-0")
RTT_MS = {("ams3", "ams3"): 0.0, ("sgp1", "sgp1"): 0.0, ("ams3", "sgp1"): 5.0}
OUT_SECONDS = 60.0
RESTLESS = "/var/lib/e3/tor/"
"""Files that programs write themselves: every Tor stores a copy of the authority's documents."""


JOINT = [f"{name}+joint" for name, make in sorted(OVERLAYS.items()) if make().needs.authority]
"""Overlays that need an authority, with one whose key is in shares of the hosts."""


EVERY = [*sorted(OVERLAYS), *JOINT]


def lean(*left_out: str) -> pytest.MarkDecorator:
    """Try these overlays by the marker `long` alone, and all others by default."""
    each = [pytest.param(n, marks=[pytest.mark.long] if n in left_out else []) for n in EVERY]
    return pytest.mark.parametrize("mesh", each, indirect=True)


@pytest.fixture
def mesh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mesh]:
    """An overlay, and three hosts that it does not join yet."""
    name, _, joint = request.param.partition("+")
    overlay = OVERLAYS[name]()
    if overlay.needs.account:
        pytest.skip(f"{request.param} needs {overlay.needs.account}")
    skip_without_programs(name, overlay)
    with running(tmp_path / "lab", RTT_MS, REGIONS) as lab:
        mesh = Mesh(lab, overlay, joint=bool(joint))
        mesh.add(*NAMES)
        yield mesh


@lean("tor")  # which takes a minute, most of it waiting for a network of its own
def test_every_pair_talks_and_disconnect_leaves_nothing(mesh: Mesh) -> None:
    bare = left_on(mesh)
    assigned = mesh.overlay.assign(NAMES, None)
    network = mesh.connect(*NAMES)
    assert set(network.addresses) == set(NAMES)
    assert len(set(network.addresses.values())) == len(NAMES)
    assert not assigned or network.addresses == assigned
    assert json.loads(json.dumps(network.memory)) == network.memory
    paths = mesh.verify_pairs()
    assert {(path.source, path.target) for path in paths} == {
        (one, other) for one in NAMES for other in NAMES if one != other
    }
    assert {path.path_class for path in paths} <= {"direct", "relayed"}
    across = [path.rtt_ms for path in paths if {path.source[:4], path.target[:4]} == set(REGIONS)]
    assert min(across) >= 5.0

    # a second connect changes nothing
    before = state(mesh)
    assert mesh.connect(*NAMES) == network
    assert state(mesh) == before
    mesh.verify_pairs()
    first = handshakes(mesh)

    mesh.disconnect(*NAMES)
    assert left_on(mesh) == bare
    mesh.disconnect(*NAMES)
    again = mesh.connect(*NAMES)
    assert again.addresses == network.addresses or mesh.overlay.needs.control_server
    mesh.verify_pairs()
    second = handshakes(mesh)
    assert {frozenset(pair) for pair in second} == {frozenset(pair) for pair in first}
    assert not [pair for pair, mark in second.items() if first.get(pair) == mark]


def handshakes(mesh: Mesh) -> Marks:
    """Return the marks of the overlay's handshakes, if it tells them: of every pair, or a hub's."""
    if not isinstance(mesh.overlay, TellsHandshakes):
        return {}
    found = asyncio.run(mesh.overlay.handshakes(mesh.hosts, mesh.joined))
    pairs = {frozenset(pair) for pair in found}
    assert len(pairs) == 3 or all(mesh.hosts[0].name in pair for pair in pairs)
    assert {name for pair in pairs for name in pair} == set(NAMES)
    return found


def state(mesh: Mesh) -> list[tuple[list[str], str, list[str]]]:
    """Return processes, network and files of each host; each file with its time and size."""
    return [
        (
            processes(host),
            network_of(host),
            [line for line in files(host, "%p %i %T@ %s\n") if not line.startswith(RESTLESS)],
        )
        for host in mesh.hosts
    ]


def left_on(mesh: Mesh) -> list[tuple[list[str], str, list[str], str]]:
    """Return processes, network, files and services of each host, but for what E3 itself keeps."""
    ours = {"/run/e3", "/run/e3/probe.py", "/var/lib/e3"}
    return [
        (
            processes(host),
            network_of(host),
            [path for path in files(host, "%p\n") if path not in ours],
            ask(host, "ls", "-A", "/run/service"),
        )
        for host in mesh.hosts
    ]


@lean("didcomm", "headscale", "tor")
def test_hosts_join_are_made_anew_and_leave_while_the_others_go_on(mesh: Mesh) -> None:
    first = mesh.connect(*NAMES)
    before = [processes(host) for host in mesh.hosts[:2]]
    mesh.hosts.pop()
    mesh.add("sgp1-0")  # in place of the one of that name
    mesh.lab.add_region("nyc3")
    mesh.add("ams3-2", "nyc3-0")
    staying = [host.name for host in mesh.hosts]
    second = mesh.connect(*staying)
    same = {name for name in NAMES if second.addresses[name] == first.addresses[name]}
    assert same >= {*NAMES} - ({"sgp1-0"} if mesh.overlay.needs.control_server else set())
    assert [processes(host) for host in mesh.hosts[:2]] == before
    assert len(mesh.verify_pairs()) == 20

    for leaving in ("sgp1-0", "ams3-1", "ams3-0"):  # the oldest host leaves last
        was = mesh.joined.addresses
        mesh.disconnect(leaving)
        staying.remove(leaving)
        now = mesh.connect(*staying).addresses
        kept = now == {name: was[name] for name in staying}
        assert kept or (mesh.overlay.needs.control_server and leaving == "ams3-0")
        assert len(mesh.verify_pairs()) == len(staying) * (len(staying) - 1)

    mesh.lab.remove_host("nyc3-0")
    with pytest.raises(HostError, match="nyc3-0 is gone"):
        mesh.verify_pairs()


@lean("tor")
def test_who_is_no_member_reaches_nobody(mesh: Mesh) -> None:
    mesh.add("ams3-2")
    mesh.connect(*NAMES)
    mesh.verify_pairs()
    open_to_all = mesh.overlay.needs.open_to_all
    assert mesh.reaches("ams3-2", "ams3-0") == open_to_all
    member = mesh.host("ams3-0").underlay
    assert mesh.reaches("ams3-2", "ams3-0", across=member) == open_to_all
    if open_to_all:
        return  # nor does it exclude anybody

    mesh.connect("ams3-0", "ams3-1")  # sgp1-0 continues unchanged
    until(lambda: not mesh.reaches("sgp1-0", "ams3-0"), "the host is shut out", OUT_SECONDS)
    assert not mesh.reaches("sgp1-0", "ams3-1")
    mesh.restart_services("sgp1-0")
    assert not mesh.reaches("sgp1-0", "ams3-0")
    assert not mesh.reaches("sgp1-0", "ams3-1")
    until(lambda: mesh.reaches("ams3-1", "ams3-0"), "a member reaches a member")
