"""Hosts of a lab and their client with certificates of a joint key, as OpenSSH knows them."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from e3.access import client_config
from e3.access.namespace import NamespaceAccess
from e3.authority.joint.policy import Scope
from e3.authority.joint.requests import SshHost, SshUser
from e3.authority.joint.requests.ssh import public_key_of
from e3.ceremonies import ssh
from e3.ceremonies.authority import Wanted, establish
from e3.ceremonies.signer import JointSigner
from e3.ceremonies.verdicts import CeremonyFailedError
from e3.interfaces import File, Host, SshFiles
from e3.lab import ssh as lab_ssh
from e3.lab.ssh import CERTIFIED_FOLDER, CLIENT_KEY, certifiable
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

    def login(self, host: Host, authority: str = "") -> subprocess.CompletedProcess[str]:
        """Log in to a host, known by its certificate of this authority alone if one is given."""
        assert isinstance(host.access, NamespaceAccess)
        config = self.folder / "ssh_config"
        own = lab_ssh.client_config(self.files, [host.access])
        known = client_config.certified(host.name, authority) if authority else ""
        config.write_text(known + own)
        return subprocess.run(
            ["ssh", "-F", str(config), "-o", "BatchMode=yes", host.name, "hostname"],
            capture_output=True,
            text=True,
            timeout=LOGIN_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    @property
    def places(self) -> SshFiles:
        return certifiable(self.folder / "lab")

    @property
    def certificate(self) -> Path:
        """The certificate of the client."""
        return Path(f"{self.places.client_key}-cert.pub")

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
            scope=Scope(
                names=NAMES,
                most_seconds=ssh.SECONDS,
                users={ssh.USER: (ssh.LOGIN,)},
                key_file=certifiable(lab.folder).host_key,
            ),
            refresh_seconds=ssh.SECONDS,
        )
        made = asyncio.run(establish(folder / "authority", wanted, hosts, None))
        signer = JointSigner(
            folder=folder / "authority",
            purpose=ssh.PURPOSE,
            public_key=made.header.public_key,
            hosts=hosts,
        )
        yield Certified(folder=folder, hosts=hosts, signer=signer, files=files)


@pytest.fixture(autouse=True)
def issued(certified: Certified) -> None:
    """Both sides have certificates at the beginning of a test."""
    asyncio.run(ssh.certify(certified.signer, certified.hosts, certified.places))


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
    path = f"{CERTIFIED_FOLDER}/host-cert.pub"

    async def copy() -> None:
        others = (await other.access.get([path], timeout_seconds=10))[path]
        await one.access.put([File(path=path, content=others)], timeout_seconds=10)

    asyncio.run(copy())
    done = certified.login(one, certified.authority)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_a_host_admits_nobody_without_a_certificate(certified: Certified) -> None:
    certified.certificate.unlink()
    done = certified.login(certified.hosts[0], certified.authority)
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def test_a_host_admits_nobody_with_a_certificate_of_another_authority(
    certified: Certified,
) -> None:
    now = int(time.time())
    forged = SshUser(
        name=ssh.USER,
        principals=(ssh.LOGIN,),
        nonce=bytes(32),
        public_key=public_key_of(
            (certified.files.client_key.parent / f"{CLIENT_KEY}.pub").read_text()
        ),
        not_before=now - 60,
        not_after=now + 3600,
    )
    certified.certificate.write_text(joint_key().certify(forged))
    done = certified.login(certified.hosts[0], certified.authority)
    assert "Permission denied" in done.stderr


def test_without_the_certificates_the_plain_key_is_admitted_again(certified: Certified) -> None:
    """As after `ssh: false`; the client knows the host by its own key then."""
    host = certified.hosts[0]
    asyncio.run(host.access.run(["rm", "-rf", CERTIFIED_FOLDER], timeout_seconds=10))
    ssh.forget(certified.places)
    assert not certified.certificate.exists()
    assert certified.login(host, certified.authority).returncode == 255
    assert certified.login(host).stdout == f"{host.name}\n"


def test_a_key_that_a_host_does_not_have_is_not_certified_for_it(certified: Certified) -> None:
    now = int(time.time())
    request = SshHost(
        name=NAMES[1],
        principals=(NAMES[1],),
        nonce=bytes(32),
        public_key=joint_key().public_key,
        not_before=now - 60,
        not_after=now + 3600,
    )
    with pytest.raises(CeremonyFailedError, match="is not the key that ams3-1 says to have"):
        asyncio.run(certified.signer.sign([request]))


def test_a_host_that_is_no_member_gets_no_certificate(certified: Certified) -> None:
    stranger = replace(certified.hosts[0], name="mallory")
    with pytest.raises(CeremonyFailedError, match=r"\(member\): 'mallory'"):
        asyncio.run(ssh.certify(certified.signer, [stranger], certified.places))
