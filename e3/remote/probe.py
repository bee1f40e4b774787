"""Runs on a host: exchanges data with every other host over the overlay, and times it.

Reads one JSON line: ``{"name", "address", "port", "peers": {name: address}, "first": [name],
"seconds"}``.
It answers every peer that connects, connects to every peer until ``seconds`` have passed, and
writes one JSON line: ``{"rtt_ms": {name: number}, "ago": {name: seconds}, "errors": {name:
text}}``. ``ago`` is how long before that line data came back. It continues to answer until its
standard input ends. Standard library only.

The last exchange is larger than a packet can be: a path may lose large packets without a word (RFC
2923, 2.1), and a session would begin over it and stand still.

Peers named in ``first`` connect first. Two ends of a WireGuard tunnel that start at once refuse
each other's handshake, and try again 5 s later, at about the same time.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Mapping

ROUNDS = 2
FIRST_TRY_SECONDS = 0.6
RETRY_SECONDS = 0.05
GREETING_BYTES = 256
FULL_BYTES = 3000
"""Two packets of Ethernet's size."""
TURN_SECONDS = 1.0


def answer(connection: socket.socket) -> None:
    """Send back whatever arrives, until the peer closes the connection."""
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(GREETING_BYTES):
            connection.sendall(data)


def listen(server: socket.socket, met: Mapping[str, threading.Event]) -> None:
    """Answer each connection in a thread of its own; set the event of its address in ``met``."""
    while True:
        connection, source = server.accept()
        if source[0] in met:
            met[source[0]].set()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def echo(connection: socket.socket, greeting: bytes) -> float:
    """Send a greeting, wait for its echo, and return how many seconds that took."""
    start = time.perf_counter()
    connection.sendall(greeting)
    received = b""
    while len(received) < len(greeting):
        data = connection.recv(len(greeting) - len(received))
        if not data:
            raise ConnectionError("closed before it answered")
        received += data
    if received != greeting:
        raise ConnectionError("answered with something else")
    return time.perf_counter() - start


def exchange_full(connection: socket.socket, greeting: bytes) -> None:
    """Exchange data that fills packets; raise `TimeoutError` if they do not pass."""
    try:
        echo(connection, greeting * (FULL_BYTES // len(greeting) + 1))
    except TimeoutError:
        raise TimeoutError(
            "small packets pass and full-sized ones do not; set a smaller mtu in e3:overlay-options"
        ) from None


def meet(name: str, source: str, address: tuple[str, int], deadline: float) -> tuple[float, float]:
    """Return the round-trip time to a peer in ms, and the monotonic time of its first answer.

    Retries until the deadline.
    """
    greeting = f"e3-probe {name}\n".encode()
    patience = FIRST_TRY_SECONDS
    while True:
        try:
            with socket.create_connection(
                address, timeout=patience, source_address=(source, 0)
            ) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Once connected, an answer may take long: with Tor it does.
                connection.settimeout(max(deadline - time.monotonic(), RETRY_SECONDS))
                first, met = echo(connection, greeting), time.monotonic()
                others = [echo(connection, greeting) for _ in range(ROUNDS - 1)]
                exchange_full(connection, greeting)
                return min(first, *others) * 1000, met
        except OSError:
            if time.monotonic() + RETRY_SECONDS >= deadline:
                raise
            time.sleep(RETRY_SECONDS)
            # The first packet may be lost while a path is made. That must not cost the long
            # retransmission time-outs of TCP.
            patience = min(2 * patience, max(deadline - time.monotonic(), RETRY_SECONDS))


def report(findings: dict[str, object]) -> None:
    """Write the one line of the answer."""
    sys.stdout.write(json.dumps(findings) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the task, connect to every peer, report, and answer until the input ends."""
    task = json.loads(sys.stdin.readline())
    deadline = time.monotonic() + task["seconds"]
    rtt_ms: dict[str, float] = {}
    at: dict[str, float] = {}
    errors: dict[str, str] = {}
    family = socket.AF_INET6 if ":" in task["address"] else socket.AF_INET
    try:
        server = socket.create_server(
            (task["address"], task["port"]), family=family, backlog=len(task["peers"]) + 1
        )
    except OSError as error:
        reason = f"cannot listen on {task['address']} port {task['port']}: {error.strerror}"
        report({"rtt_ms": {}, "ago": {}, "errors": {task["name"]: reason}})
        return
    met = {address: threading.Event() for address in task["peers"].values()}
    threading.Thread(target=listen, args=(server, met), daemon=True).start()

    def one(name: str, address: str) -> None:
        if name in task["first"]:
            met[address].wait(TURN_SECONDS)
        try:
            rtt_ms[name], at[name] = meet(
                task["name"], task["address"], (address, task["port"]), deadline
            )
        except OSError as error:
            errors[name] = str(error) or type(error).__name__

    threads = [
        threading.Thread(target=one, args=item, daemon=True) for item in task["peers"].items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = time.monotonic()
    ago = {name: now - seconds for name, seconds in at.items()}
    report({"rtt_ms": rtt_ms, "ago": ago, "errors": errors})
    sys.stdin.read()


if __name__ == "__main__":
    main()
