"""A joint authority on real hosts: where its secrets are, and holders that stop answering."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from e3.access.environment import ENVIRONMENT
from e3.access.namespace import NamespaceAccess
from e3.authority import nebula_cert
from e3.ceremonies.assembly import assemble
from e3.ceremonies.overview import AuthorityState, overview
from e3.ceremonies.record import ceremonies
from e3.ceremonies.removal import remove
from e3.ceremonies.signatures import sign
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.ceremonies.voices import CODE, SHARES, attached
from e3.interfaces import Host, Service
from e3.lab.host import SSH_FOLDER
from e3.nats import Reachability
from e3.overlays.nebula import Nebula
from tests import machines
from tests.ceremonies import host_request
from tests.ceremony_malice import spellings
from tests.joint_hosts import established, files_with, shares_on, tell_holder
from tests.labs import running
from tests.machines import Machine
from tests.overlays import Mesh, ask
from tests.sessions import Bench, joined

NAMES = ("ams3-0", "ams3-1", "sgp1-0")
SILENCE_SECONDS = 2.0
SECONDS, SSH = 30.0, 2222
CARRY = """
import os, socket, sys, threading
far = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def send():
    while data := os.read(0, 65536):
        far.sendall(data)
    far.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := far.recv(65536):
    os.write(1, data)
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Sequence[Host]]:
    with running(tmp_path / "lab", {}, ("ams3", "sgp1")) as lab:
        handles = lab.add_hosts([(name, name.partition("-")[0]) for name in NAMES])
        yield [handle.host() for handle in handles]


def test_shares_are_on_their_hosts_alone_and_old_ones_nowhere(
    hosts: Sequence[Host], tmp_path: Path
) -> None:
    folder = tmp_path / "authority"
    first = established(folder, hosts, None).header
    old = shares_on(hosts)
    assert len(set(old)) == len(hosts)
    for host, share in zip(hosts, old, strict=True):
        assert files_with(host, [share]) == {f"{SHARES}/nebula/share"}
    second = established(folder, hosts, first, seconds=0).header
    assert (second.epoch, second.public_key) == (2, first.public_key)
    new = shares_on(hosts)
    assert not set(old) & set(new)
    for number, host in enumerate(hosts):
        others = [each for which, each in enumerate(new) if which != number]
        assert files_with(host, [*old, *others]) == set()
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert not [each for secret in [*old, *new] for each in spellings(secret) if each in kept]
    past = ceremonies(folder)
    assert [(each.verdict, each.epoch) for each in past] == [("completed", 1), ("completed", 2)]
    asyncio.run(remove(hosts, "nebula"))
    for host in hosts:
        assert ask(host, "sh", "-c", f"ls -d {SHARES} {CODE} 2>&1 || true").count("No such") == 2


def test_neither_another_user_nor_a_program_of_a_session_reads_a_share(
    hosts: Sequence[Host], tmp_path: Path
) -> None:
    established(tmp_path / "authority", hosts, None)
    modes = ask(hosts[0], "find", SHARES, "-printf", "%m %u\n").split("\n")[:-1]
    assert set(modes) == {"600 root", "700 root"}
    result = Bench(tmp_path, list(hosts)).run(joined(f"print(os.path.exists({SHARES!r}))"))
    assert [party.output.strip() for party in result.parties] == ["False"] * 3


@pytest.mark.skipif(shutil.which("systemd-creds") is None, reason="needs systemd-creds")
def test_systemd_encrypts_shares_where_it_runs(hosts: Sequence[Host], tmp_path: Path) -> None:
    for host in hosts:  # which a lab's host has not, but for its tool; its /var/lib is its own
        ask(host, "mkdir", "-p", "/run/systemd/system", "/var/lib/systemd")
    first = established(tmp_path / "authority", hosts, None).header
    states = asyncio.run(states_of(hosts))
    assert {each.stored for each in states.holders} == {"systemd-creds"}
    second = established(tmp_path / "authority", hosts, first, seconds=0).header
    assert (second.epoch, second.public_key) == (2, first.public_key)


async def states_of(hosts: Sequence[Host]) -> AuthorityState:
    async with attached(hosts) as (voices, absent):
        return overview(await assemble("nebula", voices, absent))


def test_a_holder_that_is_stopped_is_named_and_another_signs(
    hosts: Sequence[Host], tmp_path: Path
) -> None:
    header = established(tmp_path / "authority", hosts, None).header

    async def sign_while_one_is_stopped() -> None:
        async with attached(hosts, seconds=SILENCE_SECONDS) as (voices, absent):
            assembly = await assemble("nebula", voices, absent)
            certificate = assembly.certificate(header)
            assert certificate is not None
            issuer = (await nebula_cert.read(certificate.text)).fingerprint
            request = host_request("ams3-0", bytes.fromhex(issuer))
            await tell_holder(hosts[0], "STOP")
            try:
                made = await sign(assembly, header, [request])
            finally:
                await tell_holder(hosts[0], "CONT")
            assert made.signers == ["ams3-1", "sgp1-0"]
            assert made.notes == [f"host ams3-0 is silent for {SILENCE_SECONDS:g} s"]

    asyncio.run(sign_while_one_is_stopped())


def test_a_host_that_is_gone_is_named_when_too_few_are_left(
    hosts: Sequence[Host], tmp_path: Path
) -> None:
    header = established(tmp_path / "authority", hosts, None).header
    for host in hosts[1:]:
        ask(host, "rm", "-r", SHARES)
    with pytest.raises(CeremonyFailedError, match="nothing can be signed") as it:
        established(tmp_path / "authority", hosts, header)
    assert it.value.verdict is CeremonyVerdict.TOO_FEW


def test_hosts_behind_nats_make_a_key_and_sign_with_it(tmp_path: Path) -> None:
    """No two of them could connect to each other: what they say goes through the deployer."""
    nats: dict[str, Reachability] = {
        "ams3-0": "port-restricted",
        "ams3-1": "symmetric",
        "sgp1-0": "port-restricted",
    }
    with running(tmp_path / "lab", {}, ("ams3", "sgp1")) as lab:
        handles = lab.add_hosts([(name, name.partition("-")[0]) for name in NAMES], nats)
        hidden = [handle.host() for handle in handles]
        assert established(tmp_path / "authority", hidden, None).header.epoch == 1
        asyncio.run(remove(hidden, "nebula"))


@dataclass
class BeyondNat(Machine):
    """A host whose SSH is reached from another one, ``gate``, at an address of their overlay."""

    gate: NamespaceAccess | None = None
    address: str = ""

    def server_command(self) -> Sequence[str]:
        assert self.gate is not None
        return [*self.gate.nsenter(), "--", sys.executable, "-c", CARRY, self.address, str(SSH)]


@contextmanager
def reached_from(gate: Host, host: Host, lab: Path, address: str) -> Iterator[Host]:
    """Yield a host as it is reached through the overlay alone, by way of ``gate``."""
    inside, outside = host.access, gate.access
    assert isinstance(inside, NamespaceAccess)
    assert isinstance(outside, NamespaceAccess)
    listening = ["-D", "-o", f"ListenAddress={address}:{SSH}", "-o", machines.AUTHORIZED]
    sshd, config = shutil.which("sshd", path=ENVIRONMENT["PATH"]), f"{SSH_FOLDER}/sshd_config"
    assert sshd is not None
    service = Service(name="sshd", argv=[sshd, "-f", config, *listening])
    asyncio.run(inside.start(service, timeout_seconds=SECONDS))
    with machines.opened(inside, kind=partial(BeyondNat, gate=outside, address=address)) as machine:
        yield replace(host, access=machines.access(machine, lab, "root"))


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")
def test_holders_behind_nats_make_new_shares_over_the_overlay_that_they_certified(
    tmp_path: Path,
) -> None:
    """Two home routers and a symmetric one; the coordinator's words take the overlay's paths."""
    nats = {"ams3-0": "port-restricted", "ams3-1": "symmetric", "sgp1-0": "port-restricted"}
    with running(tmp_path / "lab", {}, ("ams3", "sgp1")) as lab, ExitStack() as opened:
        machines.keys(lab.folder)
        mesh = Mesh(lab, Nebula(), joint=True)
        mesh.add("ams3-2", *NAMES, nats=nats)
        network = mesh.connect("ams3-2", *NAMES)
        paths = {each.path_class for each in mesh.verify_pairs()}
        assert paths == {"direct", "relayed"}
        gate, *hidden = mesh.hosts
        beyond = [
            opened.enter_context(reached_from(gate, host, lab.folder, network.addresses[host.name]))
            for host in hidden
        ]
        made = established(tmp_path / "authority", [gate, *beyond], mesh.header, seconds=0)
        assert made.header.epoch == 2
        last = ceremonies(tmp_path / "authority")[-1]
        assert (last.verdict, last.notes) == ("completed", [])


@pytest.mark.skipif("E3_INDEX" not in os.environ, reason="E3_INDEX=1 lets it download packages")
def test_a_host_whose_python_has_no_package_gets_them(
    hosts: Sequence[Host], tmp_path: Path
) -> None:
    bare = [replace(host, python="/usr/bin/python3") for host in hosts]
    assert established(tmp_path / "authority", bare, None).header.epoch == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")
def test_holders_by_ssh_with_and_without_root_make_a_key(tmp_path: Path) -> None:
    """Both on one machine: who is not root there has the share below a folder of their own."""
    names = ("a-0", "a-1")
    with running(tmp_path / "lab", regions=["a"]) as lab:
        machines.keys(lab.folder)
        handle = lab.add_host("a-0", "a")
        machines.add_user(handle.access, lab.folder, sudo=True)
        with machines.opened(handle.access) as machine:
            hosts = [
                replace(handle.host(), name=name, access=machines.access(machine, lab.folder, way))
                for name, way in zip(names, ("root", "user"), strict=True)
            ]
            established(tmp_path / "authority", hosts, None)
            owners = machine.do("stat", "-c", "%U", SHARES, f"{machines.HOME}/.e3/state/authority")
            assert owners.split() == ["root", machines.USER]
            asyncio.run(remove(hosts, "nebula"))
            assert "No such" in machine.do("sh", "-c", f"ls -d {SHARES} 2>&1 || true")
