"""A host of a lab as a resource."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider

from e3.access import host_from_properties, host_to_properties
from e3.access.namespace import NamespaceAccess
from e3.lab import client


class HostProvider(ResourceProvider):
    """Adds hosts to the lab."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the host; replace a host of that name that no state has."""
        lab = client.Lab(Path(props["folder"]))
        made = lab.add_host(props["host"], props["region"], props["nat"])
        host = made.host(python=str(client.PROJECT / ".venv" / "bin" / "python"))
        return CreateResult(
            f"{props['lab']}/{props['host']}", {**props, "made": host_to_properties(host)}
        )

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Replace the host if it has ended, or the lab is another."""
        del id
        inputs = ("lab", "host", "region", "nat")
        replaces = [key for key in inputs if olds.get(key) != news[key]]
        if not _alive(olds):
            replaces.append("made")
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=True)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Check whether the host still lives, and read its address."""
        if not _alive(props):
            return ReadResult(None, props)
        there = {host.name: host for host in client.Lab(Path(props["folder"])).hosts()}
        known = host_from_properties(props["made"])
        now = there[known.name]
        made = replace(known, underlay=now.underlay, underlay6=now.underlay6)
        return ReadResult(id_, {**props, "made": host_to_properties(made)})

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002 - Pulumi's name
        """Remove the host, if it still lives."""
        del id
        if _alive(props):
            client.Lab(Path(props["folder"])).remove_host(props["host"])


def _alive(props: Mapping[str, Any]) -> bool:
    access = host_from_properties(props["made"]).access
    return isinstance(access, NamespaceAccess) and access.alive()


class LabHost(Resource, module="e3", name="Host"):
    """A host of a lab; ``made`` has the properties of an `e3.interfaces.Host`."""

    made: Output[Mapping[str, Any]]

    def __init__(  # noqa: PLR0913 - what a host is made of, by keyword
        self,
        name: str,
        *,
        lab: Input[str],
        folder: Input[str],
        region: str,
        nat: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare host ``name`` in ``region``; ``nat`` is what `e3.nats.to_text` writes."""
        super().__init__(
            HostProvider(),
            name,
            {
                "lab": lab,
                "folder": folder,
                "host": name,
                "region": region,
                "nat": nat,
                "made": None,
            },
            opts,
        )
