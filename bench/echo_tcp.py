"""Runs on hosts: the round trip of 64 bytes over TCP. `serve PORT`, or `ask ADDRESS PORT TIMES`."""

import socket
import statistics
import sys
import time

SIZE = 64


def exactly(connection: socket.socket) -> bytes:
    """Return the next message, nothing at the end."""
    received = b""
    while len(received) < SIZE and (part := connection.recv(SIZE - len(received))):
        received += part
    return received


def serve(port: int) -> None:
    """Echo what comes by one connection."""
    with socket.create_server(("", port)) as listening:
        print("ready", flush=True)
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while message := exactly(connection):
            connection.sendall(message)


def ask(address: str, port: int, times: int) -> None:
    """Print the median round trip in microseconds."""
    with socket.create_connection((address, port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            connection.sendall(bytes(SIZE))
            exactly(connection)
            taken.append(time.perf_counter() - began)
    print(statistics.median(taken) * 1e6)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
