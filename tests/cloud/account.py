"""What an account of the stand-in cloud has, and how it changes; `api` serves it over HTTP.

Facts of the API are from its specification (https://docs.digitalocean.com/reference/api/,
https://github.com/digitalocean/openapi), cited by resource and file where they are used.
"""

import itertools
import platform
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e3.lab.client import HostHandle
from e3.overlays import OVERLAYS
from tests.cloud.droplets import FirstBoot, boot, filter_packets, start_ssh, stop_ssh
from tests.cloud.faults import Faults
from tests.cloud.room import Room

Row = dict[str, Any]
ROOT = Path(__file__).parents[2]

REGIONS = ("ams3", "nyc3", "sfo3", "sgp1")
CLOSED_REGION = "nyc2"
SIZES: Mapping[str, tuple[int, int, int, float]] = {
    "s-1vcpu-1gb": (1, 1024, 25, 0.00893),
    "s-1vcpu-2gb": (1, 2048, 50, 0.01786),
    "s-2vcpu-4gb": (2, 4096, 80, 0.03571),
}
"""Number of CPUs, memory in MB, disk in GB, and US dollars an hour (sizes/models/size.yml)."""

CONTRACT: Mapping[str, object] = {
    "contract": 1,
    "overlays": sorted(OVERLAYS.keys() - {"nebula"}),
    "python": str(ROOT / ".venv" / "bin" / "python"),
    "tools": str(ROOT / ".tools" / "bin"),
    "system": f"{platform.machine()}-linux",
    "services": "supervisor",
}
"""What an uploaded image carries here; lab hosts see the project. That of nixpkgs is too old."""

STOCK = {"debian-12-x64": REGIONS, "ubuntu-24-04-x64": REGIONS, "rockylinux-9-x64": ("nyc3",)}
LARGEST_USER_DATA = 64 << 10  # droplets/models/droplet_create.yml: user_data

NEW_SECONDS = 0.3
BOOT_SECONDS = 0.3
TRANSFER_SECONDS = 0.2
FORMATS = {b"QFI\xfb": "qcow2", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"vhdxfile": "vhdx"}
"""How files of an accepted kind begin (images/models/image_new_custom.yml: url)."""


class ApiError(Exception):
    """An answer other than success: status, id and message as the API has them."""

    def __init__(self, status: int, id_: str, message: str) -> None:
        super().__init__(message)
        self.status, self.id_, self.message = status, id_, message


@dataclass
class Account:
    """The account; every verb holds the lock, and what takes time goes on in threads."""

    room: Room
    faults: Faults
    token: str
    droplet_limit: int = 25
    packages: Path | None = None
    domains: set[str] = field(default_factory=lambda: {"example.org"})
    droplets: dict[int, Row] = field(default_factory=dict)
    images: dict[int, Row] = field(default_factory=dict)
    keys: dict[int, Row] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    firewalls: dict[str, Row] = field(default_factory=dict)
    records: dict[int, Row] = field(default_factory=dict)
    actions: dict[int, Row] = field(default_factory=dict)
    machines: dict[int, HostHandle] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1001))
    _work: list[threading.Thread] = field(default_factory=list)

    def next_id(self) -> int:
        """Return a number that was never given."""
        return next(self._ids)

    def create_droplet(self, wanted: Row) -> Row:
        """Accept a droplet (202): it is ``new``, and what becomes of it turns out later."""
        with self.lock:
            self._check_droplet(wanted)
            id_ = self.next_id()
            vcpus, memory, disk, hourly = SIZES[wanted["size"]]
            droplet: Row = {
                "id": id_,
                "name": wanted["name"],
                "status": "new",
                "created_at": stamp(),
                "region": {"slug": wanted["region"]},
                "image": {"id": wanted["image"]},
                "size": {"slug": wanted["size"], "price_hourly": hourly},
                "size_slug": wanted["size"],
                "vcpus": vcpus,
                "memory": memory,
                "disk": disk,
                "features": ["ipv6"] if wanted.get("ipv6") else [],
                "networks": {"v4": [], "v6": []},
                "tags": sorted(wanted.get("tags") or []),
            }
            self.tags |= set(droplet["tags"])
            self.droplets[id_] = droplet
            given = [str(key) for key in wanted.get("ssh_keys") or []]
            keys = [self._key(key)["public_key"] for key in given]
        first = FirstBoot(
            user_data=wanted.get("user_data") or "",
            authorized_keys=keys,
            carries=CONTRACT if isinstance(wanted["image"], int) else None,
            packages=self.packages,
        )
        self._later(lambda: self._boot(id_, first))
        return droplet

    def delete_droplet(self, id_: int) -> None:
        """Remove the droplet of that id with its machine."""
        with self.lock:
            self.droplets.pop(id_)
            machine = self.machines.pop(id_, None)
        if machine is not None:
            self.room.lab.remove_host(machine.name)
        self.filter()

    def create_image(self, wanted: Row) -> Row:
        """Accept a custom image (202): it is fetched from its URL, then ``available``."""
        with self.lock:
            if wanted["region"] not in REGIONS:
                raise ApiError(422, "unprocessable_entity", "Region is not valid.")
            id_ = self.next_id()
            image: Row = {
                "id": id_,
                "name": wanted["name"],
                "type": "custom",
                "distribution": wanted.get("distribution", "Unknown"),
                "slug": None,
                "public": False,
                "regions": [],
                "status": "NEW",
                "created_at": stamp(),
                "tags": sorted(wanted.get("tags") or []),
                "error_message": "",
            }
            self.tags |= set(image["tags"])
            self.images[id_] = image
        self._later(lambda: self._import(id_, wanted["url"], wanted["region"]))
        return image

    def transfer_image(self, id_: int, region: str) -> Row:
        """Begin to copy an image to another region (images/imageActions_post.yml)."""
        with self.lock:
            image = self.images[id_]
            if image["status"] != "available" or region not in REGIONS:
                raise ApiError(422, "unprocessable_entity", "Image cannot be transferred.")
            action: Row = {"id": self.next_id(), "status": "in-progress", "type": "transfer"}
            self.actions[action["id"]] = action
        self._later(lambda: self._transfer(image, action, region))
        return action

    def filter(self) -> None:
        """Apply its firewalls to each machine: the union of those that select it.

        https://docs.digitalocean.com/products/networking/firewalls/concepts/: rules are
        additive; a source given as a tag means each droplet that has it.
        """
        with self.lock:
            todo = [(self.machines[i], self._rules(d)) for i, d in self._running()]
        for machine, rules in todo:
            filter_packets(machine, rules)

    def lose(self, name: str) -> None:
        """Stop the SSH server of a droplet."""
        id_ = next(i for i, d in self.droplets.items() if d["name"] == name)
        stop_ssh(self.machines[id_])

    def settle(self) -> None:
        """Return once nothing goes on any longer."""
        for thread in self._work:
            thread.join()
        self._work.clear()

    def _running(self) -> list[tuple[int, Row]]:
        return [(i, d) for i, d in self.droplets.items() if i in self.machines]

    def _later(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._work.append(thread)
        thread.start()

    def _check_droplet(self, wanted: Row) -> None:
        if len(self.droplets) >= self.droplet_limit:
            raise ApiError(
                422,
                "unprocessable_entity",
                "creating this/these droplet(s) will exceed your droplet limit",
            )
        if self.faults.nothing_made:
            raise ApiError(500, "server_error", "Unexpected server-side error")
        if wanted["region"] not in REGIONS:
            raise ApiError(422, "unprocessable_entity", "Region is not available")
        if wanted["size"] not in SIZES:
            raise ApiError(
                422, "unprocessable_entity", "You specified an invalid size for Droplet creation."
            )
        if len(wanted.get("user_data") or "") > LARGEST_USER_DATA:
            raise ApiError(422, "unprocessable_entity", "User data is too long")
        image = wanted["image"]
        if isinstance(image, int):
            known = self.images.get(image)
            if known is None or wanted["region"] not in known["regions"]:
                raise ApiError(
                    422,
                    "unprocessable_entity",
                    "You specified an invalid image for Droplet creation.",
                )
        elif image not in STOCK:
            raise ApiError(
                422, "unprocessable_entity", "You specified an invalid image for Droplet creation."
            )

    def _key(self, name: str) -> Row:
        for id_, key in self.keys.items():
            if name in {str(id_), key["fingerprint"]}:
                return key
        raise ApiError(
            422, "unprocessable_entity", f"{name} are invalid key identifiers for Droplet creation."
        )

    def _boot(self, id_: int, first: FirstBoot) -> None:
        time.sleep(NEW_SECONDS)
        with self.lock:
            droplet = self.droplets.get(id_)
        if droplet is None or self.faults.nothing_boots:
            return
        machine = boot(self.room.lab, f"d{id_}", droplet["region"]["slug"])
        with self.lock:
            if id_ not in self.droplets:  # deleted meanwhile
                self.room.lab.remove_host(machine.name)
                return
            self.machines[id_] = machine
            address = {"ip_address": machine.underlay, "type": "public"}
            droplet["networks"]["v4"] = [address]
        self.filter()
        droplet["status"] = "active"
        if droplet["name"] in self.faults.never_boots:
            return
        time.sleep(BOOT_SECONDS)
        if machine.alive():
            start_ssh(machine, first, droplet["name"])

    def _import(self, id_: int, url: str, region: str) -> None:
        time.sleep(TRANSFER_SECONDS)
        image = self.images[id_]
        try:
            with self.room.inside(), urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
                begin, size = answer.read(8), int(answer.headers["Content-Length"])
        except OSError as error:
            image |= {"status": "deleted", "error_message": f"failed to retrieve: {error}"}
            return
        kind = next((name for magic, name in FORMATS.items() if begin.startswith(magic)), None)
        if kind is None or self.faults.import_fails:
            image |= {"status": "deleted", "error_message": "unsupported image format"}
            return
        image |= {"size_gigabytes": size / 1e9, "min_disk_size": 15, "regions": [region]}
        image["status"] = "available"

    def _transfer(self, image: Row, action: Row, region: str) -> None:
        time.sleep(TRANSFER_SECONDS)
        if region in self.faults.transfer_fails:
            action["status"] = "errored"
            return
        image["regions"] = sorted({*image["regions"], region})
        action["status"] = "completed"

    def _rules(self, droplet: Row) -> list[Row] | None:
        meant = [
            firewall
            for firewall in self.firewalls.values()
            if droplet["id"] in firewall["droplet_ids"]
            or set(firewall["tags"]) & set(droplet["tags"])
        ]
        if not meant:
            return None
        return [
            {
                "protocol": rule["protocol"],
                "ports": rule.get("ports") or "0",
                "addresses": [*self._sources(rule.get("sources") or {})],
            }
            for firewall in meant
            for rule in firewall["inbound_rules"]
        ]

    def _sources(self, sources: Row) -> list[str]:
        tags = set(sources.get("tags") or [])
        tagged = [i for i, d in self.droplets.items() if tags & set(d["tags"])]
        named = [*tagged, *(sources.get("droplet_ids") or [])]
        machines = [self.machines[id_].underlay for id_ in named if id_ in self.machines]
        return [*(sources.get("addresses") or []), *machines]


def stamp() -> str:
    """Return the present time as the API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
