"""Certificates for OpenSSH, of hosts and of the deployer, signed by the holders of a joint key.

A client that has a line ``@cert-authority`` with that key needs no host key, and no first contact
on trust. Hosts that have it in TrustedUserCAKeys admit who has a certificate, and no other key.
"""

import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from e3 import private
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.requests import SshHost, SshUser
from e3.authority.joint.requests.ssh import authority_line, public_key_of
from e3.ceremonies.signer import JointSigner
from e3.errors import AuthorityError
from e3.interfaces import File, Host, SshFiles
from e3.remote.tasks import gather_or_cancel

PURPOSE = "ssh"
USER, LOGIN = "deployer", "root"
"""The name in the deployer's certificate, and the user as whom it logs in."""

SECONDS = 30 * 86_400
"""How long a certificate is valid; it is renewed in the last third."""

EARLIER_SECONDS = 3000
"""Certificates are valid from this long ago: clocks may be slow."""

FILE_SECONDS = 30.0


def key_text(public_key: bytes) -> str:
    """Return the authority's key as OpenSSH writes it."""
    return authority_line(Point(public_key))


async def certify(signer: JointSigner, hosts: Sequence[Host], files: SshFiles) -> int:
    """Give each host a certificate for its name, and the client one as root; return their end.

    From then on sshd of these hosts admits certificates of this authority alone.
    """
    begins = int(time.time()) - EARLIER_SECONDS
    ends = begins + SECONDS
    keys = await gather_or_cancel(_host_key(host, files.host_key) for host in hosts)
    asked = [
        SshHost(
            name=host.name,
            principals=(host.name,),
            nonce=secrets.token_bytes(32),
            public_key=key,
            not_before=begins,
            not_after=ends,
        )
        for host, key in zip(hosts, keys, strict=True)
    ]
    user = SshUser(
        name=USER,
        principals=(LOGIN,),
        extensions=("permit-agent-forwarding", "permit-port-forwarding", "permit-pty"),
        nonce=secrets.token_bytes(32),
        public_key=_client_key(files),
        not_before=begins,
        not_after=ends,
    )
    *certificates, own = await signer.sign([*asked, user])
    private.write(_client_certificate(files), own)
    authority = key_text(signer.public_key)
    await gather_or_cancel(
        host.access.put(_host_files(files.folder, text, authority), timeout_seconds=FILE_SECONDS)
        for host, text in zip(hosts, certificates, strict=True)
    )
    return ends


def forget(files: SshFiles) -> None:
    """Remove the client's certificate."""
    _client_certificate(files).unlink(missing_ok=True)


def _client_certificate(files: SshFiles) -> Path:
    """Return where ssh looks for the certificate of a key by itself."""
    return Path(f"{files.client_key}-cert.pub")


def _host_files(folder: str, certificate: str, authority: str) -> list[File]:
    lines = (
        f"HostCertificate {folder}/host-cert.pub",
        f"TrustedUserCAKeys {folder}/authority.pub",
        "AuthorizedKeysFile none",
    )
    contents = {
        "host-cert.pub": certificate,
        "authority.pub": f"{authority}\n",
        "sshd.conf": "".join(f"{line}\n" for line in lines),
    }
    return [File(path=f"{folder}/{name}", content=text.encode()) for name, text in contents.items()]


def _client_key(files: SshFiles) -> bytes:
    return _read("this machine", Path(f"{files.client_key}.pub").read_bytes())


async def _host_key(host: Host, path: str) -> bytes:
    found = await host.access.get([path], timeout_seconds=FILE_SECONDS)
    if path not in found:
        raise AuthorityError(f"host {host.name} has no SSH key in {path}")
    return _read(f"host {host.name}", found[path])


def _read(where: str, line: bytes) -> bytes:
    try:
        return public_key_of(line.decode(errors="replace"))
    except CeremonyError as error:
        raise AuthorityError(f"the SSH key of {where}: {error}") from None
