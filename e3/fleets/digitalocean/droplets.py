"""The droplets of a stack, each with an SSH host key that is made before the droplet."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pulumi
import pulumi_digitalocean as do
from pulumi import ComponentResource, CustomTimeouts, Output, ResourceOptions

from e3.access import host_from_properties
from e3.access.client_config import block
from e3.access.ssh import SshAccess
from e3.digitalocean import names
from e3.experiment import Experiment
from e3.fleets.digitalocean.options import Options
from e3.providers.cloud_census import Census
from e3.providers.cloud_contact import Contact
from e3.providers.cloud_mark import Mark
from e3.providers.key_pair import KeyPair

PLAIN_PACKAGES = ["python3-venv"]
"""What the party environment needs and Debian's image lacks."""

CREATE_TIMEOUT, DELETE_TIMEOUT = "10m", "5m"


@dataclass(frozen=True, kw_only=True)
class Login:
    """Keys that may log in, by their fingerprints in the account; and the path of E3's own."""

    fingerprints: Sequence[Output[str] | str]
    path: Output[str] | str


class Droplets(ComponentResource):
    """Droplets that answer; ``hosts`` has the properties of the `Host` for each.

    ``addresses`` has the public address by host name.
    """

    hosts: Sequence[Output[Mapping[str, Any]]]
    addresses: Mapping[str, Output[str]]

    def __init__(  # noqa: PLR0913 - what droplets are made of
        self,
        name: str,
        *,
        options: Options,
        experiment: Experiment,
        mark: Mark,
        image: Output[str] | str,
        login: Login,
        opts: ResourceOptions,
    ) -> None:
        """Declare a droplet for each host of the experiment."""
        super().__init__("e3:digitalocean:Droplets", name, None, opts)
        made, rows = [], []
        stock = not options.own_image
        plain = PLAIN_PACKAGES if stock else []
        for host in experiment.host_names:
            key = KeyPair(f"host-key-{host}", opts=ResourceOptions(parent=self))
            droplet = do.Droplet(
                host,
                name=_name(mark, host),
                region=host.rpartition("-")[0],
                size=options.size,
                image=image,
                ipv6=stock if options.ipv6 is None else options.ipv6,
                ssh_keys=[*login.fingerprints],
                tags=mark.tags,
                user_data=Output.all(key.private, key.public).apply(
                    lambda pair: user_data(*pair, packages=plain)
                ),
                opts=_resource_options(self, rollout=options.image_rollout),
            )
            made.append(droplet)
            rows.append(
                {
                    "host": host,
                    "region": host.rpartition("-")[0],
                    "address": droplet.ipv4_address,
                    "key": login.path,
                    "host_key": key.public,
                }
            )
        own = ResourceOptions(parent=self)
        Census("census", label=mark.label, droplets=[it.id for it in made], opts=own)
        contact = Contact(
            "first-contact",
            droplets=rows,
            overlay=experiment.overlay.name,
            seconds=options.answer_seconds,
            opts=own,
        )
        addresses = [droplet.ipv4_address for droplet in made]
        self.addresses = dict(zip(experiment.host_names, addresses, strict=True))
        self.hosts = [contact.hosts.apply(itemgetter(i)) for i, _ in enumerate(rows)]
        self.register_outputs({})


def user_data(private: str, public: str, *, packages: Sequence[str] = ()) -> str:
    """Return a cloud-config (JSON is YAML) that sets a host's SSH key and installs packages.

    https://cloudinit.readthedocs.io/en/latest/reference/modules.html: ``ssh_keys``, and
    ``disable_ec2_metadata``, without which any program on the host could read the key from the
    metadata service (169.254.169.254) for as long as the host exists.
    """
    config = {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": private, "ed25519_public": public},
        "ssh_pwauth": False,
        "disable_root": False,
        "disable_ec2_metadata": True,
        **({"package_update": True, "packages": list(packages)} if packages else {}),
    }
    return f"#cloud-config\n{json.dumps(config)}\n"


def ssh_block(host: Mapping[str, Any]) -> str:
    """Return a droplet's entry of an OpenSSH client configuration, its key by absolute path."""
    access = host_from_properties(host).access
    if not isinstance(access, SshAccess):
        return ""
    return block(replace(access, key=str(Path(access.key).absolute())))


def _name(mark: Mark, host: str) -> Output[str]:
    project = pulumi.get_project()
    return mark.label.apply(lambda label: names.droplet(project, host, label))


def _resource_options(parent: pulumi.Resource, *, rollout: bool) -> ResourceOptions:
    return ResourceOptions(
        parent=parent,
        # tags change with the lease, which the `Mark` renews
        ignore_changes=["tags", *([] if rollout else ["image"])],
        custom_timeouts=CustomTimeouts(create=CREATE_TIMEOUT, delete=DELETE_TIMEOUT),
    )
