"""The contract of a fleet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pulumi import Output, Resource, ResourceOptions

from e3.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a fleet declares: its hosts in the order of `Experiment.host_names`.

    Each is the properties of an `e3.interfaces.Host` (`e3.access.host_to_properties`);
    ``ssh_blocks`` are the hosts' entries of an OpenSSH client configuration, empty where
    the hosts cannot be reached that way. ``proof`` are resources that must exist before the
    hosts are used, such as a measurement of their network.
    """

    hosts: Sequence[Output[Mapping[str, Any]]]
    ssh_blocks: Sequence[Output[str]] = ()
    proof: Sequence[Resource] = ()


class Fleet(Protocol):
    """What makes the hosts of an experiment; a frozen dataclass whose fields are its options."""

    def check(self, experiment: Experiment) -> None:
        """Raise an `E3Error` if the hosts cannot be made here; before anything is made."""

    def hosts(self, experiment: Experiment, opts: ResourceOptions) -> Made:
        """Declare the resources that make the hosts, below the given parent."""
