"""What is to be run: the stack configuration as typed, frozen values.

Read by every layer above; no pulumi. `e3.config` is the only place that makes an `Experiment`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from e3.impairments import Impairment
from e3.nats import NatBehaviour, Reachability


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A building block by its registered name, with the options that differ from its defaults."""

    name: str
    options: Mapping[str, object] = field(default_factory=dict)


ENTRIES = ("__main__.py", "main.py")
"""What is run of a folder, the first of these that is there, if no other entry is asked for."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """An MPyC program: a Python file or a notebook, or a folder that has one.

    ``path`` is the file or folder, ``entry`` the file that is run, relative to the folder
    that is shipped. ``digest`` is the SHA-256 over names, modes and contents of all files shipped.
    ``notes`` are sentences about what of the entry does not run.
    """

    path: Path
    entry: str
    digest: str
    args: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the file, of the folder, or of the entry asked for, without its ending."""
        return self.path.stem if self.entry in ENTRIES else Path(self.entry).stem


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a session may take of its hosts and of time.

    The processes of a party take at most ``memory_mb`` together, and its files ``files_mb``. It
    runs at most ``processes`` at once and prints ``output_mb``. Its output folder has room for
    ``output_files_mb`` in ``output_files`` besides, and its inputs have ``input_mb``. A host must
    accept the program and start it within ``ship_seconds``. All parties must be connected within
    ``connect_seconds`` after the first called ``mpc.start``. What is installed for the program
    takes at most ``packages_mb`` of a disk, and ``packages_seconds`` before the session begins.
    """

    memory_mb: float = 4096
    output_mb: float = 100
    files_mb: float = 256
    packages_mb: float = 2000
    packages_seconds: float = 600
    processes: int = 512
    output_files: int = 1000
    output_files_mb: float = 100
    input_mb: float = 1000
    ship_seconds: float = 25
    connect_seconds: float = 24


Openness = Literal["peers", "open"]
"""What a program can reach: its peers' endpoints, or all that its host can reach."""

Comparison = Literal["none", "same"]
"""Whether all parties must print the same."""

Outputs = Literal["evidence", "private"]
"""Where the files go that a party leaves in its output folder: there, or they stay on its host."""


Dependencies = Literal["auto", "build", "none"]
"""What is installed for a program: the wheels it asks for, also what must be built, or nothing."""

InputNames = Literal["same", "any"]
"""Whether the private inputs of all parties must have the same names."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of a session, which hold for every program.

    ``unpickle`` are types, as ``module.name``, that parties may send one another besides those
    that MPyC sends. ``tls`` asks for MPyC's own TLS, with certificates of the stack's authority.
    ``network`` is what the program reaches, ``outputs`` where its output files go.
    ``keep`` are patterns of files in the program's own folder that are output as well.
    ``input_names`` says whether the inputs of all parties must have the same names, and
    ``dependencies`` whether what the program asks for is installed.
    """

    limits: Limits = field(default_factory=Limits)
    compare: Comparison = "none"
    unpickle: tuple[str, ...] = ()
    tls: bool = False
    network: Openness = "peers"
    outputs: Outputs = "evidence"
    keep: tuple[str, ...] = ()
    input_names: InputNames = "same"
    dependencies: Dependencies = "auto"


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """What a stack's configuration says of its sessions, by `pulumi up` and `e3 run` alike.

    ``program`` is a file or folder, which may not exist, ``entry`` the file of a folder that is
    run, empty for the usual one, and ``args`` are its arguments. ``parties`` is their number, at
    most one a host. ``trigger`` is any text; a new one runs the session again. ``private_args`` are
    program arguments of one host alone, by host; no other host learns them. ``inputs`` is a folder
    with private inputs of each host in a subfolder, which are sent to that host alone.
    """

    program: Path
    entry: str = ""
    args: tuple[str, ...] = ()
    parties: int
    trigger: str = ""
    deadline_seconds: float
    rules: Rules = field(default_factory=Rules)
    private_args: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    inputs: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One stack: its hosts, how they are joined, and what they compute.

    ``regions`` maps a region to its number of hosts; ``latency_ms`` overrides round-trip
    times in milliseconds by pair of regions, each pair in alphabetical order. ``nats`` has
    what stands before each host that is not public, ``links`` what links do to packets by ordered
    pair of regions. ``authority`` signs certificates of
    hosts and parties. ``program`` is that of ``session``, as it is now.
    """

    stack: str
    fleet: Choice
    regions: Mapping[str, int]
    latency_ms: Mapping[tuple[str, str], float]
    nats: Mapping[str, NatBehaviour] = field(default_factory=dict)
    links: Mapping[tuple[str, str], Impairment] = field(default_factory=dict)
    overlay: Choice
    authority: Choice = field(default_factory=lambda: Choice(name="local"))
    program: Program
    session: SessionSettings
    folder: Path
    """Where the stack keeps its files on this machine: ``.e3/<stack>`` below the project."""

    @property
    def host_names(self) -> tuple[str, ...]:
        """``<region>-<index>`` of every host, in the order of the configuration."""
        return tuple(
            f"{region}-{i}" for region, count in self.regions.items() for i in range(count)
        )

    @property
    def reachability(self) -> Mapping[str, Reachability]:
        """The class of each host by what stands before it, in the order of `host_names`."""
        return {
            name: self.nats[name].reachability if name in self.nats else "public"
            for name in self.host_names
        }
