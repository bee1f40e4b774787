"""What every overlay must fulfil, on hosts of a real lab. A new overlay needs no line here."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.errors import HostError
from e3.overlays import OVERLAYS
from tests.labs import running
from tests.overlays import Mesh, ask, files, network_of, processes
from tests.stack import until

REGIONS = ("ams3", "sgp1")
NAMES = ("ams3-0", "ams3-1", "sgp1-0")
RTT_MS = {("ams3", "ams3"): 0.0, ("sgp1", "sgp1"): 0.0, ("ams3", "sgp1"): 5.0}
OUT_SECONDS = 60.0
RESTLESS = "/var/lib/e3/tor/"
"""Files that programs write themselves: every Tor stores a copy of the authority's documents."""


@pytest.fixture(params=sorted(OVERLAYS))
def mesh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mesh]:
    """An overlay, and three hosts that it does not join yet."""
    overlay = OVERLAYS[request.param]()
    if overlay.needs.account:
        pytest.skip(f"{request.param} needs {overlay.needs.account}")
    with running(tmp_path / "lab", RTT_MS, REGIONS) as lab:
        mesh = Mesh(lab, overlay)
        mesh.add(*NAMES)
        yield mesh


def test_every_ordered_pair_talks_and_a_second_connect_changes_nothing(mesh: Mesh) -> None:
    def state() -> list[tuple[list[str], str, list[str]]]:
        return [
            (
                processes(host),
                network_of(host),
                [line for line in files(host, "%p %i %T@ %s\n") if not line.startswith(RESTLESS)],
            )
            for host in mesh.hosts
        ]

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

    before = state()
    assert mesh.connect(*NAMES) == network
    assert state() == before
    mesh.verify_pairs()


def test_hosts_join_and_leave_while_the_others_go_on(mesh: Mesh) -> None:
    first = mesh.connect(*NAMES)
    before = [processes(host) for host in mesh.hosts]
    mesh.lab.add_region("nyc3")
    mesh.add("ams3-2", "nyc3-0")
    staying = [host.name for host in mesh.hosts]
    second = mesh.connect(*staying)
    assert {name: second.addresses[name] for name in NAMES} == first.addresses
    assert [processes(host) for host in mesh.hosts[:3]] == before
    assert len(mesh.verify_pairs()) == 20

    for leaving in ("sgp1-0", "ams3-1", "ams3-0"):  # the oldest host leaves last
        was = mesh.joined.addresses
        mesh.disconnect(leaving)
        staying.remove(leaving)
        now = mesh.connect(*staying).addresses
        kept = now == {name: was[name] for name in staying}
        assert kept or (mesh.overlay.needs.control_server and leaving == "ams3-0")
        assert len(mesh.verify_pairs()) == len(staying) * (len(staying) - 1)


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


def test_disconnect_leaves_nothing_and_connect_may_follow(mesh: Mesh) -> None:
    before = [(processes(h), network_of(h), files(h, "%p\n")) for h in mesh.hosts]
    services = [ask(host, "ls", "-A", "/run/service") for host in mesh.hosts]
    first = mesh.connect(*NAMES)
    mesh.verify_pairs()
    mesh.disconnect(*NAMES)
    after = [(processes(h), network_of(h), files(h, "%p\n")) for h in mesh.hosts]
    # what E3 itself keeps on a host: its folders, and the probe
    ours = {"/run/e3", "/run/e3/probe.py", "/var/lib/e3"}
    kept = [(p, n, [path for path in f if path not in ours]) for p, n, f in after]
    assert kept == before
    assert [ask(host, "ls", "-A", "/run/service") for host in mesh.hosts] == services
    mesh.disconnect(*NAMES)
    second = mesh.connect(*NAMES)
    assert second.addresses == first.addresses or mesh.overlay.needs.control_server
    mesh.verify_pairs()


def test_a_host_made_anew_is_joined_again_and_one_that_is_gone_is_named(mesh: Mesh) -> None:
    first = mesh.connect(*NAMES)
    before = [processes(host) for host in mesh.hosts[:2]]
    mesh.hosts.pop()
    mesh.add("sgp1-0")
    second = mesh.connect(*NAMES)
    assert second.addresses == first.addresses or mesh.overlay.needs.control_server
    assert [processes(host) for host in mesh.hosts[:2]] == before
    mesh.verify_pairs()
    mesh.lab.remove_host("sgp1-0")
    with pytest.raises(HostError, match="sgp1-0 is gone"):
        mesh.verify_pairs()
