"""A machine of an inventory as a resource: made ready for a party, and left as it was."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from e3.access import host_to_properties
from e3.errors import HostError
from e3.interfaces import Host, Needs
from e3.inventory import provision, tools
from e3.inventory.survey import Facts
from e3.nats import Reachability
from e3.overlays import OVERLAYS
from e3.providers import run, tell

KEPT = ("host", "region", "reachability", "owner")
"""The inputs that, besides its facts, require a machine to be made anew."""


class InventoryHostProvider(ResourceProvider):
    """Installs on a machine what a party needs, and removes it again."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Claim the machine and make it ready; undo that if it fails."""
        facts = _facts(props)

        async def make() -> provision.Provisioned:
            await provision.claim(facts.access, props["owner"])
            try:
                return await _provision(props)
            except BaseException:
                await provision.remove(facts.access, props["owner"])
                raise

        return CreateResult(f"{props['owner']}/{props['host']}", _made(props, run(make())))

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002
        """Install what another overlay or another lock needs."""
        del id, olds
        return UpdateResult(_made(news, run(_provision(news))))

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002
        """Compare the machine, and what must be on it."""
        del id
        replaces = [key for key in KEPT if olds.get(key) != news[key]]
        if _identity(olds) != _identity(news):
            replaces.append("facts")
        changed = any(olds.get(key) != news[key] for key in ("facts", "programs", "lock"))
        return DiffResult(
            changes=changed or bool(replaces), replaces=replaces, delete_before_replace=True
        )

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Check for a reboot or missing files; a machine that does not answer stays as it is."""
        facts = _facts(props)
        try:
            boot = props["made"]["access"]["boot"]
            whole = run(provision.is_whole(facts.access, facts.version, props["owner"], boot))
        except (HostError, TimeoutError) as error:
            tell(f"cannot look at it: {error}")
            whole = True
        return ReadResult(id_ if whole else None, props)

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002
        """Leave the machine as it was; `e3 verify-gone` reports one that does not answer."""
        del id
        facts = _facts(props)
        try:
            run(provision.remove(facts.access, props["owner"]))
        except (HostError, TimeoutError) as error:
            tell(f"{error}; E3's files stay there")
            provision.note_left(Path(props["folder"]), facts.access, str(error))


async def _provision(props: Mapping[str, Any]) -> provision.Provisioned:
    facts = _facts(props)
    files = tools.files(_needs(props), facts.system, provision.TOOLS)
    return await provision.provision(facts.access, facts.version, files, facts.lacking)


def _made(props: Mapping[str, Any], ready: provision.Provisioned) -> dict[str, Any]:
    facts = _facts(props)
    host = Host(
        name=props["host"],
        region=props["region"],
        system=facts.system,
        underlay=facts.underlay,
        reachability=props["reachability"],
        python=ready.python,
        tools=ready.tools,
        access=replace(facts.access, boot=ready.boot),
    )
    return {**props, "made": host_to_properties(host)}


def _facts(props: Mapping[str, Any]) -> Facts:
    return msgspec.convert(props["facts"], Facts, strict=False)


def _identity(props: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how and as which user the machine is reached; if that changes, all is made anew."""
    access = dict((props.get("facts") or {}).get("access", {}))
    return {key: access.get(key) for key in ("address", "port", "user", "sudo", "own")}


def _needs(props: Mapping[str, Any]) -> Needs:
    return OVERLAYS[props["overlay"]].needs


class InventoryHost(Resource, module="e3", name="InventoryHost"):
    """A machine that is ready; ``made`` has the properties of an `e3.interfaces.Host`."""

    made: Output[Mapping[str, Any]]

    def __init__(  # noqa: PLR0913 - what makes a machine ready, by keyword
        self,
        name: str,
        *,
        region: str,
        reachability: Reachability,
        facts: Input[Mapping[str, Any]],
        overlay: str,
        owner: str,
        folder: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare host ``name``; ``facts`` are the survey's, ``owner`` names the stack.

        Its files on this machine are in ``folder``.
        """
        super().__init__(
            InventoryHostProvider(),
            name,
            {
                "host": name,
                "region": region,
                "reachability": reachability,
                "facts": facts,
                "overlay": overlay,
                "programs": tools.digest(OVERLAYS[overlay].needs),
                "lock": provision.lock_digest(),
                "owner": owner,
                "folder": folder,
                "made": None,
            },
            opts,
        )
