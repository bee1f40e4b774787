"""A region of a lab as a resource: its router, and its links to the other regions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from e3.lab import client


class RegionProvider(ResourceProvider):
    """Adds regions to the lab and sets their round-trip times, which are then measured."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Add the region."""
        lab = client.Lab(Path(props["folder"]))
        lab.add_region(props["region"])
        _set(lab, props)
        return CreateResult(f"{props['lab']}/{props['region']}", dict(props))

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Set other round-trip times."""
        del id, olds
        _set(client.Lab(Path(news["folder"])), news)
        return UpdateResult(dict(news))

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Compare the round-trip times; another lab needs another region."""
        del id
        replaces = [key for key in ("lab", "region") if olds[key] != news[key]]
        return DiffResult(
            changes=bool(replaces) or olds["rttMs"] != news["rttMs"],
            replaces=replaces,
            delete_before_replace=True,
        )

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002 - Pulumi's name
        """Remove the region, if its lab still runs."""
        del id
        lab = client.Lab(Path(props["folder"]))
        if lab.alive():
            lab.remove_region(props["region"])


def _set(lab: client.Lab, props: Mapping[str, Any]) -> None:
    lab.set_rtt({(props["region"], other): float(rtt) for other, rtt in props["rttMs"].items()})


class Region(Resource, module="e3", name="Region"):
    """A region of a lab."""

    def __init__(
        self,
        name: str,
        *,
        lab: Input[str],
        folder: Input[str],
        rtt_ms: Mapping[str, float],
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare region ``name``; ``rtt_ms`` has its round-trip times that differ by region."""
        super().__init__(
            RegionProvider(),
            name,
            {"lab": lab, "folder": folder, "region": name, "rttMs": rtt_ms},
            opts,
        )
