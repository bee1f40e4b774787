"""Print what a service of this host tells at its socket."""

from __future__ import annotations

import socket
import sys

LIMIT_SECONDS = 10.0


def main(path: str) -> None:
    """Connect to a socket of the file system, and print all that comes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT_SECONDS)
        try:
            connection.connect(path)
            while data := connection.recv(65_536):
                sys.stdout.buffer.write(data)
        except OSError as error:
            raise SystemExit(f"the service does not answer: {error.strerror or error}") from None
