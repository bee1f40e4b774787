"""Labs for tests: they end with the test, and what they leave behind can be asked for."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e3.access.identity import identify
from e3.deployed import Stack
from e3.experiment import Choice
from e3.interfaces import Host, Network
from e3.lab.client import HostHandle, Lab, start, stop

NET = Path("/sys/class/net")
MOUNTS = Path("/proc/self/mounts")
KINDS = ("net", "mnt", "uts", "ipc", "pid")


@contextlib.contextmanager
def running(
    folder: Path,
    rtt_ms: Mapping[tuple[str, str], float] | None = None,
    regions: Sequence[str] = (),
) -> Iterator[Lab]:
    """Run a lab in ``folder`` with these regions; it is stopped whatever happens."""
    try:
        lab = start(folder, rtt_ms)
        for region in regions:
            lab.add_region(region)
        yield lab
    finally:
        stop(folder)


def unjoined(hosts: Sequence[Host]) -> Stack:
    """Return hosts of a lab as a stack in whose network there is nothing but the underlay."""
    return Stack(
        name="trial",
        hosts=tuple(hosts),
        choice=Choice(name="plain"),
        network=Network(addresses={host.name: host.underlay for host in hosts}),
        paths=(),
        certifies=False,
        setup_seconds=None,
        settled_seconds=None,
    )


@dataclass(frozen=True)
class Traces:
    """What a lab's processes hold, and what this process sees; other labs may run meanwhile.

    ``held`` are descriptors of the lab's namespaces: while one is open, no namespace of another
    lab gets the same name.
    """

    pids: frozenset[int]
    namespaces: frozenset[str]
    held: tuple[int, ...]
    interfaces: frozenset[Path] = field(default_factory=lambda: frozenset(NET.iterdir()))
    mounts: str = field(default_factory=MOUNTS.read_text)

    @classmethod
    def of(cls, lab: Lab, hosts: Sequence[HostHandle]) -> "Traces":
        """Note the processes of ``lab`` and every namespace in which they are and we are not."""
        status = lab.status()
        pids = [status["pid"], status["wan_pid"], *(h.identity.pid for h in hosts)]
        held = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for pid in pids for kind in KINDS]
        theirs = {link for pid in pids for link in namespaces(pid)}
        return cls(frozenset(pids), frozenset(theirs - namespaces(os.getpid())), tuple(held))

    def __del__(self) -> None:
        """Close the namespaces."""
        for descriptor in self.held:
            os.close(descriptor)

    def left(self) -> list[int]:
        """Return the processes, zombies apart, that still are in one of the lab's namespaces."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        inside = [pid for pid in pids if namespaces(pid) & self.namespaces]
        return [pid for pid in inside if identify(pid) is not None]

    def machine_is_as_before(self) -> bool:
        """Return whether this machine's own interfaces and mounts are those of then."""
        same_interfaces = frozenset(NET.iterdir()) == self.interfaces
        return same_interfaces and MOUNTS.read_text() == self.mounts


def namespaces(pid: int) -> set[str]:
    """Return the names of the namespaces of a process; none if it is gone or a zombie."""
    found = set()
    for kind in KINDS:
        with contextlib.suppress(OSError):
            found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
    return found
