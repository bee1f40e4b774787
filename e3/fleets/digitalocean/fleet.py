"""The fleet `DigitalOcean`: what is checked before anything is made, and where it is declared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pulumi
from pulumi import ResourceOptions

from e3 import nix
from e3.components import colmena
from e3.digitalocean import api, keys, offer, record, spaces, upload
from e3.errors import ConfigurationError
from e3.experiment import Experiment
from e3.fleets.digitalocean.options import STOCK, Options
from e3.fleets.fleet import Made
from e3.interfaces import Ingress


@dataclass(frozen=True, kw_only=True)
class DigitalOcean(Options):
    """Machines that cost money by the hour, until `pulumi destroy` or `e3 sweep`."""

    own_programs: ClassVar[bool] = False

    def check(self, experiment: Experiment) -> None:
        """Check that the account offers everything, and print the price; create nothing."""
        if experiment.nats:
            raise ConfigurationError(
                "e3:nats: droplets have public addresses; use the lab for NATs, or leave it out"
            )
        if experiment.links:
            raise ConfigurationError(
                "e3:links: only the lab's links can be changed; use the fleet lab, or leave it out"
            )
        if self.expires_hours <= 0:
            raise ConfigurationError(
                f"e3:expires-hours: {self.expires_hours:g} must be above 0; write the hours for "
                "which the stack may stay"
            )
        colmena.check(self.colmena)
        if self.flake_output:
            if self.image != STOCK:
                raise ConfigurationError(
                    f"e3:fleet-options: flake-output is {self.flake_output!r} and image is "
                    f"{self.image!r}; leave one of them out"
                )
            nix.program()
        elif self.image_file is not None:
            upload.check_image(self.image_file)
        if self.own_image:
            spaces.check(self.bucket_region(experiment))
        hourly = self.hourly_usd(experiment)
        if self.key:
            keys.check(api.account(), Path(self.key).expanduser())
        count = sum(self.wanted(experiment).values())
        pulumi.log.info(
            f"DigitalOcean: {count} droplets of size {self.size} cost {hourly:.3f} USD an "
            f"hour, {hourly * self.expires_hours:.2f} USD until they expire "
            f"after {self.expires_hours:g} hours"
        )

    def hourly_usd(self, experiment: Experiment) -> float:
        """Return the price of the droplets, once the account is found to offer them."""
        request = offer.Request(
            regions=self.wanted(experiment),
            size=self.size,
            slug="" if self.own_image else self.image,
            domain=self.domain,
            limit_hourly_usd=self.max_hourly_usd,
        )
        held = {entry.label for entry in record.entries_of(experiment.folder)}
        return offer.check(api.account(), request, held)

    def hosts(
        self, experiment: Experiment, ingress: Sequence[Ingress], opts: ResourceOptions
    ) -> Made:
        """Declare label, keys, image, firewall, droplets and the first contact with them."""
        # not above: pulumi-digitalocean takes a second to load, and other fleets do not need it
        from e3.fleets.digitalocean.stack import declare  # noqa: PLC0415

        return declare(self, experiment, ingress, opts)
