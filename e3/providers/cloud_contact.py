"""The first contact with the droplets of a stack as one resource, with concurrency of its own."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from e3.access import host_to_properties
from e3.digitalocean.contact import Droplet, meet
from e3.providers import run


class ContactProvider(ResourceProvider):
    """Waits until every droplet answers."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Wait for all."""
        droplets = msgspec.convert(props["droplets"], list[Droplet])
        hosts = run(meet(droplets, seconds=float(props["seconds"]), said=_say))
        return CreateResult("met", {**props, "hosts": [host_to_properties(h) for h in hosts]})

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Wait for all, also for those that were there."""
        del id, olds
        return UpdateResult(self.create(news).outs)

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Compare who is to be met."""
        del id
        return DiffResult(changes=olds["droplets"] != news["droplets"])


def _say(text: str) -> None:
    # the engine shows what a provider writes there
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class Contact(Resource, module="e3", name="CloudContact"):
    """Droplets that answer; ``hosts`` has the properties of a `Host` each, in order."""

    hosts: Output[Sequence[Mapping[str, Any]]]

    def __init__(
        self,
        name: str,
        *,
        droplets: Sequence[Input[Mapping[str, Any]]],
        seconds: float,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the contact; ``droplets`` are properties of a `Droplet`, all have ``seconds``."""
        super().__init__(
            ContactProvider(),
            name,
            {"droplets": droplets, "seconds": seconds, "hosts": None},
            opts,
        )
