"""The resources of a stack at DigitalOcean."""

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

import pulumi
import pulumi_digitalocean as do
from pulumi import Output, ResourceOptions

from e3.digitalocean import keys
from e3.experiment import Experiment
from e3.fleets.digitalocean.droplets import Droplets, Login, ssh_block
from e3.fleets.digitalocean.image import Image, Source, of_file, of_flake
from e3.fleets.digitalocean.options import Options
from e3.fleets.digitalocean.protection import firewall
from e3.fleets.digitalocean.records import records
from e3.fleets.fleet import Made
from e3.interfaces import Ingress
from e3.providers.cloud_mark import Mark
from e3.providers.key_pair import KeyPair


def declare(
    options: Options,
    experiment: Experiment,
    ingress: Sequence[Ingress],
    opts: ResourceOptions,
) -> Made:
    """Declare all resources of the stack there, below its `Mark`."""
    mark = Mark(
        "cloud",
        project=pulumi.get_project(),
        stack=experiment.stack,
        hours=options.expires_hours,
        folder=str(experiment.folder),
        spaces=options.bucket_region(experiment),
        opts=opts,
    )
    below = ResourceOptions(parent=mark)
    image: Output[str] | str = options.image
    source = _source(options, experiment, below)
    if source is not None:
        image = Image(
            "image",
            source=source,
            mark=mark,
            regions=list(experiment.regions),
            bucket_region=options.bucket_region(experiment),
            protect=options.protect_image,
            opts=below,
        ).id
    if options.hosts_wanted == "none":
        return Made(hosts=())
    login = _login(options, experiment, mark, below)
    wall = firewall(mark, ingress, admit=options.admit, opts=below)
    droplets = Droplets(
        "droplets",
        options=options,
        experiment=experiment,
        mark=mark,
        image=image,
        login=login,
        opts=ResourceOptions(parent=mark, depends_on=[wall]),
    )
    if options.domain:
        records(options.domain, mark, droplets.addresses, below)
    return Made(
        hosts=droplets.hosts,
        ssh_blocks=[host.apply(ssh_block) for host in droplets.hosts],
        publish=partial(_publish, options.domain, mark, experiment.host_names, below),
        plain_ssh=True,
        hive=options.colmena,
    )


def _publish(
    domain: str,
    mark: Mark,
    hosts: Sequence[str],
    opts: ResourceOptions,
    addresses: Output[dict[str, str]],
) -> None:
    if not domain:
        return
    overlay = {f"{host}.overlay": addresses.apply(itemgetter(host)) for host in hosts}
    records(domain, mark, overlay, opts)


def _source(options: Options, experiment: Experiment, opts: ResourceOptions) -> Source | None:
    if options.flake_output:
        folder = experiment.folder / "nix" / "image"
        return of_flake(options.flake_output, builder=options.nix_builder, folder=folder, opts=opts)
    return of_file(options.image_file) if options.image_file else None


def _login(options: Options, experiment: Experiment, mark: Mark, opts: ResourceOptions) -> Login:
    if options.key:
        given = Path(options.key).expanduser()
        own = keys.fingerprint(keys.public_half(given))
        return Login(fingerprints=[own, *options.account_keys], path=str(given))
    pair = KeyPair("key", path=str(experiment.folder / "ssh" / "id_ed25519"), opts=opts)
    known = do.SshKey("key", name=mark.label, public_key=pair.public, opts=opts)
    return Login(fingerprints=[known.fingerprint, *options.account_keys], path=pair.path)
