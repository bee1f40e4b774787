"""What a stack asks of DigitalOcean: the options of the fleet, and what follows from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from e3.digitalocean import spaces
from e3.errors import ConfigurationError
from e3.experiment import Experiment

STOCK = "debian-12-x64"
"""DigitalOcean's own image that hosts get unless the configuration names another."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The image, size, keys and limits of the droplets of a stack.

    ``image`` is a slug of DigitalOcean's or the path of a file, which is uploaded; instead,
    ``flake_output`` names an output of a flake that is built for it, by ``nix_builder`` where
    this machine cannot (both as in `e3.nix`). ``size`` is a slug. ``key`` is the path of a
    private SSH key whose public half is in the account; without it the stack makes one.
    ``account_keys`` are fingerprints or ids of keys that may log in besides. ``admit`` are
    addresses from which SSH comes in. ``spaces_region`` is where the image is stored, by
    default one of the hosts' regions. ``protect_image`` keeps `pulumi destroy` from removing
    it. ``ipv6`` gives droplets a second address; by default for DigitalOcean's own images only,
    as it does not offer that for others. A host must answer within ``answer_seconds``.
    ``colmena`` is the path of a hive that is applied to hosts with NixOS.

    The other fields have their own configuration keys: ``domain``, of which each host gets records;
    ``hosts_wanted``, none for a while (e3:hosts); ``image_rollout``, whether a new image replaces
    hosts; ``max_hourly_usd`` and ``expires_hours``, the limits of what it may cost.
    """

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
