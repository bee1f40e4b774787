"""The streams of a program: pipes between its process and the runner."""

from __future__ import annotations

import os
import socket

from e3.party.deployer_stream import DeployerStream
from e3.party.standard_input import TypedInput


def inherit(
    channel: DeployerStream, pipes: dict[str, tuple[int, int]], typed: TypedInput | None
) -> dict[str, int]:
    """Give the forked child its own streams; return the other descriptors that it writes to."""
    os.close(channel.fd_in)
    os.close(channel.fd_out)
    for reading, _ in pipes.values():
        os.close(reading)
    ends = {name: writing for name, (_, writing) in pipes.items()}
    source_in = os.open(os.devnull, os.O_RDONLY) if typed is None else typed.hand_over()
    for source, target in ((source_in, 0), (ends.pop("stdout"), 1), (ends.pop("stderr"), 2)):
        os.dup2(source, target)
        os.close(source)
    return ends


def keep(listener: socket.socket | None, pipes: dict[str, tuple[int, int]]) -> dict[str, int]:
    """Close the child's ends of the pipes; return the ends to read from."""
    if listener is not None:
        listener.close()
    for _, writing in pipes.values():
        os.close(writing)
    return {name: reading for name, (reading, _) in pipes.items()}
