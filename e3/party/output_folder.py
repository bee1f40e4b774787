"""The output folder of a party, as its runner has it: its files are sent, or kept on the host."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from e3.party.keeping import keep
from e3.party.outputs import Found, LeftOut, find, pieces
from e3.party.protocol import Spec

Event = tuple[str, dict[str, object]]
"""Kind and fields of an event, see `e3.party.protocol`."""


class OutputFolder:
    """The output folder of a party, as its runner has it."""

    def __init__(self, spec: Spec, state: str, program: socket.socket) -> None:
        """Expect the folder's descriptor from ``program``; ``state`` is E3's folder here."""
        self._spec = spec
        self._state = Path(state)
        self._program = program

    def events(self) -> Iterator[Event]:
        """Yield what is said of the output of a program that has ended, see `e3.party.protocol`.

        Private files are kept on this host, and only their number is said.
        """
        spec, left_out = self._spec, LeftOut()
        try:
            _, descriptors, _, _ = socket.recv_fds(self._program, 1, 1, socket.MSG_DONTWAIT)
        except BlockingIOError:  # it ended before it was confined
            return
        if not descriptors:
            return
        top = descriptors[0]
        try:
            files = find(
                top,
                most_files=spec.output_files,
                most_bytes=spec.output_bytes,
                left_out=left_out,
            )
            if spec.outputs == "private":
                kept = keep(top, files, self._state, spec.session, left_out) if files else []
                yield "kept", {"files": len(kept), "bytes": sum(file.size for file in kept)}
            else:
                yield from sent(top, files, left_out)
            if left_out.total:
                yield "leftout", {"files": left_out.files, "total": left_out.total}
        finally:
            os.close(top)


def sent(top: int, files: list[Found], left_out: LeftOut) -> Iterator[Event]:
    """Yield the events that send files to the deployer."""
    for file in files:
        try:
            for number, piece in enumerate(pieces(top, file)):
                if not number:
                    yield "file", {"name": file.name, "size": file.size}
                yield "piece", {"data": base64.b64encode(piece).decode()}
            if not file.size:
                yield "file", {"name": file.name, "size": 0}
        except OSError as error:
            left_out.add(file.name, f"it cannot be read ({error.strerror})")
