"""Runs on a host: what an intruder tries, and what arrives where it is tried. Standard library.

``listen ADDRESS PORT`` takes TCP connections and UDP datagrams there. It writes an empty line once
it does, and for each line of its input how many of either have come: ``{"tcp": n, "udp": n}``.
``dial ADDRESS PORT [SOURCE]`` opens a connection and sends a few datagrams, from an address of its
own choice if ``SOURCE`` is given, and writes whether the connection was opened: ``{"tcp": true}``.
"""

import json
import socket
import sys
import threading

SECONDS = 2.0
DATAGRAMS = 3


def listen(address: str, port: int) -> None:
    """Count what arrives."""
    came = {"tcp": 0, "udp": 0}
    tcp = socket.create_server((address, port))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, port))

    def accept() -> None:
        while True:
            connection, _ = tcp.accept()
            connection.close()
            came["tcp"] += 1

    def receive() -> None:
        while True:
            udp.recvfrom(2048)
            came["udp"] += 1

    for work in (accept, receive):
        threading.Thread(target=work, daemon=True).start()
    print(flush=True)  # noqa: T201 - that is the protocol
    for _ in sys.stdin:
        print(json.dumps(came), flush=True)  # noqa: T201 - the same


def dial(address: str, port: int, source: str) -> None:
    """Try to reach it."""
    own = (source, 0) if source else None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        if own:
            udp.bind(own)
        for _ in range(DATAGRAMS):
            try:
                udp.sendto(b"intruder", (address, port))
            except OSError:  # a rule of its own host, or an answer that refuses
                continue
    try:
        socket.create_connection((address, port), timeout=SECONDS, source_address=own).close()
    except OSError:
        opened = False
    else:
        opened = True
    print(json.dumps({"tcp": opened}))  # noqa: T201 - the same


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        listen(sys.argv[2], int(sys.argv[3]))
    else:
        dial(sys.argv[2], int(sys.argv[3]), "".join(sys.argv[4:5]))
