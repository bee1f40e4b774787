"""The lab: hosts are Linux namespaces of this machine, in emulated regions."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pulumi import Output, ResourceOptions

from e3 import nats
from e3.access import host_from_properties
from e3.access.namespace import NamespaceAccess
from e3.experiment import Experiment
from e3.fleets.fleet import Made
from e3.impairments import ONE_WAY
from e3.interfaces import Ingress
from e3.lab import ssh, userspace
from e3.lab.links import default_rtt_ms
from e3.providers.lab import Lab
from e3.providers.lab_host import LabHost
from e3.providers.lab_links import Links
from e3.providers.lab_region import Region
from e3.providers.lab_round_trips import RoundTrips


@dataclass(frozen=True, kw_only=True)
class LabFleet:
    """Hosts on this machine: namespaces, regions with routers, a WAN between them."""

    own_programs: ClassVar[bool] = True

    def check(self, experiment: Experiment) -> None:
        """Check what a lab needs of this machine; it depends on nothing in the experiment."""
        del experiment
        userspace.check()

    def hourly_usd(self, experiment: Experiment) -> float:
        """Return 0: its hosts are this machine."""
        del experiment
        return 0.0

    def hosts(
        self, experiment: Experiment, ingress: Sequence[Ingress], opts: ResourceOptions
    ) -> Made:
        """Declare the lab, its regions and its hosts; its firewalls are those of e3:nats."""
        del ingress
        folder = experiment.folder / "lab"
        lab = Lab("lab", folder=str(folder), opts=opts)
        hosts, regions = [], []
        for name, count in experiment.regions.items():
            region = Region(
                name,
                lab=lab.id,
                folder=lab.folder,
                rtt_ms=_row(experiment, name),
                opts=ResourceOptions(parent=lab),
            )
            regions.append(region)
            hosts += [
                LabHost(
                    f"{name}-{index}",
                    lab=lab.id,
                    folder=lab.folder,
                    region=name,
                    nat=nats.to_text(experiment.nats.get(f"{name}-{index}")),
                    opts=ResourceOptions(parent=region),
                )
                for index in range(count)
            ]
        trips = RoundTrips(
            "round-trips",
            folder=lab.folder,
            hosts=[host.id for host in hosts],
            asked_ms={name: _row(experiment, name) for name in experiment.regions},
            opts=ResourceOptions(parent=lab),
        )
        impaired = _impaired(experiment, lab, regions, [trips])
        by_ssh = os.geteuid() == 0
        return Made(
            hosts=[host.made for host in hosts],
            ssh_blocks=_ssh_blocks(folder, hosts) if by_ssh else (),
            measured=(trips, *impaired),
            certifiable=ssh.certifiable(folder) if by_ssh else None,
        )


def _impaired(
    experiment: Experiment, lab: Lab, regions: Sequence[Region], measured: Sequence[RoundTrips]
) -> Sequence[Links]:
    """Declare what links do to packets, if anything, once their round trips have been measured."""
    asked = {
        f"{one}{ONE_WAY}{other}": values
        for (one, other), link in experiment.links.items()
        if (values := link.to_properties())
    }
    if not asked:
        return ()
    opts = ResourceOptions(parent=lab, depends_on=measured)
    ids = [region.id for region in regions]
    return (Links("links", lab=lab.id, folder=lab.folder, regions=ids, links=asked, opts=opts),)


def _ssh_blocks(folder: Path, hosts: Sequence[LabHost]) -> list[Output[str]]:
    place = folder.absolute() / "ssh"
    files = ssh.SshFiles(client_key=place / ssh.CLIENT_KEY, known_hosts=place / ssh.KNOWN_HOSTS)

    def block(made: Mapping[str, Any]) -> str:
        access = host_from_properties(made).access
        return ssh.client_config(files, [access] if isinstance(access, NamespaceAccess) else [])

    return [host.made.apply(block) for host in hosts]


def _row(experiment: Experiment, region: str) -> Mapping[str, float]:
    """Return the round-trip times of a region to itself and to those after it, in ms."""
    return {
        other: experiment.latency_ms.get((region, other), default_rtt_ms(region, other))
        for other in sorted(experiment.regions)
        if other >= region
    }
