"""The fleets, which create hosts, one file each. A new fleet adds its line to `FLEETS`."""

from collections.abc import Callable

from e3.fleets.fleet import Fleet, Made
from e3.on_demand import OnDemand

__all__ = ["FLEETS", "Fleet", "Made"]

FLEETS: OnDemand[Callable[..., Fleet]] = OnDemand(
    {
        "digitalocean": "e3.fleets.digitalocean:DigitalOcean",
        "inventory": "e3.fleets.inventory:Inventory",
        "lab": "e3.fleets.lab:LabFleet",
    }
)
