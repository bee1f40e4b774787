"""Certificates of hosts for OpenSSH, signed by the holders of a joint key.

A client that has a line ``@cert-authority`` with that key needs no host key, and no first contact
on trust.
"""

import secrets
import time
from collections.abc import Sequence

from e3.authority.joint.ed25519 import Point
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.requests import SshHost
from e3.authority.joint.requests.ssh import authority_line, public_key_of
from e3.ceremonies.signer import JointSigner
from e3.errors import AuthorityError
from e3.interfaces import File, Host, HostKeyFiles
from e3.remote.tasks import gather_or_cancel

PURPOSE = "ssh"
SECONDS = 30 * 86_400
"""How long a certificate is valid; it is renewed in the last third."""

EARLIER_SECONDS = 3000
"""Certificates are valid from this long ago: clients' clocks may be slow."""

FILE_SECONDS = 30.0


def key_text(public_key: bytes) -> str:
    """Return the authority's key as OpenSSH writes it."""
    return authority_line(Point(public_key))


async def certify(signer: JointSigner, hosts: Sequence[Host], files: HostKeyFiles) -> int:
    """Give each host a certificate for its host key, and its name; return when they end."""
    now = int(time.time())
    keys = await gather_or_cancel(_public_key(host, files.public_key) for host in hosts)
    asked = [
        SshHost(
            name=host.name,
            principals=(host.name,),
            nonce=secrets.token_bytes(32),
            public_key=key,
            not_before=now - EARLIER_SECONDS,
            not_after=now - EARLIER_SECONDS + SECONDS,
        )
        for host, key in zip(hosts, keys, strict=True)
    ]
    certificates = await signer.sign(asked)
    await gather_or_cancel(
        host.access.put(
            [File(path=files.certificate, content=text.encode())], timeout_seconds=FILE_SECONDS
        )
        for host, text in zip(hosts, certificates, strict=True)
    )
    return now - EARLIER_SECONDS + SECONDS


async def _public_key(host: Host, path: str) -> bytes:
    found = await host.access.get([path], timeout_seconds=FILE_SECONDS)
    try:
        return public_key_of(found[path].decode(errors="replace"))
    except KeyError:
        raise AuthorityError(f"host {host.name} has no SSH key in {path}") from None
    except CeremonyError as error:
        raise AuthorityError(f"the SSH key of host {host.name}: {error}") from None
