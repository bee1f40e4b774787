"""Machines that cannot be used: each is told why, before anything is made on any of them."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e3.errors import HostError
from e3.interfaces import Needs, Service
from e3.inventory import provision
from e3.inventory.machines import Machine
from e3.inventory.survey import Facts, Seen, check_fit, clock_off, survey
from e3.inventory.tools import missing_tools
from e3.lab.ssh import CLIENT_KEY
from tests import machines
from tests.labs import running

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")

PLAIN = Needs()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, machines.Machine]]:
    with running(tmp_path_factory.mktemp("survey"), regions=["a"]) as made:
        machines.keys(made.folder)
        inside = made.add_host("a-0", "a").access
        machines.add_user(inside, made.folder, sudo=False)
        with machines.opened(inside) as machine:
            yield made.folder, machine


@pytest.fixture
def good(lab: tuple[Path, machines.Machine]) -> Machine:
    folder, machine = lab
    return Machine(
        host="attic",
        address="127.0.0.1",
        port=machine.port,
        user="root",
        key=str(folder / "ssh" / CLIENT_KEY),
        host_key=machines.host_key(folder),
        python="/usr/bin/python3",
    )


def look(*listed: Machine, needs: Needs = PLAIN, install: bool = False) -> dict[str, Facts]:
    named = {f"home-{i}": machine for i, machine in enumerate(listed)}
    return asyncio.run(survey(named, needs, install_packages=install))


def test_a_good_machine_is_known(good: Machine) -> None:
    facts = look(replace(good, python=""), replace(good, user="pi"))
    root, user = facts["home-0"], facts["home-1"]
    assert root.system == f"{os.uname().machine}-linux"
    assert root.access.rights
    assert root.access.services == "supervisor"
    assert not user.access.rights
    assert user.access.own == f"{machines.HOME}/.e3"
    assert look(replace(good, address="127.0.0.1", underlay="198.18.7.7"))["home-0"].underlay == (
        "198.18.7.7"
    )


def test_all_that_is_wrong_is_said_at_once(good: Machine, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    listed = [
        good,
        replace(good, host="away", port=1),
        replace(good, host="false", host_key=Path(f"{other}.pub").read_text().strip()),
        replace(good, host="shut", key=str(other)),
        replace(good, host="bare", python="/opt/none/python3"),
        replace(good, host="other", system="armv7l-linux"),
        replace(good, host="meek", user="pi", sudo=True),
    ]
    with pytest.raises(HostError) as caught:
        look(*listed)
    said = str(caught.value).splitlines()
    assert said[0] == "6 of 7 machines cannot be used:"
    for line, (name, part) in zip(
        said[1:],
        [
            ("away", "cannot be reached at 127.0.0.1 port 1: "),
            ("false", "does not have the host key that is pinned (SHA256:"),
            ("shut", f"refuses to let user root in with the key {other}"),
            ("bare", "has no Python 3.11 or newer at /opt/none/python3"),
            ("other", "is x86_64-linux, not armv7l-linux; correct its system:"),
            ("meek", "does not let user pi become root without a password"),
        ],
        strict=True,
    ):
        assert line.startswith(f"  {name}: host home-"), line
        assert part in line


def test_a_machine_of_an_unknown_system_is_refused(
    good: Machine, lab: tuple[Path, machines.Machine]
) -> None:
    # a kernel that says it is of 32 bits, below a Python of 64
    with (
        machines.opened(lab[1].inside, "setarch", "linux32") as odd,
        pytest.raises(HostError, match="home-0 is a i686 of 64 bits, and parties run on x86"),
    ):
        look(replace(good, port=odd.port))


def test_a_full_disk_is_refused(good: Machine, lab: tuple[Path, machines.Machine]) -> None:
    machine = lab[1]
    machine.do("fallocate", "-l", "700M", "/var/lib/full")
    with pytest.raises(HostError, match=r"home-0 has \d+ MB of disk left and needs 500"):
        look(good)
    machine.do("rm", "/var/lib/full")
    look(good)


SEEN: Seen = {
    "version": [3, 11, 2],
    "modules": ["venv", "ensurepip", "ssl", "ctypes", "zlib"],
    "machine": "x86_64",
    "bits": 64,
    "release": "debian",
    "home": "/root",
    "free_bytes": 10**9,
    "clock": 100.0,
    "underlay": "192.0.2.1",
    "systemd": False,
    "tun": True,
    "programs": [],
}


@pytest.mark.parametrize(
    ("seen", "ahead_seconds", "said"),
    [
        (SEEN, 3600.0, "its clock is 3600 s ahead; set it"),
        (SEEN, -61.0, "its clock is 61 s behind; set it"),
        ({**SEEN, "modules": ["venv", "ssl", "ctypes", "zlib"]}, 0.0, "its Python lacks ensurepip"),
    ],
)
def test_what_a_look_has_shown_is_judged(seen: Seen, ahead_seconds: float, said: str) -> None:
    with pytest.raises(HostError, match=said):
        check_fit("home-0", seen, ahead_seconds=ahead_seconds)
    check_fit("home-0", SEEN, ahead_seconds=clock_off(100.5, 99.0, 101.0))
    assert clock_off(200.0, 100.0, 110.0) == 90.0


def test_what_the_overlay_needs_is_checked(good: Machine) -> None:
    with pytest.raises(HostError, match="overlay needs a network device, and user pi is not root"):
        look(replace(good, user="pi", sudo=False), needs=Needs(tun=True))
    needs = Needs(packages=("no-such-package",))
    command = "sudo apt-get install --no-install-recommends no-such-package"
    with pytest.raises(HostError, match=f"home-0 lacks programs; type there: {command}; with"):
        look(good, needs=needs)
    assert look(good, needs=needs, install=True)["home-0"].lacking == ("no-such-package",)
    with pytest.raises(HostError, match=f"{command}$"):
        look(replace(good, user="pi"), needs=needs, install=True)
    absent = missing_tools(Needs(tools=("nebula",)), "armv7l-linux")
    assert absent is not None
    assert "nebula, nebula-cert for armv7l-linux is not in .tools/armv7l-linux" in absent


def test_one_stack_has_a_machine_at_a_time(
    good: Machine, lab: tuple[Path, machines.Machine]
) -> None:
    access = look(good)["home-0"].access

    async def go() -> None:
        await provision.claim(access, "one of me")
        await provision.claim(access, "one of me")
        with pytest.raises(HostError, match="home-0 is in use by the stack one of me; destroy"):
            await provision.claim(access, "two of me")
        await provision.remove(access, "two of me")
        with pytest.raises(HostError, match="in use"):
            await provision.claim(access, "two of me")
        service = Service(name="left", argv=["sleep", "4731"])
        await access.start(service, timeout_seconds=60)
        assert not await provision.is_whole(access, "3.11.2", "one of me", "an earlier boot")
        await provision.remove(access, "one of me")

    asyncio.run(go())
    assert lab[1].processes() == []
    assert lab[1].do("ls", "/var/lib", "/run").count("e3") == 0
