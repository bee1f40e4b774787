"""Runs on a host: traffic that is no MPC, as of people who read pages. Standard library only.

``serve ADDRESS PORT`` answers each connection: it reads a number of bytes to send, and sends them.
It writes an empty line once it listens and ends with its input.
``ask FROM PORT SEED SECONDS PEER...`` asks servers for pages of random sizes at random moments.
"""

import random
import socket
import sys
import threading
import time

MEAN_PAUSE_SECONDS = 0.08
MEDIAN_BYTES = 8_000
MOST_BYTES = 300_000
SPREAD = 1.2
NUMBER_BYTES = 4
WAIT_SECONDS = 10.0


def serve(address: str, port: int) -> None:
    """Answer until standard input ends."""
    server = socket.create_server((address, port), backlog=64)

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(flush=True)  # noqa: T201 - that is the protocol
    sys.stdin.read()


def answer(connection: socket.socket) -> None:
    """Send as many bytes as are asked for."""
    with connection:
        number = connection.recv(NUMBER_BYTES)
        if len(number) == NUMBER_BYTES:
            connection.sendall(bytes(min(int.from_bytes(number, "big"), MOST_BYTES)))


def ask(source: str, port: int, seed: str, seconds: float, peers: list[str]) -> None:
    """Ask servers for that long."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(draw.expovariate(1 / MEAN_PAUSE_SECONDS))
        wanted = min(int(draw.lognormvariate(0, SPREAD) * MEDIAN_BYTES) + 1, MOST_BYTES)
        try:
            with socket.create_connection(
                (draw.choice(peers), port), timeout=WAIT_SECONDS, source_address=(source, 0)
            ) as connection:
                connection.sendall(wanted.to_bytes(NUMBER_BYTES, "big"))
                while connection.recv(1 << 16):
                    pass
        except OSError:  # that host is not reached from here
            continue


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        ask(sys.argv[2], int(sys.argv[3]), sys.argv[4], float(sys.argv[5]), sys.argv[6:])
