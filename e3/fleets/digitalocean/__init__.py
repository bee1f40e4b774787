"""Droplets of a DigitalOcean account, in the regions where it has machines."""

from e3.fleets.digitalocean.fleet import DigitalOcean

__all__ = ["DigitalOcean"]
