"""Certificates of OpenSSH that a joint key signs, judged by ssh-keygen, ssh and sshd."""

import base64
import os
import secrets
import shlex
import shutil
import struct
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from e3.authority.joint import ed25519, requests
from e3.authority.joint.requests import RequestError, SshHost, SshUser
from e3.authority.joint.requests.ssh import authority_line, public_key_of
from tests.holders import joint_key
from tests.mutations import flipped

NOW = int(time.time())
KEY = joint_key()
HOST = SshHost(
    not_before=NOW - 60,
    not_after=NOW + 3600,
    name="ams3-0",
    principals=("ams3-0", "10.77.0.2", "fd00::2"),
    serial=7,
    nonce=secrets.token_bytes(32),
    public_key=bytes(range(32)),
)
USER = SshUser(
    not_before=NOW - 60,
    not_after=NOW + 3600,
    name="an auditor",
    principals=("root",),
    extensions=("permit-port-forwarding", "permit-pty"),
    serial=2**63 - 1,
    nonce=secrets.token_bytes(32),
    public_key=bytes(range(32)),
)
LINES = {"host": KEY.certify(HOST), "user": KEY.certify(USER)}


def keygen(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh-keygen", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=30,
        check=False,
        env={**os.environ, "TZ": "UTC"},
    )


def make_key(folder: Path, name: str) -> bytes:
    """Make a key pair of OpenSSH, and return the public key."""
    keygen("-q", "-t", "ed25519", "-N", "", "-f", name, folder=folder)
    return public_key_of((folder / f"{name}.pub").read_text())


def strings(blob: bytes) -> list[bytes]:
    """Return the strings of which ``blob`` consists (RFC 4251, 5)."""
    found = []
    while blob:
        (size,) = struct.unpack(">I", blob[:4])
        found.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return found


@pytest.mark.parametrize("kind", ["host", "user"])
def test_certificates_equal_those_of_ssh_keygen_byte_for_byte(tmp_path: Path, kind: str) -> None:
    """But for the nonce, which ssh-keygen draws: it is taken from what it made."""
    request: SshHost | SshUser = HOST if kind == "host" else USER
    authority = ed25519.point(make_key(tmp_path, "ca"))
    subject = make_key(tmp_path, "key")
    times = f"0x{request.not_before:x}:0x{request.not_after:x}"
    options = ["-h"] if kind == "host" else ["-O", "clear"]
    if isinstance(request, SshUser):
        options += [part for each in request.extensions for part in ("-O", each)]
    signed = keygen(
        *("-q", "-s", "ca", "-I", request.name, "-n", ",".join(request.principals)),
        *("-V", times, "-z", str(request.serial), *options, "key.pub"),
        folder=tmp_path,
    )
    assert signed.returncode == 0, signed.stderr
    made = (tmp_path / "key-cert.pub").read_text().split()[:2]
    blob = base64.b64decode(made[1])
    nonce = strings(blob[: 4 + 32 + 4 + 32])[1]
    asked = replace(request, public_key=subject, nonce=nonce)
    assert asked.assemble(authority, blob[-64:]).split()[:2] == made


def test_ssh_keygen_shows_what_a_joint_key_signed(tmp_path: Path) -> None:
    shown = {}
    for kind, line in LINES.items():
        (tmp_path / kind).write_text(line)
        shown[kind] = keygen("-L", "-f", kind, folder=tmp_path).stdout
    assert "user certificate" in shown["user"]
    assert "host certificate" in shown["host"]
    assert 'Key ID: "an auditor"' in shown["user"]
    assert all(each in shown["host"] for each in HOST.principals)
    assert "permit-pty" in shown["user"]


@settings(max_examples=20, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["host", "user"]))
def test_ssh_keygen_refuses_every_changed_bit(data: st.DataObject, kind: str, shared: Path) -> None:
    word, text = LINES[kind].split()[:2]
    blob = base64.b64decode(text)
    bit = data.draw(st.integers(0, 8 * len(blob) - 1))
    changed = base64.b64encode(flipped(blob, bit)).decode()
    (shared / "changed").write_text(f"{word} {changed}\n")
    assert keygen("-L", "-f", "changed", folder=shared).returncode != 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ssh")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """An sshd that one client reaches through a pipe, and both ends' files in ``folder``."""

    folder: Path

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)

    def login(self) -> subprocess.CompletedProcess[str]:
        """Log in to the host that calls itself ams3-0, with what is in the folder alone."""
        sshd = shlex.quote(shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin") or "sshd")
        config = shlex.quote(str(self.folder / "sshd_config"))
        # sshd needs its folder in /run, which is a memory of its own here
        inside = f"mount -t tmpfs none /run && mkdir /run/sshd && exec {sshd} -i -f {config}"
        options: Mapping[str, str] = {
            "ProxyCommand": f"unshare -m sh -c {shlex.quote(inside)}",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
            "HostKeyAlgorithms": "ssh-ed25519-cert-v01@openssh.com",
            "IdentityFile": str(self.folder / "client"),
            "CertificateFile": str(self.folder / "client-cert.pub"),
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return subprocess.run(
            ["ssh", "-F", "none", *words, "root@ams3-0", "anything"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    gate = Gate(folder=tmp_path)
    host, user = make_key(tmp_path, "host"), make_key(tmp_path, "client")
    gate.write("host-cert.pub", KEY.certify(replace(HOST, public_key=host)))
    gate.write("client-cert.pub", KEY.certify(replace(USER, public_key=user)))
    gate.write("ca.pub", f"{authority_line(KEY.public_key)}\n")
    gate.write("known_hosts", f"@cert-authority * {authority_line(KEY.public_key)}\n")
    locked = Path("/etc/shadow").read_text().startswith("root:!")
    gate.write(
        "sshd_config",
        f"HostKey {tmp_path}/host\nHostCertificate {tmp_path}/host-cert.pub\n"
        f"TrustedUserCAKeys {tmp_path}/ca.pub\nAuthorizedKeysFile none\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n"
        f"PidFile none\nForceCommand echo logged in\nUsePAM {'yes' if locked else 'no'}\n",
    )
    return gate


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="sshd logs in others as root alone")


@needs_root
def test_ssh_and_sshd_know_each_other_by_certificates_alone(gate: Gate) -> None:
    done = gate.login()
    assert done.stdout == "logged in\n", done.stderr


@needs_root
@pytest.mark.parametrize("place", ["nonce", "signature"])
@pytest.mark.parametrize("side", ["host", "client"])
def test_ssh_and_sshd_refuse_a_changed_bit(gate: Gate, side: str, place: str) -> None:
    word, text = (gate.folder / f"{side}-cert.pub").read_text().split()[:2]
    blob = base64.b64decode(text)
    bit = 8 * (4 + 32 + 4) if place == "nonce" else 8 * len(blob) - 9
    changed = base64.b64encode(flipped(blob, bit)).decode()
    gate.write(f"{side}-cert.pub", f"{word} {changed}\n")
    assert gate.login().returncode == 255


@needs_root
@pytest.mark.parametrize("side", ["host", "client"])
def test_ssh_and_sshd_refuse_who_has_no_certificate_of_this_authority(
    gate: Gate, side: str
) -> None:
    key = public_key_of((gate.folder / f"{side}.pub").read_text())
    request: SshHost | SshUser = HOST if side == "host" else USER
    gate.write(f"{side}-cert.pub", joint_key().certify(replace(request, public_key=key)))
    assert gate.login().returncode == 255


@pytest.mark.parametrize("principal", ["*", "ams3-?", "", "-oProxyCommand=x", "a,b", "a b"])
def test_principals_that_could_match_others_are_refused(principal: str) -> None:
    written = requests.encode(HOST).replace(b'"10.77.0.2"', f'"{principal}"'.encode())
    with pytest.raises(RequestError, match="principals"):
        requests.decode(written)
    with pytest.raises(RequestError, match="principals"):
        requests.decode(requests.encode(HOST).replace(b'["ams3-0","10.77.0.2","fd00::2"]', b"[]"))


def test_extensions_are_listed_once_in_their_order() -> None:
    for extensions in (("permit-pty", "permit-port-forwarding"), ("permit-pty", "permit-pty")):
        with pytest.raises(RequestError, match="extensions"):
            replace(USER, extensions=extensions)


def test_a_signature_that_is_not_the_authoritys_makes_no_certificate() -> None:
    for request in (HOST, USER):
        signature = KEY.sign(request.to_be_signed(KEY.public_key))
        with pytest.raises(RequestError, match="not the authority's"):
            request.assemble(KEY.public_key, flipped(signature, 3))


def test_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
    keygen("-q", "-t", "ecdsa", "-N", "", "-f", "other", folder=tmp_path)
    for text in ((tmp_path / "other.pub").read_text(), "", "ssh-ed25519 !", LINES["host"]):
        with pytest.raises(RequestError, match="public_key"):
            public_key_of(text)
