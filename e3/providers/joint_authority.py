"""The joint authority of a stack as a resource: its key is in shares of hosts, and in no state."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from e3.access import host_from_properties
from e3.authority.joint.policy import Scope
from e3.ceremonies.authority import Established, Wanted, establish
from e3.ceremonies.kinds import KINDS
from e3.ceremonies.removal import remove
from e3.interfaces import Host
from e3.providers import run

VALID_SECONDS = 10 * 365 * 86_400
RENEWAL_SECONDS = 365 * 86_400

FIRST_VERSION = 2
"""Of certificates of authorities in states that do not say it."""

INPUTS = ("holders", "threshold", "scope", "hosts")


class JointAuthorityProvider(ResourceProvider):
    """Makes a key with the hosts, and new shares of it when hosts or terms change."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the key and its certificate; the id is the public key in hexadecimal."""
        outs = _establish(props, _hosts(props), None)
        return CreateResult(outs["publicKey"], outs)

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002
        """Make new shares of the same key; hosts that hold it no longer remove theirs."""
        hosts = _hosts(news)
        staying = {host.access for host in hosts}
        leaving = [host for host in _hosts(olds) if host.access not in staying]
        # those who leave may be needed to deal; one that was made anew is here under its name
        names = {host.name for host in hosts}
        dealing = [host for host in leaving if host.name not in names]
        outs = _establish(news, [*hosts, *dealing], bytes.fromhex(id))
        run(remove(leaving, news["purpose"]))
        return UpdateResult(outs)

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002
        """Remove all shares from the hosts that still exist."""
        del id
        run(remove(_hosts(props), props["purpose"]))

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002
        """Compare what is agreed; look whether new shares, or a new authority, are due."""
        del id
        ends = time.time() > olds["notAfter"] - RENEWAL_SECONDS
        # a refresh compares with inputs of the state, which may be of before there were versions
        other = olds.get("version", FIRST_VERSION) != news.get("version", FIRST_VERSION)
        replaces = ["title"] if ends or other or olds["title"] != news["title"] else []
        due = time.time() > olds["made"] + float(news["refreshSeconds"])
        changed = any(olds.get(key) != news.get(key) for key in INPUTS)
        return DiffResult(
            changes=changed or due or bool(replaces), replaces=replaces, delete_before_replace=True
        )


def _establish(
    props: Mapping[str, Any], hosts: Sequence[Host], known: bytes | None
) -> dict[str, Any]:
    request, title = KINDS[props["purpose"]].request, props["title"]
    wanted = Wanted(
        purpose=props["purpose"],
        threshold=int(props["threshold"]),
        holders=tuple(props["holders"]),
        scope=msgspec.convert(_whole(props["scope"]), Scope),
        refresh_seconds=float(props["refreshSeconds"]),
        request=None
        if request is None
        else partial(request, title, VALID_SECONDS, int(props["version"])),
    )
    made = run(establish(Path(props["folder"]), wanted, hosts, known))
    return {**props, **_outputs(made)}


def _outputs(made: Established) -> dict[str, Any]:
    text = KINDS[made.header.purpose].text
    certificate = made.certificate.text if made.certificate else text(made.header.public_key)
    return {
        "certificate": certificate,
        "publicKey": made.header.public_key.hex(),
        "transcript": made.header.transcript.hex(),
        "epoch": made.header.epoch,
        "made": made.header.made,
        "notAfter": made.not_after,
    }


def _whole(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return a scope with its numbers whole: in Pulumi's state each is a float."""
    return {**scope, "most_seconds": int(scope["most_seconds"])}


def _hosts(props: Mapping[str, Any]) -> list[Host]:
    return [host_from_properties(host) for host in props["hosts"]]


class JointAuthority(Resource, module="e3", name="JointAuthority"):
    """An authority whose key is in shares of hosts; ``certificate`` and ``publicKey`` are public.

    ``transcript`` is the digest of all that the holders saw while shares were made: each host has
    the same, unless somebody between them changed what was passed on.
    """

    certificate: Output[str]
    publicKey: Output[str]  # noqa: N815 - a property of state

    def __init__(  # noqa: PLR0913 - what an authority is made of
        self,
        name: str,
        *,
        purpose: str,
        title: Input[str],
        hosts: Sequence[Input[Mapping[str, Any]]],
        holders: Sequence[str],
        threshold: int,
        scope: Mapping[str, object],
        refresh_seconds: float,
        folder: Path,
        version: int,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the authority; ``hosts`` are those named in ``holders``.

        ``version`` is that of the encoding of its certificates.
        """
        super().__init__(
            JointAuthorityProvider(),
            name,
            {
                "purpose": purpose,
                "title": title,
                "hosts": hosts,
                "holders": list(holders),
                "threshold": threshold,
                "scope": scope,
                "refreshSeconds": refresh_seconds,
                "folder": str(folder),
                "version": version,
                "certificate": None,
                "publicKey": None,
                "transcript": None,
                "epoch": None,
                "made": None,
                "notAfter": None,
            },
            opts,
        )
