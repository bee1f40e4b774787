"""An overlay as one resource, which connects all hosts of a stack with its own concurrency."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
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

from e3 import contact
from e3.access import host_from_properties
from e3.ceremonies.given import overlay_authority
from e3.errors import E3Error, HostError
from e3.experiment import Choice
from e3.interfaces import Host, Network, Overlay
from e3.inventory import tools
from e3.overlays import OVERLAYS, strong_host
from e3.providers import run
from e3.registry import build
from e3.remote.tasks import beside, gather_or_cancel

LOOK_SECONDS = 10.0


class OverlayProvider(ResourceProvider):
    """Calls `Overlay.connect`, checks that every pair exchanges data, and stores the result."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Join the hosts for the first time."""
        return CreateResult(props["kind"], run(_connect(props, None)))

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002
        """Connect the present hosts; exclude those that left."""
        del id
        return UpdateResult(run(_update(olds, news)))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Check that all pairs still exchange data; if not, the next update connects them again."""
        return ReadResult(id_, props if run(_talks(props)) else {**props, "silent": True})

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002
        """Remove the overlay from the hosts that still exist."""
        del id
        run(_leave(props, _hosts(props), _network(props)))

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002
        """Compare hosts, options, authority and programs; check whether a renewal is due."""
        del id
        inputs = ("options", "hosts", "authority", "programs")
        changed = any(olds.get(key) != _public(news).get(key) for key in inputs)
        renew_after = olds.get("renewAfter")
        due = renew_after is not None and time.time() > renew_after
        due = due or bool(olds.get("silent"))
        replaces = ["kind"] if olds["kind"] != news["kind"] else []
        return DiffResult(
            changes=changed or due or bool(replaces),
            replaces=replaces,
            delete_before_replace=True,
        )


async def _connect(props: Mapping[str, Any], previous: Network | None) -> dict[str, Any]:
    overlay, hosts = _overlay(props), _hosts(props)
    given = props.get("authority")  # Pulumi drops what is None
    authority = overlay_authority(given) if given else None
    start = time.monotonic()
    try:
        network = await overlay.connect(hosts, authority, previous)
        enforcing = strong_host.enforce(props["kind"], overlay.needs, hosts, network)
        async with beside(enforcing) as enforced:
            paths = await contact.verify_pairs(
                overlay,
                hosts,
                network,
                timeout_seconds=contact.limit_seconds(len(hosts)),
                since=start,
            )
            await enforced
        setup_seconds = time.monotonic() - start
        paths = await contact.wait_for_direct(overlay, hosts, network, paths, since=start)
    except BaseException:
        if previous is None:
            await _leave(props, hosts, Network(addresses={}))
        raise
    return {
        **_public(props),
        "addresses": network.addresses,
        "memory": network.memory,
        "renewAfter": network.renew_after,
        "paths": [asdict(path) for path in paths],
        "setupSeconds": round(setup_seconds, 3),
        "settledSeconds": round(time.monotonic() - start, 3),
    }


async def _talks(props: Mapping[str, Any]) -> bool:
    """Return whether every pair of hosts is found to exchange data."""
    overlay, hosts, network = _overlay(props), _hosts(props), _network(props)
    try:
        found = await contact.survey(overlay, hosts, network, timeout_seconds=LOOK_SECONDS)
    except (E3Error, TimeoutError):
        return False
    return not found.silent


async def _update(olds: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    staying = {host.access for host in _hosts(news)}
    leaving = [host for host in _hosts(olds) if host.access not in staying]
    previous = _network(olds)
    await _leave(olds, leaving, previous)
    return await _connect(news, previous)


async def _leave(props: Mapping[str, Any], hosts: Sequence[Host], network: Network) -> None:
    overlay = _overlay(props)

    async def one(host: Host) -> None:
        with suppress(HostError, TimeoutError):  # a host that is gone has nothing left to remove
            await overlay.disconnect([host], network)
            await strong_host.lift(props["kind"], overlay.needs, [host])

    await gather_or_cancel(map(one, hosts))


def _public(props: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that the outputs may contain: no secret, not the authority's key."""
    authority = props.get("authority")
    return {
        "kind": props["kind"],
        "options": props["options"],
        "hosts": props["hosts"],
        "authority": {"certificate": authority["certificate"]} if authority else None,
        "programs": props["programs"],
    }


def _overlay(props: Mapping[str, Any]) -> Overlay:
    options = {**props["options"], **(props.get("secrets") or {})}
    return build(OVERLAYS, Choice(name=props["kind"], options=options), key="overlay")


def _hosts(props: Mapping[str, Any]) -> list[Host]:
    return [host_from_properties(host) for host in props["hosts"]]


def _network(props: Mapping[str, Any]) -> Network:
    return msgspec.convert(
        {
            "addresses": props["addresses"],
            "memory": props.get("memory") or {},
            "renew_after": props.get("renewAfter"),
        },
        Network,
    )


class JoinedOverlay(Resource, module="e3", name="Overlay"):
    """The hosts of a stack, joined.

    ``addresses`` gives the overlay address by host name, ``memory`` what the overlay itself keeps,
    ``paths`` the path of each ordered pair as properties of `e3.paths.PairPath`.
    """

    addresses: Output[dict[str, str]]
    memory: Output[dict[str, Any]]
    paths: Output[list[dict[str, Any]]]

    def __init__(  # noqa: PLR0913 - what a resource is made of
        self,
        name: str,
        *,
        choice: Choice,
        hosts: Sequence[Input[Mapping[str, Any]]],
        authority: Mapping[str, Input[Any]] | None,
        secrets: Mapping[str, Input[str]] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the overlay over ``hosts``, each the properties of a host.

        ``secrets`` are options that the outputs do not contain; when only they change, nothing is
        done. When the programs change, as by an update of E3, all hosts are connected again.
        """
        super().__init__(
            OverlayProvider(),
            name,
            {
                "kind": choice.name,
                "options": choice.options,
                "hosts": hosts,
                "authority": authority,
                "secrets": secrets,
                "programs": tools.digest(OVERLAYS[choice.name].needs),
                "addresses": None,
                "memory": None,
                "renewAfter": None,
                "paths": None,
                "setupSeconds": None,
                "settledSeconds": None,
            },
            opts,
        )
