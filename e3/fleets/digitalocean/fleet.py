"""The fleet's options, what is checked before anything is made, and how its parts hang together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pulumi
from pulumi import ResourceOptions

from e3 import nix
from e3.components import colmena
from e3.digitalocean import api, keys, offer, record, spaces, upload
from e3.errors import ConfigurationError
from e3.experiment import Experiment
from e3.fleets.fleet import Made
from e3.interfaces import Ingress

STOCK = "debian-12-x64"


@dataclass(frozen=True, kw_only=True)
class DigitalOcean:
    """Machines that cost money by the hour, until `pulumi destroy` or `e3 sweep`.

    ``image`` is a slug of DigitalOcean's or the path of a file, which is uploaded; instead,
    ``flake_output`` names an output of a flake that is built for it, by ``nix_builder`` where
    this machine cannot (both as in `e3.nix`). ``size`` is a slug. ``key`` is the path of a
    private SSH key whose public half is in the account; without it the stack makes one.
    ``account_keys`` are fingerprints or ids of keys that may log in besides. ``admit`` are
    addresses from which SSH comes in. ``spaces_region`` is where the image is stored, by
    default one of the hosts' regions. ``protect_image`` keeps `pulumi destroy` from removing
    it. ``ipv6`` gives droplets a second address; by default those of DigitalOcean's own images,
    as it does not offer that for others. A host has ``answer_seconds`` until it answers.
    ``colmena`` is the path of a hive that is applied to hosts with NixOS.

    The others are keys of their own: ``domain``, of which each host gets records;
    ``hosts_wanted``, none for a while (e3:hosts); ``image_rollout``, whether a new image replaces
    hosts; ``max_hourly_usd`` and ``expires_hours``, which guard the purse.
    """

    own_programs: ClassVar[bool] = False

    image: str = STOCK
    flake_output: str = ""
    nix_builder: str = ""
    size: str = "s-1vcpu-2gb"
    key: str = ""
    account_keys: tuple[str, ...] = ()
    admit: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    spaces_region: str = ""
    protect_image: bool = False
    ipv6: bool | None = None
    answer_seconds: float = 300
    colmena: str = ""
    domain: str = ""
    hosts_wanted: Literal["all", "none"] = "all"
    image_rollout: bool = False
    max_hourly_usd: float = 1.0
    expires_hours: float = 4.0

    def check(self, experiment: Experiment) -> None:
        """Ask the account whether all can be had, and print the price; nothing is made."""
        if experiment.nats:
            raise ConfigurationError(
                "e3:nats: droplets have public addresses; use the lab for NATs, or leave it out"
            )
        if self.expires_hours <= 0:
            raise ConfigurationError(
                f"e3:expires-hours: {self.expires_hours:g} is no time; write the hours for which "
                "the stack may stay"
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
        account = api.account()
        wish = offer.Wish(
            regions=self.wanted(experiment),
            size=self.size,
            slug="" if self.own_image else self.image,
            domain=self.domain,
            limit_hourly_usd=self.max_hourly_usd,
        )
        held = {entry.label for entry in record.entries_of(experiment.folder)}
        hourly = offer.check(account, wish, held)
        if self.key:
            keys.check(account, Path(self.key).expanduser())
        pulumi.log.info(
            f"DigitalOcean: {sum(wish.regions.values())} droplets of size {self.size} cost "
            f"{hourly:.3f} USD an hour, {hourly * self.expires_hours:.2f} USD until they expire "
            f"after {self.expires_hours:g} hours"
        )

    def hosts(
        self, experiment: Experiment, ingress: Sequence[Ingress], opts: ResourceOptions
    ) -> Made:
        """Declare mark, keys, image, firewall, droplets and the first contact with them."""
        # the SDK takes a second to load, and other fleets do not need it
        from e3.fleets.digitalocean.stack import declare  # noqa: PLC0415

        return declare(self, experiment, ingress, opts)

    @property
    def image_file(self) -> Path | None:
        """The image's path, if it is a file: slugs have neither slash nor dot."""
        path = Path(self.image).expanduser()
        return path if set(self.image) & {"/", "."} or path.is_file() else None

    @property
    def own_image(self) -> bool:
        """Whether the image is not DigitalOcean's own."""
        return bool(self.flake_output) or self.image_file is not None

    def wanted(self, experiment: Experiment) -> dict[str, int]:
        """Return the number of droplets in each region."""
        if self.hosts_wanted == "none":
            return dict.fromkeys(experiment.regions, 0)
        return dict(experiment.regions)

    def bucket_region(self, experiment: Experiment) -> str:
        """Return the region of the bucket, "" if there is none; raise if it has no Spaces."""
        if not self.own_image:
            return ""
        near = [region for region in experiment.regions if region in spaces.REGIONS]
        region = self.spaces_region or (near or spaces.REGIONS)[0]
        if region not in spaces.REGIONS:
            raise ConfigurationError(
                f"e3:fleet-options: spaces-region is {region!r}, which has no Spaces; choose one "
                f"of {', '.join(spaces.REGIONS)}"
            )
        return region
