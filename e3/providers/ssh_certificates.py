"""Certificates of a stack's hosts for OpenSSH, as one resource."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from e3.access import host_from_properties
from e3.ceremonies import ssh
from e3.ceremonies.signer import JointSigner
from e3.errors import HostError
from e3.interfaces import Host, SshFiles
from e3.providers import run
from e3.remote.tasks import gather_or_cancel

MARGIN_SECONDS = ssh.SECONDS / 3
REMOVE_SECONDS = 10.0
INPUTS = ("hosts", "key", "files")


class SshCertificatesProvider(ResourceProvider):
    """Hosts and the deployer with certificates that the holders signed, in their places."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Certify all hosts; the id is the authority's key."""
        return CreateResult(props["key"], _certify(props))

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002
        """Certify all hosts anew."""
        del id, olds
        return UpdateResult(_certify(news))

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002
        """Compare hosts and authority; look whether the certificates end soon."""
        del id
        due = time.time() > olds["notAfter"] - MARGIN_SECONDS
        return DiffResult(changes=due or any(olds.get(key) != news.get(key) for key in INPUTS))

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002
        """Remove the certificates; hosts that still exist admit the plain key again."""
        del id
        files = SshFiles(**props["files"])
        ssh.forget(files)
        run(_remove(_hosts(props), files.folder))


def _certify(props: Mapping[str, Any]) -> dict[str, Any]:
    joint = props["authority"]["joint"]
    signer = JointSigner(
        folder=Path(joint["folder"]),
        purpose=joint["purpose"],
        public_key=bytes.fromhex(joint["publicKey"]),
        hosts=[host_from_properties(host) for host in joint["hosts"]],
    )
    files = SshFiles(**props["files"])
    not_after = run(ssh.certify(signer, _hosts(props), files))
    public = {key: props[key] for key in INPUTS}
    return {**public, "notAfter": not_after}


async def _remove(hosts: Sequence[Host], path: str) -> None:
    async def one(host: Host) -> None:
        with suppress(HostError, TimeoutError):  # a host that is gone has none
            await host.access.run(["rm", "-rf", path], timeout_seconds=REMOVE_SECONDS)

    await gather_or_cancel(map(one, hosts))


def _hosts(props: Mapping[str, Any]) -> list[Host]:
    return [host_from_properties(host) for host in props["hosts"]]


class SshCertificates(Resource, module="e3", name="SshCertificates"):
    """A certificate on each host, and one of the deployer, by which OpenSSH knows both."""

    def __init__(
        self,
        name: str,
        *,
        hosts: Sequence[Input[Mapping[str, Any]]],
        authority: Mapping[str, Input[Any]],
        files: Mapping[str, str],
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare them; ``files`` are the fields of `SshFiles`."""
        super().__init__(
            SshCertificatesProvider(),
            name,
            {
                "hosts": hosts,
                "authority": authority,
                "key": authority["certificate"],
                "files": files,
                "notAfter": None,
            },
            opts,
        )
