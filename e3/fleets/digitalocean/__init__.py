"""Droplets of a DigitalOcean account, in the regions where it has machines.

Imports go one way: `fleet` -> `stack` -> `droplets` and the other resources -> `options`.
`stack` is loaded when the hosts are declared, as pulumi-digitalocean takes a second to load.
"""

from e3.fleets.digitalocean.fleet import DigitalOcean

__all__ = ["DigitalOcean"]
