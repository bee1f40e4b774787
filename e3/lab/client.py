"""Start, change and stop a lab, from outside of it. Synchronous and thread-safe.

Every call opens its own connection to the daemon, which answers one call at a time.
"""

import contextlib
import fcntl
import os
import platform
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e3 import nats, private
from e3.access.environment import ENVIRONMENT
from e3.access.identity import ProcessIdentity, identify
from e3.access.namespace import NamespaceAccess
from e3.errors import LabError
from e3.impairments import Impairment, Pair
from e3.interfaces import Host
from e3.lab import wire
from e3.lab.links import MOST_DELAY_MS
from e3.lab.userspace import open_tun, require_tools
from e3.nats import NatBehaviour, Reachability

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = PROJECT / ".tools" / "bin"
START_SECONDS = 30.0
ANSWER_SECONDS = 300.0
GRACE_SECONDS = 1.0
STOP_SECONDS = 60.0
DISK_MB = 1024
LAB_FILES = ("lab.sock", "lab.pid", "hosts", "resolv.conf")


@dataclass(frozen=True, kw_only=True)
class HostHandle:
    """A host of a lab: its first process, its addresses, and the kind of NAT before it.

    ``underlay6`` is its IPv6 address if it has one besides ``underlay``, ``http_proxy`` the
    ``address:port`` of the HTTP proxy that alone leads out, if it is behind one.
    """

    name: str
    region: str
    underlay: str
    underlay6: str
    http_proxy: str
    reachability: Reachability
    identity: ProcessIdentity
    in_user_namespace: bool

    @property
    def access(self) -> NamespaceAccess:
        """How commands and files reach the host."""
        return NamespaceAccess(
            host=self.name,
            pid=self.identity.pid,
            started=self.identity.started,
            boot=self.identity.boot,
            in_user_namespace=self.in_user_namespace,
        )

    def host(self, python: str = sys.executable) -> Host:
        """Return the host as overlays and sessions know it; ``python`` must have MPyC."""
        return Host(
            name=self.name,
            region=self.region,
            system=f"{platform.machine()}-linux",
            underlay=self.underlay,
            underlay6=self.underlay6,
            http_proxy=self.http_proxy,
            reachability=self.reachability,
            python=python,
            tools=str(TOOLS),
            access=self.access,
        )

    def alive(self) -> bool:
        """Return whether this host still runs; one created again under its name does not count."""
        return self.identity.alive()


@dataclass(frozen=True)
class Lab:
    """A lab that runs, or ran, in ``folder``; each verb raises `LabError` when it does not run."""

    folder: Path

    def add_region(self, name: str) -> None:
        """Ensure that the region exists, linked with all others."""
        self._ask({"verb": "add_region", "name": name})

    def remove_region(self, name: str) -> None:
        """Remove the region and its hosts, if it exists."""
        self._ask({"verb": "remove_region", "name": name})

    def add_host(self, name: str, region: str, behind: str | NatBehaviour = "public") -> HostHandle:
        """Create a host; replace the one of that name, if it exists."""
        return self.add_hosts([(name, region)], {name: behind})[0]

    def add_hosts(
        self,
        hosts: Sequence[tuple[str, str]],
        behind: Mapping[str, str | NatBehaviour] | None = None,
    ) -> list[HostHandle]:
        """Create hosts, each given by name and region; replace those that exist.

        ``behind`` has what is before each host that is not public, as a value or as
        `e3.nats.to_text` writes it. Hosts have NATs of their own, unless these are shared.
        """
        asked = {
            name: it if isinstance(it, str) else nats.to_text(it)
            for name, it in (behind or {}).items()
        }
        rows = [[name, region, asked.get(name, "public")] for name, region in hosts]
        answer = self._ask({"verb": "add_hosts", "hosts": rows})
        return [_made(values) for values in answer["hosts"]]

    def remove_host(self, name: str) -> None:
        """Remove the host, if it exists."""
        self.remove_hosts([name])

    def remove_hosts(self, names: Sequence[str]) -> None:
        """Remove those of these hosts that exist."""
        self._ask({"verb": "remove_hosts", "names": list(names)})

    def renumber_host(self, name: str) -> HostHandle:
        """Give a host another address on its region's network, as a provider may do.

        Behind NATs the outermost NAT gets it; the host keeps its private address.
        """
        return _made(self._ask({"verb": "renumber_host", "name": name})["host"])

    def reboot_nat(self, name: str) -> None:
        """Delete all mappings and flows of the NATs before a host."""
        self._ask({"verb": "reboot_nat", "name": name})

    def set_cable(self, name: str, *, whole: bool) -> None:
        """Disconnect a host and its NATs from the region, or connect them again (``whole``).

        Packets are lost silently: the host's own interface stays up.
        """
        self._ask({"verb": "set_cable", "name": name, "whole": whole})

    def set_rtt(self, rtt_ms: Mapping[Pair, float]) -> None:
        """Set the round trips of pairs of regions, or inside of one, half of it each way."""
        self._ask({"verb": "set_rtt", "rtt_ms": _rows(rtt_ms)})

    def impair(self, impairments: Mapping[Pair, Impairment]) -> None:
        """Set the impairment of every ordered pair of regions, none for those not given."""
        rows = [[one, other, it.to_properties()] for (one, other), it in impairments.items()]
        self._ask({"verb": "impair", "links": rows})

    def set_processors(self, shares: Mapping[str, float]) -> None:
        """Set which part of one processor each host has, all there are for those not given.

        It counts for all that runs on the host, and for what enters it later.
        """
        self._ask({"verb": "set_processors", "shares": dict(shares)})

    def status(self) -> dict[str, Any]:
        """Return the lab's process, regions and living hosts as plain values."""
        return self._ask({"verb": "status"})

    def hosts(self) -> list[HostHandle]:
        """Return the hosts that run."""
        handles = map(_handle, self.status()["hosts"])
        return [handle for handle in handles if handle is not None]

    def measure(self) -> dict[Pair, float]:
        """Return the round trip of each pair of regions in ms, the least of several echoes.

        Raises `LabError` if one is off by more than 10 % and more than 1 ms.
        """
        answer = self._ask({"verb": "measure"})
        return {(one, other): rtt_ms for one, other, rtt_ms in answer["rtt_ms"]}

    def alive(self) -> bool:
        """Return whether a lab runs in this folder."""
        try:
            with _connected(self.folder):
                return True
        except OSError:
            return False

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            with _connected(self.folder) as connection:
                wire.send(connection, request)
                answer = wire.receive(connection)
        except OSError as error:
            raise LabError(
                f"no lab runs in {self.folder} ({error.strerror or error});"
                " `pulumi refresh` and `pulumi up` make it anew"
            ) from error
        if answer is None:
            raise LabError(f"the lab in {self.folder} ended; see {self.folder / 'lab.log'}")
        wire.raise_error(answer)
        return answer


def start(
    folder: Path,
    rtt_ms: Mapping[Pair, float] | None = None,
    *,
    disk_mb: int = DISK_MB,
    visible: Sequence[Path] = (),
) -> Lab:
    """Start a lab in ``folder``; one that runs there is stopped first.

    ``rtt_ms`` are round trips in ms by pair of regions, in either order, that differ from
    the defaults (`e3.lab.links`); they hold for regions that come later, too. A host writes at
    most ``disk_mb``. Besides the project and Python, the folders ``visible`` stay visible on
    hosts where they lie below a folder that each host has for itself, such as /tmp.

    Raises `PlatformError` when this machine cannot run labs, with what helps.
    """
    require_tools()
    os.close(open_tun())
    folder = private.folder(folder.absolute())
    with _locked(folder):
        _stop(folder)
        private.folder(folder / "ssh")
        request = {
            "rtt_ms": _rows(rtt_ms or {}),
            "visible": _seen(visible),
            "hidden": [str(PROJECT / ".e3")],
            "environment": ENVIRONMENT,
            "disk_mb": disk_mb,
        }
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(START_SECONDS)
            subprocess.run(
                [sys.executable, "-m", "e3.lab.daemon", str(folder), str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                check=True,
                timeout=START_SECONDS,
            )
            theirs.close()
            wire.send(ours, request)
            answer = wire.receive(ours)
        if answer is None:
            raise LabError(f"the lab died while it started; see {folder / 'lab.log'}")
        wire.raise_error(answer)
    return Lab(folder)


def stop(folder: Path) -> None:
    """Stop the lab in ``folder`` and remove its files; keep its log. Do nothing without a lab.

    Returns once all its processes are gone.
    """
    folder = folder.absolute()
    if folder.is_dir():
        with _locked(folder):
            _stop(folder)


def _stop(folder: Path) -> None:
    daemon = _daemon(folder)
    if daemon is not None:
        family = [daemon, *_children(daemon.pid)]
        with contextlib.suppress(OSError), _connected(folder, STOP_SECONDS) as connection:
            wire.send(connection, {"verb": "stop"})
            wire.receive(connection)
        for process in family:
            _kill(process)
    for name in LAB_FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "ssh", ignore_errors=True)


def _daemon(folder: Path) -> ProcessIdentity | None:
    """Return the process that holds the lab's record, if one does."""
    try:
        with (folder / "lab.pid").open() as record:
            fcntl.flock(record, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return identify(int((folder / "lab.pid").read_text() or 0))
    return None  # the process that wrote it has ended


def _children(pid: int) -> list[ProcessIdentity]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(OSError):
        found = [identify(int(child)) for child in listed.read_text().split()]
        return [child for child in found if child is not None]
    return []


def _kill(process: ProcessIdentity) -> None:
    """Wait a moment for the process to end by itself, then kill it."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        for moment in (GRACE_SECONDS, STOP_SECONDS):
            # checked after opening: the descriptor then refers to that process and to no later one
            if not process.alive() or select.select([descriptor], [], [], moment)[0]:
                return
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)
    raise LabError(f"process {process.pid} of the lab does not die")


@contextmanager
def _connected(folder: Path, seconds: float = ANSWER_SECONDS) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        with wire.short_path(folder) as path:
            connection.connect(path)
        yield connection


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock that lets one process at a time start or stop a lab in this folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _seen(visible: Sequence[Path]) -> list[str]:
    """Return the folders that hosts see: the project, Python, and what else was asked for."""
    prefixes = {Path(sys.base_prefix), Path(sys.prefix)} - {Path("/usr"), Path("/usr/local")}
    return sorted({str(path.resolve()) for path in (PROJECT, *prefixes, *visible)})


def _made(values: Mapping[str, Any]) -> HostHandle:
    """Return the host that the lab has just described; raise `LabError` if it has died."""
    handle = _handle(values)
    if handle is None:
        raise LabError(f"host {values['name']} died as soon as it was made; see lab.log")
    return handle


def _handle(values: Mapping[str, Any]) -> HostHandle | None:
    """Return the host that the lab describes, None if it is gone by now."""
    identity = identify(values["pid"])
    if identity is None:
        return None
    return HostHandle(
        name=values["name"],
        region=values["region"],
        underlay=values["underlay"],
        underlay6=values.get("underlay6", ""),  # a lab of an older version has none
        http_proxy=values.get("http_proxy", ""),
        reachability=values["reachability"],
        identity=identity,
        in_user_namespace=values["in_user_namespace"],
    )


def _rows(rtt_ms: Mapping[Pair, float]) -> list[list[str | float]]:
    for (one, other), value in rtt_ms.items():
        if not 0 <= value <= 2 * MOST_DELAY_MS:
            raise LabError(
                f"the round trip {one}-{other} is {value} ms;"
                f" it must be between 0 and {2 * MOST_DELAY_MS:g} ms"
            )
    return [[one, other, value] for (one, other), value in rtt_ms.items()]
