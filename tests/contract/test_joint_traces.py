"""Where a share could be seen while hosts make, renew and use it: on its own host's disk alone.

Looked at are the command lines and environments of all processes, what travels between this
machine and the hosts, the evidence, what the hosts log, and what ceremonies return.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from e3.access.ssh import SshAccess
from e3.ceremonies.removal import remove
from tests import machines
from tests.ceremony_malice import spellings
from tests.joint_hosts import established, files_with, shares_on
from tests.labs import running
from tests.machines import Machine

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's"),
]

NAMES = ("a-0", "a-1")
LOOK_SECONDS = 0.05
PIECE_BYTES = 65_536


@dataclass
class Wire:
    """A TCP port before a machine's SSH server, where all that passes is kept."""

    machine: Machine
    server: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    passed: bytearray = field(default_factory=bytearray)
    open: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        port: int = self.server.getsockname()[1]
        return port

    def serve(self) -> None:
        while True:
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.machine.port))
            self.open += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(source, target), daemon=True).start()

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                self.passed += data
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        for each in (self.server, *self.open):
            each.close()


@contextmanager
def tapped(machine: Machine) -> Iterator[Wire]:
    wire = Wire(machine)
    thread = threading.Thread(target=wire.serve)
    thread.start()
    try:
        yield wire
    finally:
        wire.close()
        thread.join()


@contextmanager
def processes_seen() -> Iterator[set[bytes]]:
    """Yield the command lines and environments of all processes, of hosts as well, until now."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    seen.add((process / "cmdline").read_bytes())
                    seen.add((process / "environ").read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def test_no_share_is_seen_outside_of_its_host(tmp_path: Path) -> None:
    with running(tmp_path / "lab", regions=["a"]) as lab, ExitStack() as stack:
        machines.keys(lab.folder)
        handles = lab.add_hosts([(name, "a") for name in NAMES])
        wires = [
            stack.enter_context(tapped(stack.enter_context(machines.opened(handle.access))))
            for handle in handles
        ]
        hosts = [
            replace(handle.host(), access=reached(wire, lab.folder))
            for handle, wire in zip(handles, wires, strict=True)
        ]
        with processes_seen() as seen:
            evidence = tmp_path / "authority"
            first = established(evidence, hosts, None)
            shares = shares_on([handle.host() for handle in handles])
            second = established(evidence, hosts, first.header, seconds=0)
            shares += shares_on([handle.host() for handle in handles])
        places = {
            "processes": b"\n".join(seen),
            "traffic": b"".join(bytes(wire.passed) for wire in wires),
            "evidence": b"".join(
                each.read_bytes() for each in evidence.rglob("*") if each.is_file()
            ),
            "results": repr((first, second)).encode(),
        }
        for place, content in places.items():
            assert not [each for share in shares for each in spellings(share) if each in content], (
                place
            )
        # what is there is found
        assert b"joint.holder" in places["processes"]
        assert places["traffic"].count(b"SSH-2.0-") >= 2 * len(NAMES)
        assert b"completed" in places["evidence"]
        assert repr(first.header.public_key).encode() in places["results"]
        for handle, share in zip(handles, shares[-len(NAMES) :], strict=True):
            assert len(files_with(handle.host(), [share])) == 1
            assert not files_with(handle.host(), [each for each in shares if each != share])
        asyncio.run(remove(hosts, "nebula"))


def reached(wire: Wire, lab: Path) -> SshAccess:
    return replace(machines.access(wire.machine, lab, "root"), port=wire.port)
