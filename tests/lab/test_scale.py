"""More hosts than most tests have: so many that all parties share a port, and that limits grow."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from e3.interfaces import MOST_PARTY_PORTS, Host
from e3.lab.client import stop
from e3.lab.state import HOSTS_A_PROCESSOR, MODEST
from e3.overlays import wireguard
from e3.overlays.plain import Plain
from e3.overlays.unit import MANY_HOSTS
from e3.overlays.wireguard import DEVICE, WireGuard
from e3.remote import processors
from tests.labs import running
from tests.overlays import Mesh, ask

HOSTS = MOST_PARTY_PORTS + 2
NAMES = [f"ams3-{i}" for i in range(HOSTS)]
RESTART_SECONDS = 30.0


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with running(tmp_path / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        yield Mesh(lab, Plain())


def environment(host: Host) -> Mapping[str, str]:
    """Return the variables that a host's services have."""
    lines = ask(host, "cat", "/proc/1/environ").split("\0")
    return dict(line.split("=", 1) for line in lines if line)


def test_every_pair_of_many_hosts_is_proven(mesh: Mesh) -> None:
    mesh.add(*NAMES)
    mesh.connect(*NAMES)
    assert len(mesh.verify_pairs()) == HOSTS * (HOSTS - 1)
    crowded = HOSTS_A_PROCESSOR * (os.cpu_count() or 1) < HOSTS
    assert set(MODEST.items()).issubset(environment(mesh.hosts[0]).items()) == crowded


def test_beside_many_hosts_the_wan_has_a_share_of_its_own(mesh: Mesh) -> None:
    controller = processors.controller()
    if controller is None or os.geteuid() != 0:
        pytest.skip("no cgroups with cpu for us")
    mesh.add("ams3-0")
    status = mesh.lab.status()
    assert not groups_of(status["pid"], controller)
    mesh.add(*(f"ams3-{i}" for i in range(1, HOSTS_A_PROCESSOR * (os.cpu_count() or 1) + 1)))
    (group,) = groups_of(status["pid"], controller)
    place = group if (group / "cpu.shares").exists() else group / processors.LEAF
    assert (place / processors.PROCESSES).read_text().split() == [str(status["wan_pid"])]
    stop(mesh.lab.folder)
    assert not groups_of(status["pid"], controller)


def groups_of(daemon: int, controller: processors.Controller) -> list[Path]:
    """Return the cgroups that a lab has made."""
    return list(controller.folder.glob(f"{processors.NAME}{daemon}-*"))


def keepalives(host: Host) -> set[str]:
    """Return the intervals of a WireGuard's keepalives."""
    return set(ask(host, "wg", "show", DEVICE, "persistent-keepalive").split()[1::2])


@pytest.fixture
def wireguards(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Mesh:
    """Five hosts that count as many, the last behind a NAT; they were three that do not."""
    monkeypatch.setattr(wireguard, "MANY_HOSTS", 3)
    mesh.overlay = WireGuard(keepalive=7)
    mesh.add("ams3-0", "ams3-1", "ams3-2")
    mesh.connect("ams3-0", "ams3-1", "ams3-2")
    assert keepalives(mesh.hosts[2]) == {"7"}
    mesh.add("ams3-3")
    mesh.add("ams3-4", nats={"ams3-4": "port-restricted"})
    mesh.connect(*(host.name for host in mesh.hosts))
    mesh.verify_pairs()
    return mesh


def test_of_many_hosts_only_those_behind_nats_send_signs_of_life(wireguards: Mesh) -> None:
    assert keepalives(wireguards.host("ams3-3")) == {"off"}
    assert keepalives(wireguards.host("ams3-4")) == {"7"}


@pytest.mark.long
def test_one_of_many_that_starts_again_sends_none_either(wireguards: Mesh) -> None:
    host = wireguards.host("ams3-3")
    ask(host, "s6-svc", "-wr", "-T", "5000", "-r", "/run/service/wireguard")
    wireguards.verify_pairs()
    ends = time.monotonic() + RESTART_SECONDS
    while keepalives(host) != {"off"}:
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.long
def test_many_wireguards_meet_a_few_at_a_time(mesh: Mesh) -> None:
    assert HOSTS > MANY_HOSTS
    mesh.overlay = WireGuard()
    mesh.add(*NAMES)
    mesh.connect(*NAMES)
    assert {interval for host in mesh.hosts for interval in keepalives(host)} == {"off"}
    assert len(mesh.verify_pairs()) == HOSTS * (HOSTS - 1)
