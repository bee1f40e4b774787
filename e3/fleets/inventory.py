"""Existing machines: listed in a file, prepared over SSH without Nix, restored at the end."""

import getpass
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from pulumi import Output, ResourceOptions

from e3.access import client_config, host_from_properties
from e3.access.ssh import SshAccess
from e3.components import colmena
from e3.errors import ConfigurationError
from e3.experiment import Experiment
from e3.fleets.fleet import Made
from e3.interfaces import Ingress
from e3.inventory import machines
from e3.providers.inventory_host import InventoryHost
from e3.providers.inventory_survey import Survey


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The machines that ``file`` lists (see `e3.inventory.machines`).

    ``install_packages`` lets E3 install the Debian packages that an overlay needs, where it is
    root; without it, an error names what is missing. ``colmena`` is the path of a hive that is
    applied to machines with NixOS.
    """

    own_programs: ClassVar[bool] = False

    file: str = "hosts.yaml"
    install_packages: bool = False
    colmena: str = ""

    def check(self, experiment: Experiment) -> None:
        """Read the file and check that the keys which it names exist."""
        colmena.check(self.colmena)
        for name, machine in self._machines.items():
            for key, path in (("key", machine.key), ("ssh-config", machine.ssh_config)):
                if path and not Path(path).expanduser().is_file():
                    raise ConfigurationError(
                        f"{self.file}: host {machine.host} ({name}): {key} {path} does not exist"
                    )
        listed = {name: machine.reachability for name, machine in self._machines.items()}
        if experiment.reachability != listed and set(listed) == set(experiment.host_names):
            raise ConfigurationError(
                f"e3:nats: machines have what {self.file} says; write it there as reachability"
            )
        if experiment.links:
            raise ConfigurationError(
                "e3:links: only the lab's links can be changed; use the fleet lab, or leave it out"
            )
        if tuple(self._machines) != experiment.host_names:
            raise ConfigurationError(
                f"e3:fleet-options: {self.file} lists other hosts than e3:regions; name the file "
                "in e3:fleet-options, from which the regions follow"
            )

    def hourly_usd(self, experiment: Experiment) -> float:
        """Return 0: its hosts are yours."""
        del experiment
        return 0.0

    def hosts(
        self, experiment: Experiment, ingress: Sequence[Ingress], opts: ResourceOptions
    ) -> Made:
        """Declare the survey of all machines, and then each machine."""
        del ingress  # E3 does not set the firewalls of these machines
        survey = Survey(
            "survey",
            machines={name: machine.to_properties() for name, machine in self._machines.items()},
            overlay=experiment.overlay.name,
            install_packages=self.install_packages,
            opts=opts,
        )
        hosts = [
            InventoryHost(
                name,
                region=machine.region,
                reachability=machine.reachability,
                facts=survey.facts[name],
                overlay=experiment.overlay.name,
                owner=f"{experiment.stack} of {getpass.getuser()} on {socket.gethostname()}",
                folder=str(experiment.folder),
                opts=ResourceOptions(parent=survey),
            )
            for name, machine in self._machines.items()
        ]
        return Made(
            hosts=[host.made for host in hosts],
            ssh_blocks=[
                *(host.made.apply(_ssh_block) for host in hosts),
                # last: OpenSSH uses the first value of each option
                Output.all(*(host.made for host in hosts)).apply(_jump_hosts),
            ],
            hive=self.colmena,
        )

    @property
    def _machines(self) -> Mapping[str, machines.Machine]:
        return machines.named(machines.read(self.file))


def _ssh_block(made: Mapping[str, Any]) -> str:
    return client_config.block(_access(made))


def _jump_hosts(made: Sequence[Mapping[str, Any]]) -> str:
    return client_config.on_the_way(map(_access, made))


def _access(made: Mapping[str, Any]) -> SshAccess:
    return cast("SshAccess", host_from_properties(made).access)
