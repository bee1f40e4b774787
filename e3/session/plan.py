"""Assign the parties of a session to hosts and overlay addresses. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from e3.errors import ConfigurationError
from e3.experiment import Program, SessionSettings
from e3.interfaces import PARTY_PORT, Endpoint, Host, Network, Overlay, party_port
from e3.paths import PairPath

BASE_PORT = PARTY_PORT


@dataclass(frozen=True, kw_only=True)
class JoinedHosts:
    """Hosts, and what has joined them: ``name`` is the overlay's registered one."""

    hosts: Sequence[Host]
    name: str
    overlay: Overlay
    network: Network
    paths: Sequence[PairPath]


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One party: its index, the name of its host, and where it listens on the overlay.

    ``private`` are program arguments of this party alone; no other party learns them.
    """

    pid: int
    host: str
    endpoint: Endpoint
    private: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A session before it runs: the program and its parties, ordered by pid."""

    program: Program
    seats: tuple[Seat, ...]
    trigger: str = ""

    @property
    def inputs(self) -> dict[str, object]:
        """The values whose change makes a session run again."""
        return {
            "program": self.program.digest,
            "entry": self.program.entry,
            "args": list(self.program.args),
            "parties": [[seat.host, str(seat.endpoint)] for seat in self.seats],
            "trigger": self.trigger,
        }

    @property
    def digest(self) -> str:
        """The SHA-256 of the inputs, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.inputs, sort_keys=True).encode()).hexdigest()


def seat(hosts: Sequence[Host], parties: int) -> list[Host]:
    """Return the hosts of the parties by pid: the first ``parties`` in configuration order.

    In MPyC the lower pid dials the higher one, so hosts that cannot be reached from
    outside come first; otherwise the order stays.
    """
    if not 1 <= parties <= len(hosts):
        raise ConfigurationError(
            f"e3:parties: {parties} parties on {len(hosts)} hosts; "
            f"choose 1 to {len(hosts)}, at most one a host"
        )
    return sorted(hosts[:parties], key=lambda host: host.reachability == "public")


def plan(  # noqa: PLR0913 -- what a plan is made of, by keyword
    *,
    hosts: Sequence[Host],
    addresses: Mapping[str, str],
    program: Program,
    parties: int,
    trigger: str = "",
    private_args: Mapping[str, Sequence[str]] | None = None,
    base_port: int = BASE_PORT,
) -> Plan:
    """Return which party runs on which host; ``addresses`` has the overlay address by host name.

    ``private_args`` are arguments of one party alone, by host name.
    """
    seats = tuple(
        Seat(
            pid=pid,
            host=host.name,
            endpoint=Endpoint(
                address=addresses[host.name], port=party_port(pid, len(addresses), base_port)
            ),
            private=tuple((private_args or {}).get(host.name, ())),
        )
        for pid, host in enumerate(seat(hosts, parties))
    )
    return Plan(program=program, seats=seats, trigger=trigger)


def plan_settings(
    settings: SessionSettings,
    program: Program,
    hosts: Sequence[Host],
    addresses: Mapping[str, str],
) -> Plan:
    """Return the plan of a session of ``program`` on hosts at these overlay addresses."""
    return plan(
        hosts=hosts,
        addresses=addresses,
        program=program,
        parties=settings.parties,
        trigger=settings.trigger,
        private_args=settings.private_args,
    )
