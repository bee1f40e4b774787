"""The label and the lease of a stack at DigitalOcean, as a resource.

It is made before anything else there and removed last. Whatever still carries the label then is
in no state, such as a droplet that was being made when `pulumi up` was killed.
"""

import secrets
import time
from pathlib import Path
from typing import Any

from pulumi import Output, ResourceOptions
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from e3.digitalocean import api, cleanup, names, record, spaces
from e3.digitalocean.names import Lease
from e3.providers import tell

HOUR_SECONDS = 3600


class MarkProvider(ResourceProvider):
    """Makes the tags, renews the lease, and removes what is left at the end."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make a label that was never used, and its lease."""
        label = _new_label(props)
        _note(label, props)
        lease = _lease(label, props)
        account = api.account()
        for tag in (label, lease.tag, *_spaces_tag(label, props)):
            account.tag(tag, [])
        return CreateResult(label, {**props, "label": label, "until": lease.until})

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Extend the lease of everything that carries the label."""
        _note(id, news)
        account, lease = api.account(), _lease(id, news)
        resources = [
            (resource.path.partition("s/")[0], resource.path.partition("/")[2])
            for resource in cleanup.find(account, id)
            if resource.path.startswith(("droplets/", "images/"))
        ]
        for tag in (id, lease.tag):
            account.tag(tag, resources)
        for tag in _spaces_tag(id, news):
            account.tag(tag, [])
        before = Lease(label=id, until=int(olds["until"]))
        if before != lease:
            account.delete(f"tags/{before.tag}")
        return UpdateResult({**news, "label": id, "until": lease.until})

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Renew the lease when its hours have changed, or half of them have passed."""
        del id
        left = float(olds["until"]) - time.time()
        inputs = ("hours", "folder", "spaces")
        changed = any(olds.get(key) != news.get(key) for key in inputs)
        return DiffResult(changes=changed or left < float(news["hours"]) * HOUR_SECONDS / 2)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Check whether the tags still exist; the stack keeps its label."""
        there = api.account().get(f"tags/{id_}") is not None
        return ReadResult(id_, props if there else {**props, "until": 0})

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002 - Pulumi's name
        """Remove what still carries the label, then the tags."""
        for what in cleanup.sweep(api.account(), id, props["spaces"]):
            if not what.startswith("tag "):
                tell(f"removed {what}, of which the state did not know")


def _new_label(props: dict[str, Any]) -> str:
    while True:
        digits = secrets.token_hex(names.DIGITS // 2)
        label = names.label(props["project"], props["stack"], digits)
        if not props["spaces"] or spaces.is_free(props["spaces"], label):
            return label


def _lease(label: str, props: dict[str, Any]) -> Lease:
    return Lease(label=label, until=int(time.time() + float(props["hours"]) * HOUR_SECONDS))


def _note(label: str, props: dict[str, Any]) -> None:
    entry = record.CloudRecord(label=label, spaces_region=props["spaces"])
    record.add(Path(props["folder"]), entry)


def _spaces_tag(label: str, props: dict[str, Any]) -> list[str]:
    return [names.spaces_tag(label, props["spaces"])] if props["spaces"] else []


class Mark(Resource, module="e3", name="CloudMark"):
    """The label of a stack at DigitalOcean, and the Unix time until which it may stay."""

    label: Output[str]
    until: Output[float]

    def __init__(  # noqa: PLR0913 - what a mark says
        self,
        name: str,
        *,
        project: str,
        stack: str,
        hours: float,
        folder: str,
        spaces: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the mark; ``folder`` has the stack's files, ``spaces`` is the bucket's region."""
        super().__init__(
            MarkProvider(),
            name,
            {
                "project": project,
                "stack": stack,
                "hours": hours,
                "folder": folder,
                "spaces": spaces,
                "label": None,
                "until": None,
            },
            opts,
        )

    @property
    def tags(self) -> list[Output[str]]:
        """The tags of everything that can have tags."""
        lease = Output.all(self.label, self.until).apply(
            lambda known: Lease(label=known[0], until=int(known[1])).tag
        )
        return [self.label, lease]
