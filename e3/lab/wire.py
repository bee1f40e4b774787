"""The messages between the daemon and its clients: one JSON object a line on a unix socket."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e3 import errors

SOCKET = "lab.sock"
LONGEST_MESSAGE = 16_000_000


@contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """Yield the socket's path through a descriptor: a socket address holds only 108 bytes."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


def send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    """Send one message."""
    connection.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """Return the one message that the other side sends, or None if it closes without one."""
    received = bytearray()
    while not received.endswith(b"\n"):
        part = connection.recv(65_536)
        if not part or len(received) > LONGEST_MESSAGE:
            return None
        received += part
    message = json.loads(received)
    return message if isinstance(message, dict) else None


def from_error(error: BaseException) -> dict[str, Any]:
    """Return the answer that reports an error."""
    kind = type(error).__name__ if isinstance(error, errors.E3Error) else "LabError"
    said = str(error) if isinstance(error, errors.E3Error) else f"{type(error).__name__}: {error}"
    return {"error": said, "kind": kind}


def raise_error(answer: Mapping[str, Any]) -> None:
    """Raise the error that ``answer`` holds, if it holds one."""
    if "error" in answer:
        kind = getattr(errors, str(answer.get("kind")), errors.LabError)
        raise kind(answer["error"])
