"""The fleets, which create hosts, one file each. A new fleet adds its line to `FLEETS`."""

from collections.abc import Callable, Mapping

from e3.fleets.digitalocean import DigitalOcean
from e3.fleets.fleet import Fleet, Made
from e3.fleets.inventory import Inventory
from e3.fleets.lab import LabFleet

__all__ = ["FLEETS", "Fleet", "Made"]

FLEETS: Mapping[str, Callable[..., Fleet]] = {
    "digitalocean": DigitalOcean,
    "inventory": Inventory,
    "lab": LabFleet,
}
