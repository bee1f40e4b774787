"""The stand-in cloud as a whole: what tests start, break, ask, and compare with the state."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.cloud import api, spaces
from tests.cloud.account import REGIONS, Account
from tests.cloud.faults import Faults
from tests.cloud.room import Room, room

ROOT = Path(__file__).parents[2]
TOKEN = "dop_v1_" + 64 * "0"
KEY, SECRET = "DO00EXAMPLE", "example-secret"

Inventory = Mapping[str, frozenset[str]]
"""What exists at the cloud: ids, by the type of Pulumi's resource that stands for it."""


class Service(Protocol):
    """A part of the cloud, such as an API with its account."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What Pulumi's environment says of it."""

    def inventory(self) -> Inventory:
        """Return all that exists, in types that no other service has."""


@dataclass
class DigitalOcean:
    """The API of an account and its Spaces, each at its URL."""

    account: Account
    spaces: spaces.Spaces
    room: Room
    api_url: str
    spaces_url: str
    keys: int = 0

    @property
    def environment(self) -> Mapping[str, str]:
        """See `Service`; the names are those of the real plugin."""
        return {
            "DIGITALOCEAN_TOKEN": TOKEN,
            "DIGITALOCEAN_API_URL": self.api_url,
            "SPACES_ACCESS_KEY_ID": KEY,
            "SPACES_SECRET_ACCESS_KEY": SECRET,
            "SPACES_ENDPOINT_URL": self.spaces_url,
        }

    def inventory(self) -> Inventory:
        """See `Service`."""
        account = self.account
        kept = {i for i, image in account.images.items() if image["status"] != "deleted"}
        with self.room.inside():
            s3 = spaces.client(self.spaces_url, KEY, SECRET)
            buckets = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
        return {
            "digitalocean:index/droplet:Droplet": _ids(account.droplets),
            "digitalocean:index/customImage:CustomImage": _ids(kept),
            "digitalocean:index/sshKey:SshKey": _ids(account.keys),
            "digitalocean:index/firewall:Firewall": _ids(account.firewalls),
            "digitalocean:index/dnsRecord:DnsRecord": _ids(account.records),
            "digitalocean:index/spacesBucket:SpacesBucket": frozenset(buckets),
        }


@dataclass
class Cloud:
    """A cloud that runs; Pulumi has to be run at its desk (`prefix`) in its `environment`."""

    room: Room
    faults: Faults
    digitalocean: DigitalOcean
    plugins: Path
    services: list[Service] = field(default_factory=list)

    @property
    def prefix(self) -> tuple[str, ...]:
        """What precedes a command."""
        return self.room.prefix

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return an environment in which Pulumi finds plugins and services of this cloud."""
        found = {key: value for each in self.services for key, value in each.environment.items()}
        path = {"PATH": f"{self.plugins}:{inherited['PATH']}"}
        return {**inherited, **path, **found}

    def inventory(self) -> dict[str, frozenset[str]]:
        """Return all that exists at the cloud; types of which nothing exists are left out."""
        self.digitalocean.account.settle()
        return {
            kind: ids for each in self.services for kind, ids in each.inventory().items() if ids
        }

    def install(self, name: str) -> None:
        """Install tests/cloud/plugins/``name``.py as the plugin of that name."""
        install(self.plugins, name)


def install(folder: Path, name: str) -> None:
    """Install tests/cloud/plugins/``name``.py as the plugin of that name in a folder of PATH."""
    program = folder / f"pulumi-resource-{name}"
    start = f'exec "{sys.executable}" -m tests.cloud.plugins.{name} "$@"'
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" {start}\n')
    program.chmod(0o755)


@contextmanager
def running(folder: Path) -> Iterator[Cloud]:
    """Run a cloud whose files are in ``folder``; nothing of it outlives the context."""
    with ExitStack() as stack:
        place = stack.enter_context(room(folder / "lab", REGIONS, _quick()))
        faults = Faults()
        account = Account(place, faults, TOKEN)
        store = spaces.Spaces(faults, {KEY: SECRET})
        ocean = DigitalOcean(
            account=account,
            spaces=store,
            room=place,
            api_url=stack.enter_context(place.serving(api.application(account))),
            spaces_url=stack.enter_context(place.serving(store)),
        )
        plugins = folder / "plugins"
        plugins.mkdir()
        cloud = Cloud(place, faults, ocean, plugins, [ocean])
        cloud.install("digitalocean")
        stack.callback(account.settle)
        yield cloud


def _quick() -> dict[tuple[str, str], float]:
    names = ["home", *REGIONS]
    return {(one, other): 0.0 for one in names for other in names if one <= other}


def _ids(rows: object) -> frozenset[str]:
    return frozenset(map(str, rows))  # type: ignore[call-overload] # any iterable of ids
