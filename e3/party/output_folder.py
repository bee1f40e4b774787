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
        descriptors = self._descriptors()
        try:
            files = found(spec, descriptors, left_out)
            if spec.outputs == "private":
                kept = keep(files, self._state, spec.session, left_out) if files else []
                yield "kept", {"files": len(kept), "bytes": sum(file.size for file in kept)}
            else:
                yield from sent(files, left_out)
            if left_out.total:
                yield "leftout", {"files": left_out.files, "total": left_out.total}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _descriptors(self) -> list[int]:
        """Return the output folder and the program's own; none if it ended before its start."""
        try:
            return socket.recv_fds(self._program, 1, 2, socket.MSG_DONTWAIT)[1]
        except BlockingIOError:
            return []


def found(spec: Spec, descriptors: list[int], left_out: LeftOut) -> list[Found]:
    """Return the files of the output folder, and those of the program's own that are to be kept."""
    files: list[Found] = []
    for top, patterns in zip(descriptors, (None, spec.keep), strict=False):
        if patterns == ():
            continue
        names = {file.name for file in files}
        more = find(
            top,
            most_files=spec.output_files - len(files),
            most_bytes=spec.output_bytes - sum(file.size for file in files),
            left_out=left_out,
            patterns=patterns,
        )
        for file in more:
            if file.name in names:
                left_out.add(file.name, "one of that name is in the output folder")
            else:
                files.append(file)
    return files


def sent(files: list[Found], left_out: LeftOut) -> Iterator[Event]:
    """Yield the events that send files to the deployer."""
    for file in files:
        try:
            for number, piece in enumerate(pieces(file)):
                if not number:
                    yield "file", {"name": file.name, "size": file.size}
                yield "piece", {"data": base64.b64encode(piece).decode()}
            if not file.size:
                yield "file", {"name": file.name, "size": 0}
        except OSError as error:
            left_out.add(file.name, f"it cannot be read ({error.strerror})")
