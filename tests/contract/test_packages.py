"""Packages on hosts that do not see this machine's files: sent, unpacked, seen by parties alone."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e3.access.ssh import SshAccess
from e3.errors import HostError
from e3.interfaces import File, Host
from e3.lab.client import PROJECT, HostHandle, Lab
from e3.remote.layers import PARTS
from e3.session.plan import plan
from e3.session.programs import load
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from tests import machines
from tests.labs import running
from tests.machines import Machine
from tests.wheels import wheel

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")

PYTHON = str(PROJECT / ".venv" / "bin" / "python")
"""Hosts of a lab see it."""

PROGRAM = """
import os; os.environ["MPYC_NONUMPY"] = "1"
from mpyc.runtime import mpc
import tally

async def main():
    async with mpc:
        await mpc.output(mpc.input(mpc.SecInt()(1))[0])
    print(tally.VERSION, tally.__file__)

mpc.run(main())
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("packages"), {("a", "a"): 0.1}, regions=["a"]) as made:
        machines.keys(made.folder)
        made.add_hosts([(f"a-{number}", "a") for number in range(3)])
        yield made


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> Iterator[list[Host]]:
    """A host by SSH as root, one as a user without rights, and one of the lab itself."""
    root, user, own = lab.hosts()
    for handle in (root, user):
        machines.add_user(handle.access, lab.folder, sudo=False)
    with machines.opened(root.access) as first, machines.opened(user.access) as second:
        yield [
            by_ssh(root, first, lab, "root"),
            by_ssh(user, second, lab, "user"),
            own.host(python=PYTHON),
        ]


def by_ssh(handle: HostHandle, machine: Machine, lab: Lab, way: str) -> Host:
    access = replace(machines.access(machine, lab.folder, way), python=PYTHON)
    return replace(handle.host(python=PYTHON), access=access)


def run(folder: Path, hosts: list[Host]) -> SessionResult:
    (folder / "vote.py").write_text(PROGRAM)
    made = plan(
        hosts=hosts,
        addresses={host.name: host.underlay for host in hosts},
        program=load(folder / "vote.py"),
        parties=len(hosts),
    )
    return asyncio.run(
        run_session(
            SessionSpec(
                plan=made,
                hosts=hosts,
                overlay="plain",
                sessions=folder / "sessions",
                deadline_seconds=60,
                store=folder / "store",
            )
        )
    )


def listed(host: Host) -> list[str]:
    """Return what a host's store has."""
    place = "/var/lib/e3/packages"
    if isinstance(host.access, SshAccess):
        place = host.access.place(place)
    done = asyncio.run(host.access.run(["ls", "-A", place], timeout_seconds=30))
    return [name for name in done.stdout.decode().split() if name != "lock"]


def test_hosts_without_an_index_are_sent_what_they_need(tmp_path: Path, hosts: list[Host]) -> None:
    wheel(tmp_path / "wheels", "tally")
    (tmp_path / "requirements.txt").write_text("--no-index\n--find-links wheels\ntally\n")
    result = run(tmp_path, hosts)
    assert result.verdict == "completed", result.reason
    places = ["/var/lib/e3/packages", f"{machines.HOME}/.e3/state/packages", "/var/lib/e3/packages"]
    for party, place in zip(result.parties, places, strict=True):
        version, path = party.output.split()
        assert version == "1.0"
        assert path.startswith(f"{place}/layer-")
    # nothing of the transport stays, and the next session sends nothing
    assert all(len(listed(host)) == 1 for host in hosts)
    (layer,) = listed(hosts[0])
    before = stat(hosts[0], layer)
    assert run(tmp_path, hosts).verdict == "completed"
    assert stat(hosts[0], layer) >= before


def stat(host: Host, layer: str) -> float:
    """Return when a host's layer was used last."""
    argv = ["stat", "-c", "%Y", f"/var/lib/e3/packages/{layer}"]
    return float(asyncio.run(host.access.run(argv, timeout_seconds=30)).stdout)


def test_a_host_whose_disk_is_too_small_is_named_and_sent_nothing(
    tmp_path: Path, hosts: list[Host]
) -> None:
    wheel(tmp_path / "wheels", "tally", "3.0", files={"tally.py": "", "data": os.urandom(400_000)})
    (tmp_path / "requirements.txt").write_text("--no-index\n--find-links wheels\ntally==3.0\n")
    host = hosts[0]
    small = "mkdir -p $0 && mount -t tmpfs -o size=1200k disk $0"
    mount = ["sh", "-c", small, "/var/lib/e3/packages"]
    assert asyncio.run(host.access.run(mount, timeout_seconds=30)).exit == 0
    try:
        with pytest.raises(HostError, match=r"host a-0 has 1 MB of disk left, and .* need 2; make"):
            run(tmp_path, hosts[:1])
        assert listed(host) == []
    finally:
        asyncio.run(host.access.run(["umount", "/var/lib/e3/packages"], timeout_seconds=30))


def test_a_transfer_that_was_cut_or_garbled_is_not_used(tmp_path: Path, hosts: list[Host]) -> None:
    wheel(tmp_path / "wheels", "tally", "2.0")
    (tmp_path / "requirements.txt").write_text("--no-index\n--find-links wheels\ntally==2.0\n")
    assert run(tmp_path, hosts[1:2]).verdict == "completed"
    (layer,) = (path.name for path in (tmp_path / "store").glob("layer-*"))
    # a piece of another transfer, and half a layer of an unpacking that was killed
    place = "/var/lib/e3/packages"
    stale = [
        File(path=f"{place}/{layer}{PARTS}/00001", content=b"rest of another"),
        File(path=f"{place}/.new-{layer}/site/tally.py", content=b"raise SystemExit"),
    ]
    asyncio.run(hosts[0].access.put(stale, timeout_seconds=30))
    with pytest.raises(HostError, match="a-0 did not get what was sent; run the session again"):
        run(tmp_path, hosts[:1])
    assert not [name for name in listed(hosts[0]) if name.startswith((".new-", f"{layer}."))]
    result = run(tmp_path, hosts[:1])
    assert result.verdict == "completed", result.reason
    assert result.parties[0].output.startswith("2.0 ")
