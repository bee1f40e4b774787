"""The probe on a host: it meets every peer, says who was silent, and needs one thread."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from e3.contact import PROBE

PORT = 11_299


@dataclass
class Running:
    """A probe that runs, at an address of the loopback."""

    process: subprocess.Popen[str]

    def said(self) -> Mapping[str, Mapping[str, object]]:
        """Return its report."""
        assert self.process.stdout is not None
        found: Mapping[str, Mapping[str, object]] = json.loads(self.process.stdout.readline())
        return found

    def threads(self) -> int:
        """Return the number of its threads."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))


@contextmanager
def probe(
    number: int, peers: Sequence[int], *, seconds: float = 20.0, first: Sequence[int] = ()
) -> Iterator[Running]:
    """Run a probe; its input ends with the block, and so does it."""
    argv = [sys.executable, "-I", "-S", str(PROBE)]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            task = {
                "name": f"h{number}",
                "address": at(number),
                "port": PORT,
                "peers": {f"h{peer}": at(peer) for peer in peers},
                "first": [f"h{peer}" for peer in first],
                "seconds": seconds,
            }
            assert process.stdin is not None
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            yield Running(process)
            process.stdin.close()
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()


def at(number: int) -> str:
    return f"127.91.0.{number + 1}"


def test_all_meet_all_with_a_thread_each() -> None:
    everyone = range(12)
    with ExitStack() as stack:
        probes = [stack.enter_context(probe(i, [j for j in everyone if j != i])) for i in everyone]
        for i, each in enumerate(probes):
            said = each.said()
            assert said["errors"] == {}
            assert said["rtt_ms"].keys() == said["ago"].keys()
            assert said["rtt_ms"].keys() == {f"h{j}" for j in everyone if j != i}
            assert each.threads() == 1


def test_who_comes_late_is_met() -> None:
    with probe(0, [1]) as early:
        time.sleep(0.5)
        with probe(1, [0]) as late:
            assert late.said()["errors"] == {}
            assert early.said()["errors"] == {}


def test_of_two_that_dial_each_other_one_begins() -> None:
    with probe(1, [0], first=[0]) as second, probe(0, [1]) as first:
        assert first.said()["errors"] == {}
        assert second.said()["errors"] == {}
    with probe(1, [0], first=[0], seconds=3.0) as alone:  # and tries itself if nobody does
        assert alone.said()["errors"].keys() == {"h0"}


def answer_once(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(None, "timed out"), (b"x" * 20, "answered with something else"), (b"", "closed before")],
    ids=["silent", "other", "closes"],
)
def test_a_peer_that_does_not_echo_is_named_with_the_reason(answer: bytes | None, why: str) -> None:
    with socket.create_server((at(1), PORT)) as server:
        if answer is not None:
            threading.Thread(target=answer_once, args=(server, answer), daemon=True).start()
        with probe(2, []), probe(0, [1, 2], seconds=1.0) as one:
            said = one.said()
            assert said["rtt_ms"].keys() == {"h2"}
            assert said["errors"].keys() == {"h1"}
            assert why in str(said["errors"]["h1"])


def echo_what_is_small(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        said = b""
        while said.count(b"\n") <= 2:  # it sends on before it has an echo
            said += connection.recv(4096)
        connection.sendall(b"".join(said.splitlines(keepends=True)[:2]))
        time.sleep(4)


def test_a_path_that_loses_large_packets_is_named_as_such() -> None:
    with socket.create_server((at(1), PORT)) as server:
        threading.Thread(target=echo_what_is_small, args=(server,), daemon=True).start()
        with probe(0, [1], seconds=3.0) as one:
            said = one.said()
            assert said["rtt_ms"] == said["ago"] == {}
            assert str(said["errors"]["h1"]).startswith("small packets pass and full-sized ones do")


def calls_from(address: str) -> int:
    """Return how many connections to a probe are being opened from an address: proc(5), net/tcp."""
    own, port, opening = socket.inet_aton(address)[::-1].hex().upper(), f"{PORT:04X}", "02"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        row[1].startswith(f"{own}:") and row[2].endswith(f":{port}") and row[3] == opening
        for row in rows
    )


def test_an_attempt_that_takes_long_goes_on_beside_the_next_one() -> None:
    """It was given up after 0.6 s; a tunnel that is made meanwhile may need more round trips."""
    with (
        socket.create_server((at(1), PORT), backlog=0) as server,
        socket.create_connection((at(1), PORT)),  # it fills the queue: what follows is dropped
        probe(0, [1]) as one,
    ):
        deadline = time.monotonic() + 10
        while calls_from(at(0)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.accept()[0].close()
        connection, _ = server.accept()
        with connection:
            while said := connection.recv(4096):  # until it has all echoes, and closes
                connection.sendall(said)
            assert one.said()["errors"] == {}


def test_a_port_in_use_is_an_error_with_oneself() -> None:
    with socket.create_server((at(0), PORT)), probe(0, [1]) as one:
        said = one.said()
        assert "cannot listen" in str(said["errors"]["h0"])
