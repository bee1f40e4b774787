"""What the links of a lab do to packets, as a resource of its own: its regions come first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from e3.impairments import ONE_WAY, Impairment
from e3.lab import client


class LinksProvider(ResourceProvider):
    """Sets the impairment of every ordered pair of regions at once."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Set them."""
        _set(props["folder"], props["links"])
        return CreateResult(f"{props['lab']}/links", dict(props))

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Set others."""
        del id, olds
        _set(news["folder"], news["links"])
        return UpdateResult(dict(news))

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Compare them, and the regions, which come anew without any; so does another lab."""
        del id
        replaces = ["lab"] if olds["lab"] != news["lab"] else []
        changes = bool(replaces) or any(olds[key] != news[key] for key in ("links", "regions"))
        return DiffResult(changes=changes, replaces=replaces, delete_before_replace=True)

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002 - Pulumi's name
        """Let every link be as it was, if its lab still runs."""
        del id
        if client.Lab(Path(props["folder"])).alive():
            _set(props["folder"], {})


def _set(folder: str, links: Mapping[str, Mapping[str, float]]) -> None:
    table = {}
    for pair, values in links.items():
        one, _, other = pair.partition(ONE_WAY)
        table[one, other] = Impairment(**values)
    client.Lab(Path(folder)).impair(table)


class Links(Resource, module="e3", name="Links"):
    """The links of a lab, by ordered pair of regions."""

    def __init__(  # noqa: PLR0913 - what links are made of, by keyword
        self,
        name: str,
        *,
        lab: Input[str],
        folder: Input[str],
        regions: Sequence[Input[str]],
        links: Mapping[str, Mapping[str, float]],
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the links; ``regions`` are the regions' ids.

        ``links`` has the properties of an `Impairment` that differ from the defaults, by
        ``<region>-><region>``.
        """
        super().__init__(
            LinksProvider(),
            name,
            {"lab": lab, "folder": folder, "regions": regions, "links": links},
            opts,
        )
