"""Runs on a host: tells OpenVPN's hub to drop members, and prints who is connected.

    python openvpn_hub.py SOCKET [SUBJECT...]

The connections of each SUBJECT are closed. Prints a JSON object: by subject, since when which
client is connected, as a text that changes with each connection. The commands and their
answers are those of doc/management-notes.txt in github.com/OpenVPN/openvpn.
"""

from __future__ import annotations

import json
import socket
import sys

ANSWER_SECONDS = 5.0
MOST_LINES = 10_000
SINCE = slice(7, 10, 2)
"""Of the fields of a client: when it connected, in seconds of Unix, and its number."""


def members(path: str, dropped: list[str]) -> dict[str, str]:
    """Drop members at the hub with that management socket; return who is connected afterwards."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(path)
        with connection.makefile("rw", encoding="utf-8", errors="replace") as stream:
            for subject in dropped:
                stream.write(f"kill {subject}\n")
            stream.write("status 2\n")
            stream.flush()
            found = {}
            for _ in range(MOST_LINES):
                kind, *fields = stream.readline().rstrip("\r\n").split(",")
                if kind == "CLIENT_LIST" and fields:
                    found[fields[0]] = " ".join(fields[SINCE])
                if kind in {"END", ""}:
                    break
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(members(sys.argv[1], sys.argv[2:])))
