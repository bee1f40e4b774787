"""Remove droplets of a stack that an interrupted `pulumi up` has lost.

If the engine is killed while a droplet is being made, no state ever names that droplet, and
the next `up` makes another one of the same name. This removes the first.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from e3.digitalocean import api
from e3.providers import tell


class CensusProvider(ResourceProvider):
    """Compares the account's droplets of a label with those of the state."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Remove doubles."""
        _remove(props["label"], props["droplets"], known=[])
        return CreateResult(props["label"], dict(props))

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Remove doubles; the engine removes earlier droplets later."""
        del id
        _remove(news["label"], news["droplets"], known=olds["droplets"])
        return UpdateResult(dict(news))

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Check again when the droplets change."""
        del id
        return DiffResult(changes=olds["droplets"] != news["droplets"])


def _remove(label: str, droplets: Sequence[str], known: Iterable[str]) -> None:
    account = api.account()
    rows = account.all(f"droplets?tag_name={label}", "droplets")
    ours = {str(row["name"]) for row in rows if str(row["id"]) in droplets}
    for row in rows:
        if row["name"] in ours and str(row["id"]) not in {*droplets, *known}:
            account.delete(f"droplets/{row['id']}")
            tell(f"removed a second droplet {row['name']}, unknown to the state")


class Census(Resource, module="e3", name="CloudCensus"):
    """A check of droplets by their ids."""

    def __init__(
        self,
        name: str,
        *,
        label: Input[str],
        droplets: Sequence[Input[str]],
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the census."""
        super().__init__(CensusProvider(), name, {"label": label, "droplets": droplets}, opts)
