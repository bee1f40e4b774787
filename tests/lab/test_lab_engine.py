"""The lab itself: hosts, regions, the WAN between them, and that nothing is left."""

import asyncio
import contextlib
import itertools
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e3.errors import HostError, LabError
from e3.impairments import Impairment
from e3.interfaces import Completed
from e3.lab import client, ssh
from e3.lab.client import HostHandle, Lab
from tests.labs import Traces, running

pytestmark = pytest.mark.lab

RECEIVE = """
import socket, sys, time
listener = socket.create_server(("::", 5000), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
connection, peer = listener.accept()
start, total = time.monotonic(), 0
while part := connection.recv(1 << 16):
    total += len(part)
print(peer[0].removeprefix("::ffff:"), total, time.monotonic() - start, flush=True)
"""
SEND = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 5000), timeout=60)
connection.sendall(b"x" * int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("engine")
    with running(folder, {("a", "b"): 30.0, ("a", "c"): 0.0}, ["a", "b", "c"]) as lab:
        yield lab


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> dict[str, HostHandle]:
    wanted = [("a-0", "a"), ("a-1", "a"), ("b-0", "b"), ("c-0", "c"), ("c-1", "c")]
    return {host.name: host for host in lab.add_hosts(wanted)}


def run(host: HostHandle, *argv: str) -> Completed:
    return asyncio.run(host.access.run(argv, timeout_seconds=60))


def said(host: HostHandle, *argv: str) -> str:
    completed = run(host, *argv)
    assert completed.exit == 0, completed.stderr.decode()
    return completed.stdout.decode().strip()


def wait_for_end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            assert select.select([descriptor], [], [], 10)[0]
        finally:
            os.close(descriptor)


async def transfer(
    source: HostHandle, target: HostHandle, size: int, *, to: str = ""
) -> tuple[str, int, float]:
    """Send ``size`` bytes over TCP; return the peer's address, the bytes and the seconds.

    They go to the target's IPv4 address unless ``to`` says another, or its name.
    """
    async with target.access.attach([sys.executable, "-c", RECEIVE]) as receiver:
        assert await receiver.stdout.readline() == b"listening\n"
        command = [sys.executable, "-c", SEND, to or target.underlay, str(size)]
        sent = await source.access.run(command, timeout_seconds=60)
        assert sent.exit == 0, sent.stderr.decode()
        peer, total, seconds = (await receiver.stdout.readline()).split()
    return peer.decode(), int(total), float(seconds)


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/proc/self/autogroup").exists(),
    reason="only root goes before others, and where Linux groups sessions",
)
def test_the_wan_goes_before_all_sessions_and_not_only_before_its_own(lab: Lab) -> None:
    daemon = lab.status()["pid"]
    pids = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
    (wan,) = (pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "e3-wan\n")
    assert Path(f"/proc/{wan}/autogroup").read_text().endswith(" nice -20\n")
    assert os.getpriority(os.PRIO_PROCESS, int(wan)) == -20


@pytest.mark.skipif(
    "overlay" not in Path("/proc/filesystems").read_text().split(), reason="no overlayfs here"
)
def test_each_host_has_an_etc_of_its_own_to_watch(hosts: dict[str, HostHandle]) -> None:
    devices = {said(hosts[name], "stat", "-c", "%d", "/etc") for name in ("a-0", "a-1")}
    assert len(devices | {str(Path("/etc").stat().st_dev)}) == 3


def test_a_host_has_its_own_name_files_and_processes(hosts: dict[str, HostHandle]) -> None:
    a, b = hosts["a-0"], hosts["a-1"]
    assert said(a, "hostname") == "a-0"
    said(a, "touch", "/tmp/x", "/run/x", "/var/lib/x", "/root/x", "/dev/shm/x")  # noqa: S108
    assert run(b, "ls", "/tmp/x").exit != 0  # noqa: S108
    assert said(a, "cat", "/proc/1/comm") == "s6-svscan"
    assert b"Read-only" in run(a, "touch", "/etc/x").stderr
    assert said(a, "ls", "-A", str(client.PROJECT / ".e3")) == ""
    assert said(a, sys.executable, "-c", "import mpyc; print(1)") == "1"


def test_hosts_know_one_another_by_name_and_as_they_come_and_go(
    lab: Lab, hosts: dict[str, HostHandle]
) -> None:
    for name, host in hosts.items():
        assert said(hosts["b-0"], "getent", "ahostsv4", name).split()[0] == host.underlay
    extra = lab.add_host("a-9", "a")
    assert said(hosts["c-0"], "getent", "ahostsv4", "a-9").split()[0] == extra.underlay
    assert said(hosts["c-0"], "getent", "ahostsv6", "a-9").split()[0] == extra.underlay6
    lab.remove_host("a-9")
    assert run(hosts["c-0"], "getent", "hosts", "a-9").exit != 0
    lab.remove_host("a-9")


def test_round_trips_are_those_asked_for_and_can_be_changed(
    lab: Lab, hosts: dict[str, HostHandle]
) -> None:
    assert hosts
    measured = lab.measure()
    # no packet comes before it is due; how much later some are, a busy machine decides
    assert measured["a", "b"] >= 30
    assert measured["b", "c"] >= 100
    assert measured["a", "a"] >= 0.5
    assert passes_the_line(lab, hosts) == {"b-0"}
    lab.set_rtt({("b", "a"): 0.0, ("c", "a"): 12.0, ("a", "a"): 0.0})
    assert lab.measure()["a", "c"] >= 12
    assert passes_the_line(lab, hosts) == {"c-0"}
    lab.set_rtt({("b", "a"): 30.0, ("c", "a"): 0.0, ("a", "a"): 0.5})
    assert lab.measure()["a", "b"] >= 30


def passes_the_line(lab: Lab, hosts: dict[str, HostHandle]) -> set[str]:
    """Return the hosts of other regions to which packets from region a take the delay line.

    What goes to all of them at once would be lost on the line while its process is stopped.
    """
    wan = int(lab.status()["wan_pid"])
    os.kill(wan, signal.SIGSTOP)
    try:
        return {
            name
            for name in ("b-0", "c-0")
            if run(hosts["a-0"], "ping", "-c1", "-W5", hosts[name].underlay).exit
        }
    finally:
        os.kill(wan, signal.SIGCONT)


def test_every_pair_of_hosts_can_talk(hosts: dict[str, HostHandle]) -> None:
    for source, target in (("a-0", "a-1"), ("a-0", "b-0"), ("c-0", "a-0"), ("c-1", "b-0")):
        moved = asyncio.run(transfer(hosts[source], hosts[target], 2_000_000))
        assert moved[:2] == (hosts[source].underlay, 2_000_000)
        # IPv6 comes first where a name stands for both (RFC 6724, 2.1)
        moved = asyncio.run(transfer(hosts[source], hosts[target], 2_000_000, to=target))
        assert moved[:2] == (hosts[source].underlay6, 2_000_000)


def test_a_link_can_be_slow_or_lossy_one_way(lab: Lab, hosts: dict[str, HostHandle]) -> None:
    a, b = hosts["a-0"], hosts["b-0"]
    try:
        lab.impair({("a", "b"): Impairment(rate_mbit=8.0)})
        assert asyncio.run(transfer(a, b, 1_000_000))[2] > 0.8  # a MB at 8 Mbit/s
        lab.impair({("a", "b"): Impairment(loss=1.0)})
        assert run(a, "ping", "-c1", "-W1", b.underlay).exit
        assert ("a", "b") not in lab.measure()  # there is nothing to be measured
    finally:
        lab.impair({})


def test_a_direction_is_narrow_and_a_link_breaks_and_comes_back(
    lab: Lab, hosts: dict[str, HostHandle]
) -> None:
    a, b = hosts["a-0"], hosts["b-0"]
    try:
        lab.impair({("b", "a"): Impairment(rate_mbit=8.0), ("a", "c"): Impairment(jitter_ms=40.0)})
        there, back = (asyncio.run(transfer(*way, 1_000_000))[2] for way in ((a, b), (b, a)))
        assert back > 0.8 > there
        assert lab.measure()["a", "c"] < 41
        lab.impair({("a", "b"): Impairment(breaks_every_seconds=1.0, breaks_for_seconds=0.5)})
        shown = said(a, "ping", "-c40", "-i0.05", "-W1", b.underlay)  # 2 s of 1 s periods
        lost = float(shown.partition("% packet loss")[0].rpartition(" ")[2])
        assert 25 < lost < 75
        lab.impair({})
        assert " 0% packet loss" in said(a, "ping", "-c20", "-i0.02", "-W1", b.underlay)
        assert lab.measure()["a", "b"] >= 30
    finally:
        lab.impair({})


def test_packets_of_a_link_are_reordered_and_none_is_lost(
    lab: Lab, hosts: dict[str, HostHandle]
) -> None:
    try:
        lab.impair({("b", "a"): Impairment(reordering=0.2)})
        shown = said(hosts["a-0"], "ping", "-c100", "-l100", "-W1", hosts["b-0"].underlay)
        came = [
            int(line.partition("icmp_seq=")[2].split()[0])
            for line in shown.splitlines()
            if "icmp_seq=" in line
        ]
        assert sorted(came) == list(range(1, 101))
        last = itertools.accumulate(came, max)
        assert sum(number < most for number, most in zip(came, last, strict=True)) > 5
    finally:
        lab.impair({})


def test_a_host_that_dies_is_noticed_and_made_anew_at_its_address(
    lab: Lab, hosts: dict[str, HostHandle]
) -> None:
    assert hosts
    mortal = lab.add_host("a-7", "a")
    with subprocess.Popen([*mortal.access.nsenter(), "--", "sleep", "100"]) as inside:
        os.kill(mortal.identity.pid, signal.SIGKILL)
        inside.wait(timeout=600)
    wait_for_end(mortal.identity.pid)
    assert not mortal.alive()
    with pytest.raises(HostError, match="host a-7 is gone"):
        run(mortal, "true")
    assert "a-7" not in [host.name for host in lab.hosts()]
    again = lab.add_host("a-7", "a")
    assert again.underlay == mortal.underlay
    assert again.identity != mortal.identity
    replaced = lab.add_host("a-7", "a")
    assert not again.alive()
    assert said(replaced, "hostname") == "a-7"
    lab.remove_host("a-7")
    assert not replaced.alive()


def test_what_cannot_be_made_is_refused_with_a_reason(lab: Lab) -> None:
    with pytest.raises(LabError, match="no region 'mars'; it has: a, b, c"):
        lab.add_host("mars-0", "mars")
    with pytest.raises(LabError, match="'UPPER': use 1 to 63"):
        lab.add_host("UPPER", "a")
    with pytest.raises(LabError, match=r"region '\.\./x'"):
        lab.add_region("../x")


def test_a_host_may_get_another_address_and_keeps_it(
    lab: Lab, hosts: dict[str, HostHandle]
) -> None:
    host = lab.add_host("b-7", "b")
    moved = lab.renumber_host("b-7")
    assert moved.identity == host.identity
    assert moved.underlay != host.underlay
    assert said(hosts["a-0"], "getent", "ahostsv6", "b-7").split()[0] == moved.underlay6
    assert asyncio.run(transfer(moved, hosts["c-0"], 9, to="c-0"))[0] == moved.underlay6
    assert said(hosts["a-0"], "getent", "ahostsv4", "b-7").split()[0] == moved.underlay
    assert asyncio.run(transfer(hosts["a-0"], moved, 1000))[1] == 1000
    assert asyncio.run(transfer(moved, hosts["c-0"], 1000))[0] == moved.underlay
    assert run(hosts["a-0"], "ping", "-c1", "-W1", host.underlay).exit != 0
    assert lab.add_host("b-8", "b").underlay != host.underlay
    assert lab.add_host("b-7", "b").underlay == moved.underlay
    lab.remove_hosts(["b-7", "b-8"])
    with pytest.raises(LabError, match="no host 'b-7'; it has: a-0"):
        lab.renumber_host("b-7")


def test_a_host_is_cut_off_without_a_sign(lab: Lab, hosts: dict[str, HostHandle]) -> None:
    one, other = hosts["a-0"], hosts["a-1"]
    ping = ["ping", "-c1", "-W1", other.underlay]
    before = said(one, "ip", "address"), said(one, "ip", "route")
    lab.set_cable("a-0", whole=False)
    assert run(one, *ping).exit != 0
    assert (said(one, "ip", "address"), said(one, "ip", "route")) == before
    lab.set_cable("a-0", whole=True)
    said(one, *ping)


def test_a_region_goes_with_its_hosts_and_comes_back(
    lab: Lab, hosts: dict[str, HostHandle]
) -> None:
    lab.add_region("d")
    first = lab.add_host("d-0", "d")
    assert run(hosts["a-0"], "ls").exit == 0
    lab.remove_region("d")
    assert not first.alive()
    lab.remove_region("d")
    lab.add_region("d")
    lab.add_region("d")
    assert lab.add_host("d-0", "d").underlay == first.underlay
    assert lab.measure()["a", "d"] >= 100
    lab.remove_region("d")


def test_several_threads_may_ask_at_once(lab: Lab) -> None:
    names = [f"b-{i}" for i in range(20, 36)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda name: lab.add_host(name, "b"), names))
    assert len({host.underlay for host in made}) == len(names)
    assert all(said(host, "hostname") == host.name for host in made[:3])
    lab.remove_hosts(names)


def test_a_full_disk_stays_on_its_host(tmp_path: Path) -> None:
    try:
        lab = client.start(tmp_path, disk_mb=8)
        lab.add_region("a")
        full, other = lab.add_hosts([("a-0", "a"), ("a-1", "a")])
        filled = run(full, "dd", "if=/dev/zero", "of=/var/lib/x", "bs=1M", "count=64")
        assert b"No space left" in filled.stderr
        assert run(full, "touch", "/run/service/.still-works").exit == 0
        assert run(other, "dd", "if=/dev/zero", "of=/var/lib/x", "bs=1M", "count=4").exit == 0
    finally:
        client.stop(tmp_path)


def test_ssh_scp_and_rsync_reach_a_host(
    lab: Lab, hosts: dict[str, HostHandle], tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("sshd logs nobody in where there is one user only")
    files = ssh.prepare(lab.folder)
    config = tmp_path / "config"
    config.write_text(ssh.client_config(files, [hosts["b-0"].access]))

    def call(*argv: str | Path) -> str:
        command = [str(argument) for argument in argv]
        done = subprocess.run(command, capture_output=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    assert call("ssh", "-F", config, "b-0", "hostname").strip() == "b-0"
    call("scp", "-q", "-F", config, config, "b-0:/tmp/copied")
    assert call("ssh", "-F", config, "b-0", "cat", "/tmp/copied") == config.read_text()  # noqa: S108
    if shutil.which("rsync"):
        call("rsync", "-e", f"ssh -F {config}", config, "b-0:/tmp/synced")


def test_two_labs_with_the_same_addresses(lab: Lab, hosts: dict[str, HostHandle]) -> None:
    folder = lab.folder / "second"  # no lab hides another one's folder
    with running(folder, {("a", "b"): 5.0}, ["a", "b"]) as other:
        twins = {h.name: h for h in other.add_hosts([("a-0", "a"), ("b-0", "b")])}
        assert twins["a-0"].underlay == hosts["a-0"].underlay
        assert other.measure()["a", "b"] >= 5
        said(twins["a-0"], "touch", "/tmp/only-here")  # noqa: S108
        assert run(hosts["a-0"], "ls", "/tmp/only-here").exit != 0  # noqa: S108
    assert hosts["a-0"].alive()
    assert not twins["a-0"].alive()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_nothing_is_left(tmp_path: Path, how: str) -> None:
    # longer than a socket's address may be
    folder = tmp_path / ("long-" * 20) / ("path-" * 20)
    with running(folder, regions=["a", "b"]) as lab:
        hosts = lab.add_hosts([(f"{region}-{i}", region) for region in "ab" for i in range(4)])
        traces = Traces.of(lab, hosts)
        daemon = lab.status()["pid"]
        with subprocess.Popen([*hosts[0].access.nsenter(), "--", "sleep", "100"]) as inside:
            if how == "kill":
                os.kill(daemon, signal.SIGKILL)
            else:
                client.stop(folder)
            inside.wait(timeout=600)
        for pid in traces.pids:
            wait_for_end(pid)
        assert traces.left() == []
        assert traces.machine_is_as_before()
        assert not lab.alive()
        assert not any(host.alive() for host in hosts)
        with pytest.raises(LabError, match="no lab runs in"):
            lab.status()
    client.stop(folder)
    assert [path.name for path in folder.iterdir()] == ["lab.log"]


def test_a_lab_without_its_wan_ends_as_a_whole(tmp_path: Path) -> None:
    with running(tmp_path, regions=["a"]) as lab:
        host = lab.add_host("a-0", "a")
        os.kill(lab.status()["wan_pid"], signal.SIGKILL)
        wait_for_end(host.identity.pid)
        with pytest.raises(LabError, match="`pulumi refresh` and `pulumi up` make it anew"):
            lab.add_host("a-1", "a")
        assert "WAN died" in (tmp_path / "lab.log").read_text()


def test_stopping_what_never_was() -> None:
    client.stop(Path("/nonexistent/lab"))


def test_starting_where_a_lab_runs_replaces_it(tmp_path: Path) -> None:
    with running(tmp_path, regions=["a"]) as first:
        old = first.add_host("a-0", "a")
        second = client.start(tmp_path)
        assert not old.alive()
        assert second.status()["regions"] == {}
        assert second.alive()


def test_a_lab_outlives_who_started_it_and_answers_nonsense_with_an_error(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from e3.lab import client;"
    code += "client.start(Path(sys.argv[1])).add_region('a')"
    try:
        command = [sys.executable, "-c", code, str(tmp_path)]
        # capture_output waits for the end of the pipes: the lab must not hold them
        subprocess.run(command, cwd=client.PROJECT, check=True, capture_output=True, timeout=600)
        lab = Lab(tmp_path)
        assert list(lab.status()["regions"]) == ["a"]
        with pytest.raises(LabError, match="does not know 'dance'"):
            lab._ask({"verb": "dance"})  # noqa: SLF001
        with pytest.raises(LabError):
            lab._ask({"verb": "add_region"})  # noqa: SLF001
        assert lab.status()["hosts"] == []
    finally:
        client.stop(tmp_path)
