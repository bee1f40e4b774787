"""The first contact with the droplets of a stack as one resource with its own concurrency."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from e3.access import host_to_properties
from e3.digitalocean.contact import Droplet, host, wait_for_answers
from e3.errors import HostError
from e3.interfaces import Host
from e3.inventory import provision, tools
from e3.inventory.machines import Machine
from e3.inventory.survey import Facts, survey
from e3.overlays import OVERLAYS
from e3.providers import run, tell
from e3.remote.tasks import gather_or_cancel

SETTLE = "command -v cloud-init >/dev/null && cloud-init status --wait >/dev/null; true"
"""Wait until cloud-init has installed what user data names; some images have no cloud-init."""

SETTLE_SECONDS = 600.0


class ContactProvider(ResourceProvider):
    """Waits until every droplet answers."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Wait for all."""
        droplets = msgspec.convert(props["droplets"], list[Droplet])
        hosts = run(_hosts(droplets, props["overlay"], float(props["seconds"])))
        return CreateResult("met", {**props, "hosts": [host_to_properties(h) for h in hosts]})

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Wait for all droplets, also for earlier ones."""
        del id, olds
        return UpdateResult(self.create(news).outs)

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Compare the droplets and the overlay."""
        del id
        return DiffResult(changes=any(olds[key] != news[key] for key in ("droplets", "overlay")))


async def _hosts(droplets: Sequence[Droplet], overlay: str, seconds: float) -> list[Host]:
    images = await wait_for_answers(droplets, seconds=seconds, said=tell)
    plain = [it for it, image in zip(droplets, images, strict=True) if image is None]
    made = await _provision(plain, overlay) if plain else []
    made += await gather_or_cancel(
        _carrying(host(droplet, image), overlay, image.overlays)
        for droplet, image in zip(droplets, images, strict=True)
        if image is not None
    )
    by_name = {it.name: it for it in made}
    return [by_name[droplet.host] for droplet in droplets]


async def _carrying(host: Host, overlay: str, carried: Sequence[str]) -> Host:
    """Return the host with a folder of tools that has the overlay's programs.

    If its image lacks them, for example as nixpkgs has an older version, it is sent E3's own.
    """
    needs = OVERLAYS[overlay].needs
    if overlay in carried or not needs.tools:
        return host
    if absent := tools.missing_tools(needs, host.system):
        raise HostError(f"the image of host {host.name} does not carry {overlay}, and {absent}")
    files = tools.files(needs, host.system, provision.TOOLS)
    await host.access.put(files, timeout_seconds=provision.SEND_SECONDS)
    return replace(host, tools=provision.TOOLS)


async def _provision(droplets: Sequence[Droplet], overlay: str) -> list[Host]:
    """Install what a party needs on droplets of a plain image, such as Debian's."""
    needs = OVERLAYS[overlay].needs
    machines = {
        it.host: Machine(
            host=it.host, address=it.address, user="root", key=it.key, host_key=it.host_key
        )
        for it in droplets
    }
    tell(f"{len(machines)} droplets get the party environment, as their image does not have it")
    settled = (it.access.shell(SETTLE, timeout_seconds=SETTLE_SECONDS) for it in droplets)
    await gather_or_cancel(settled)
    known = await survey(machines, needs, install_packages=True)

    async def one(droplet: Droplet, facts: Facts) -> Host:
        files = tools.files(needs, facts.system, provision.TOOLS)
        ready = await provision.provision(facts.access, facts.version, files, facts.lacking)
        return Host(
            name=droplet.host,
            region=droplet.region,
            system=facts.system,
            underlay=droplet.address,
            reachability="public",
            python=ready.python,
            tools=ready.tools,
            access=facts.access,
        )

    return await gather_or_cancel(one(it, known[it.host]) for it in droplets)


class Contact(Resource, module="e3", name="CloudContact"):
    """Droplets that answer; ``hosts`` has the properties of a `Host` each, in order."""

    hosts: Output[Sequence[Mapping[str, Any]]]

    def __init__(
        self,
        name: str,
        *,
        droplets: Sequence[Input[Mapping[str, Any]]],
        overlay: str,
        seconds: float,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the contact; ``droplets`` are properties of a `Droplet`, all have ``seconds``.

        Those of a plain image get what ``overlay`` needs, and the party environment.
        """
        super().__init__(
            ContactProvider(),
            name,
            {"droplets": droplets, "overlay": overlay, "seconds": seconds, "hosts": None},
            opts,
        )
