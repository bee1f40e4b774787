"""Hosts of a lab with certificates of a joint key, as OpenSSH's client knows them."""

import asyncio
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from e3.access import NamespaceAccess, client_config
from e3.authority.joint.policy import Scope
from e3.ceremonies import ssh
from e3.ceremonies.authority import Wanted, establish
from e3.ceremonies.signer import JointSigner
from e3.ceremonies.verdicts import CeremonyFailedError
from e3.interfaces import Host
from e3.lab import ssh as lab_ssh
from e3.lab.ssh import HOST_KEYS
from tests import machines
from tests.holders import joint_key
from tests.labs import running

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's"),
]

NAMES = ("ams3-0", "ams3-1")
LOGIN_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Certified:
    """Hosts whose keys are certified by ``signer``, and a client's files in ``folder``."""

    folder: Path
    hosts: Sequence[Host]
    signer: JointSigner
    files: lab_ssh.SshFiles

    def login(self, host: Host, authority: str) -> subprocess.CompletedProcess[str]:
        """Log in to a host that is known by its certificate of this authority alone."""
        assert isinstance(host.access, NamespaceAccess)
        config = self.folder / "ssh_config"
        own = lab_ssh.client_config(self.files, [host.access])
        config.write_text(client_config.certified(host.name, authority) + own)
        return subprocess.run(
            ["ssh", "-F", str(config), "-o", "BatchMode=yes", host.name, "hostname"],
            capture_output=True,
            text=True,
            timeout=LOGIN_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    @property
    def authority(self) -> str:
        return ssh.key_text(self.signer.public_key)


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certified]:
    folder = tmp_path_factory.mktemp("certificates")
    with running(folder / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        files = machines.keys(lab.folder)
        hosts = [each.host() for each in lab.add_hosts([(name, "ams3") for name in NAMES])]
        wanted = Wanted(
            purpose=ssh.PURPOSE,
            threshold=2,
            holders=NAMES,
            scope=Scope(names=NAMES, most_seconds=ssh.SECONDS),
            refresh_seconds=ssh.SECONDS,
        )
        made = asyncio.run(establish(folder / "authority", wanted, hosts, None))
        signer = JointSigner(
            folder=folder / "authority",
            purpose=ssh.PURPOSE,
            public_key=made.header.public_key,
            hosts=hosts,
        )
        asyncio.run(ssh.certify(signer, hosts, HOST_KEYS))
        yield Certified(folder=folder, hosts=hosts, signer=signer, files=files)


def test_a_host_is_known_by_its_certificate_alone(certified: Certified) -> None:
    for host in certified.hosts:
        done = certified.login(host, certified.authority)
        assert done.stdout == f"{host.name}\n", done.stderr


def test_a_host_with_a_certificate_of_another_authority_is_not(certified: Certified) -> None:
    done = certified.login(certified.hosts[0], ssh.key_text(joint_key().public_key))
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_a_host_with_the_certificate_of_another_is_not(certified: Certified) -> None:
    one, other = certified.hosts
    path = HOST_KEYS.certificate

    async def swap() -> None:
        own = (await one.access.get([path], timeout_seconds=10))[path]
        others = (await other.access.get([path], timeout_seconds=10))[path]
        await one.access.run(["sh", "-c", f"cat > {path}"], stdin=others, timeout_seconds=10)
        assert certified.login(one, certified.authority).returncode == 255
        await one.access.run(["sh", "-c", f"cat > {path}"], stdin=own, timeout_seconds=10)

    asyncio.run(swap())
    assert certified.login(one, certified.authority).returncode == 0


def test_a_host_that_is_no_member_gets_no_certificate(certified: Certified) -> None:
    stranger = replace(certified.hosts[0], name="mallory")
    with pytest.raises(CeremonyFailedError, match=r"\(member\): 'mallory'"):
        asyncio.run(ssh.certify(certified.signer, [stranger], HOST_KEYS))
