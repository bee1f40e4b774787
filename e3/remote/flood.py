"""Runs on a host: measures a path's throughput over TCP, as MPyC uses it. Standard library only.

``receive ADDRESS PORT SECONDS`` writes an empty line once it listens. When its only sender is done,
it writes the bits per second that arrived after the first ``SECONDS``, in which TCP finds its rate.
``send FROM TO PORT SECONDS`` sends that long.
"""

import socket
import sys
import time

PART = bytes(1 << 16)
WAIT_SECONDS = 30.0


def receive(address: str, port: int, start_seconds: float) -> None:
    """Receive from one sender, and print how fast the data arrived."""
    with socket.create_server((address, port), family=family(address)) as server:
        server.settimeout(WAIT_SECONDS)
        print(flush=True)  # noqa: T201 - that is the protocol
        connection, _ = server.accept()
    with connection:
        connection.settimeout(WAIT_SECONDS)
        connection.recv(len(PART))
        start = time.monotonic() + start_seconds
        total, end = 0, start
        while size := len(connection.recv(len(PART))):
            end = time.monotonic()
            total += size if end > start else 0
    print(total * 8 / (end - start) if end > start else 0.0, flush=True)  # noqa: T201


def send(source: str, target: str, port: int, seconds: float) -> None:
    """Send as fast as possible."""
    with socket.create_connection(
        (target, port), timeout=WAIT_SECONDS, source_address=(source, 0)
    ) as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(PART)


def family(address: str) -> socket.AddressFamily:
    """Return the family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def main() -> None:
    """Run the command of the arguments."""
    if sys.argv[1] == "receive":
        receive(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        send(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))


if __name__ == "__main__":
    main()
