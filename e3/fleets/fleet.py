"""The contract of a fleet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pulumi import Output, Resource, ResourceOptions

from e3.experiment import Experiment
from e3.interfaces import Ingress, SshFiles


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a fleet declares: its hosts in the order of `Experiment.host_names`.

    Each host is given as the properties of an `e3.interfaces.Host`
    (`e3.access.host_to_properties`). ``ssh_blocks`` are the hosts' entries in an OpenSSH client
    configuration; there are none if OpenSSH cannot reach the hosts. ``proof`` are resources that
    must exist before the hosts are used, ``measured`` those that must exist before a session runs,
    such as a measurement of their network, which the overlay need not wait for. ``publish`` gets
    the overlay addresses by host name once they exist. Without hosts there is neither overlay nor
    session. ``plain_ssh`` says that address, key and host key suffice to reach each host, as
    pulumi-command needs it. ``certifiable`` are the files by which an authority certifies hosts
    and users for OpenSSH, if it can. ``hive`` is the path of a Colmena hive to apply to the hosts
    first.
    """

    hosts: Sequence[Output[Mapping[str, Any]]]
    ssh_blocks: Sequence[Output[str]] = ()
    proof: Sequence[Resource] = ()
    measured: Sequence[Resource] = ()
    publish: Callable[[Output[dict[str, str]]], None] = lambda _: None
    plain_ssh: bool = False
    hive: str = ""
    certifiable: SshFiles | None = None


class Fleet(Protocol):
    """Creates the hosts of an experiment; a frozen dataclass whose fields are its options.

    ``own_programs`` says that its hosts use the programs installed on this machine.
    """

    own_programs: ClassVar[bool]

    def check(self, experiment: Experiment) -> None:
        """Raise an `E3Error` if the hosts cannot be created; called before anything is."""

    def hourly_usd(self, experiment: Experiment) -> float:
        """Return what its hosts cost an hour in US dollars; 0 if they cost nothing.

        Raises an `E3Error` if that cannot be told, or is above the limit.
        """

    def hosts(
        self, experiment: Experiment, ingress: Sequence[Ingress], opts: ResourceOptions
    ) -> Made:
        """Declare the resources of the hosts, below the given parent.

        ``ingress`` is what a firewall before each host must let in from the others.
        """
