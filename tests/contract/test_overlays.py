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


def keep_out(mesh: Mesh) -> None:
    if mesh.overlay.needs.open_to_all:
        pytest.skip(f"{type(mesh.overlay).__name__} declares that it keeps nobody out")


def test_every_ordered_pair_talks(mesh: Mesh) -> None:
    network = mesh.connect(*NAMES)
    assert set(network.addresses) == set(NAMES)
    assert len(set(network.addresses.values())) == len(NAMES)
    paths = mesh.prove()
    assert {(path.source, path.target) for path in paths} == {
        (one, other) for one in NAMES for other in NAMES if one != other
    }
    assert {path.path_class for path in paths} <= {"direct", "relayed"}
    across = [path.rtt_ms for path in paths if {path.source[:4], path.target[:4]} == set(REGIONS)]
    assert min(across) >= 5.0


def test_addresses_are_known_before(mesh: Mesh) -> None:
    assigned = mesh.overlay.assign(NAMES, None)
    network = mesh.connect(*NAMES)
    assert not assigned or network.addresses == assigned


def test_what_is_remembered_is_plain_data(mesh: Mesh) -> None:
    network = mesh.connect(*NAMES)
    assert json.loads(json.dumps(network.memory)) == network.memory


def test_a_second_connect_changes_nothing(mesh: Mesh) -> None:
    first = mesh.connect(*NAMES)
    before = [(processes(h), network_of(h), files(h, "%p %i %T@ %s\n")) for h in mesh.hosts]
    second = mesh.connect(*NAMES)
    after = [(processes(h), network_of(h), files(h, "%p %i %T@ %s\n")) for h in mesh.hosts]
    assert second == first
    assert after == before
    mesh.prove()


def test_hosts_that_join_disturb_nobody(mesh: Mesh) -> None:
    first = mesh.connect(*NAMES)
    before = [processes(host) for host in mesh.hosts]
    mesh.lab.add_region("nyc3")
    mesh.add("ams3-2", "nyc3-0")
    second = mesh.connect("ams3-0", "ams3-1", "ams3-2", "nyc3-0", "sgp1-0")
    assert {name: second.addresses[name] for name in NAMES} == first.addresses
    assert [processes(host) for host in mesh.hosts[:3]] == before
    assert len(mesh.prove()) == 20


@pytest.mark.parametrize("leaving", NAMES)
def test_when_a_host_leaves_the_others_go_on(mesh: Mesh, leaving: str) -> None:
    first = mesh.connect(*NAMES)
    staying = [name for name in NAMES if name != leaving]
    mesh.disconnect(leaving)
    second = mesh.connect(*staying)
    kept = second.addresses == {name: first.addresses[name] for name in staying}
    assert kept or mesh.overlay.needs.control_server  # where that one left, all join anew
    assert len(mesh.prove()) == 2


def test_a_host_that_left_stays_out_with_its_old_keys(mesh: Mesh) -> None:
    keep_out(mesh)
    mesh.connect(*NAMES)
    mesh.prove()
    mesh.connect("ams3-0", "ams3-1")  # sgp1-0 goes on as it was
    until(lambda: not mesh.reaches("sgp1-0", "ams3-0"), "the host is shut out", OUT_SECONDS)
    assert not mesh.reaches("sgp1-0", "ams3-1")
    mesh.restart_services("sgp1-0")
    assert not mesh.reaches("sgp1-0", "ams3-0")
    assert not mesh.reaches("sgp1-0", "ams3-1")
    until(lambda: mesh.reaches("ams3-1", "ams3-0"), "a member reaches a member")


def test_who_never_joined_reaches_nobody(mesh: Mesh) -> None:
    mesh.add("ams3-2")
    mesh.connect(*NAMES)
    until(lambda: mesh.reaches("ams3-1", "ams3-0"), "a member reaches a member")
    open_to_all = mesh.overlay.needs.open_to_all
    assert mesh.reaches("ams3-2", "ams3-0") == open_to_all
    member = mesh.host("ams3-0").underlay
    assert mesh.reaches("ams3-2", "ams3-0", across=member) == open_to_all


def test_disconnect_leaves_nothing(mesh: Mesh) -> None:
    before = [(processes(h), network_of(h), files(h, "%p\n")) for h in mesh.hosts]
    services = [ask(host, "ls", "-A", "/run/service") for host in mesh.hosts]
    mesh.connect(*NAMES)
    mesh.prove()
    mesh.disconnect(*NAMES)
    after = [(processes(h), network_of(h), files(h, "%p\n")) for h in mesh.hosts]
    # what E3 itself keeps on a host: its folders, and the probe
    ours = {"/run/e3", "/run/e3/probe.py", "/var/lib/e3"}
    kept = [(p, n, [path for path in f if path not in ours]) for p, n, f in after]
    assert kept == before
    assert [ask(host, "ls", "-A", "/run/service") for host in mesh.hosts] == services
    mesh.disconnect(*NAMES)


def test_connect_after_disconnect(mesh: Mesh) -> None:
    first = mesh.connect(*NAMES)
    mesh.disconnect(*NAMES)
    second = mesh.connect(*NAMES)
    assert second.addresses == first.addresses or mesh.overlay.needs.control_server
    mesh.prove()


def test_a_host_made_anew_gets_its_address_and_is_joined_again(mesh: Mesh) -> None:
    first = mesh.connect(*NAMES)
    before = [processes(host) for host in mesh.hosts[:2]]
    mesh.hosts.pop()
    mesh.add("sgp1-0")
    second = mesh.connect(*NAMES)
    assert second.addresses == first.addresses or mesh.overlay.needs.control_server
    assert [processes(host) for host in mesh.hosts[:2]] == before
    mesh.prove()


def test_a_host_that_is_gone_is_named(mesh: Mesh) -> None:
    mesh.connect(*NAMES)
    mesh.lab.remove_host("sgp1-0")
    with pytest.raises(HostError, match="sgp1-0 is gone"):
        mesh.prove()
