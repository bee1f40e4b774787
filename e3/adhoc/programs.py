"""Programs that travel in a proposal: packed by whoever invites, unpacked by whoever joins."""

import base64
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import msgspec

from e3 import private
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import unbase64
from e3.didcomm.session.bodies import (
    MOST_FILES,
    PROGRAM_BYTES,
    PROPOSAL_BYTES,
    ProgramFile,
    Proposal,
    Requirement,
)
from e3.errors import ProgramError
from e3.experiment import Program
from e3.party.statement import mpyc_parser, mpyc_source
from e3.party.tree import FOLDER_MODE, PROGRAM_MODE
from e3.remote.text import printable
from e3.session import programs

EXECUTABLE, PLAIN = 0o755, 0o644
NAME_LENGTH = 200


def propose(  # noqa: PLR0913 - what a proposal is made of
    program: Program,
    *,
    parties: int,
    deadline_seconds: float,
    note: str,
    requires: tuple[Requirement, ...] = (),
    rounds: int = 1,
) -> Proposal:
    """Return the proposal to run a program; raise `ProgramError` if it is too large for that."""
    items = list(programs.read(program.path))
    size = sum(len(content) for *_, content in items)
    if size > PROGRAM_BYTES or len(items) > MOST_FILES:
        raise ProgramError(
            f"program {program.path} has {size / 1e6:.1f} MB in {len(items)} files; an invitation "
            f"takes {PROGRAM_BYTES / 1e6:g} MB in {MOST_FILES} files: give the data as inputs"
        )
    files = tuple(
        ProgramFile(
            path=f"{name}/" if mode == FOLDER_MODE else name,
            executable=mode == PROGRAM_MODE,
            content=base64.urlsafe_b64encode(content).decode(),
        )
        for name, mode, content in items
    )
    made = Proposal(
        name=printable(program.name, 60),
        entry=program.entry,
        digest=program.digest,
        files=files,
        args=program.args,
        parties=parties,
        threshold=threshold(program.args, parties),
        deadline_seconds=deadline_seconds,
        note=note,
        requires=requires,
        rounds=rounds,
    )
    if (encoded := len(msgspec.json.encode(made))) > PROPOSAL_BYTES:
        raise ProgramError(
            f"program {program.path} makes an invitation of {encoded / 1e6:.1f} MB, and "
            f"{PROPOSAL_BYTES / 1e6:g} MB is the most; use shorter names and fewer files"
        )
    return made


def unpack(proposal: Proposal, folder: Path) -> Program:
    """Write a proposal's program to a new folder, and return it.

    Raises `DidcommError` unless it is the program whose digest the proposal has.
    """
    shutil.rmtree(folder, ignore_errors=True)
    private.folder(folder)
    names = {each.path for each in proposal.files}
    if len(names) < len(proposal.files):
        raise DidcommError("the program has a file twice")
    for each in proposal.files:
        try:
            _write(each, folder / _safe(each.path))
        except OSError as error:  # a file and a folder of one name, or a name that is too long
            raise DidcommError(
                f"the program's file {printable(each.path, 80)} cannot be written: {error.strerror}"
            ) from None
    alone = len(proposal.files) == 1 and proposal.files[0].path == proposal.entry
    found = programs.load(
        folder / proposal.entry if alone else folder,
        proposal.args,
        "" if alone else proposal.entry,
    )
    if found.digest != proposal.digest:
        raise DidcommError(
            "the program that was sent is another one than its digest says; do not join"
        )
    return found


def _write(file: ProgramFile, place: Path) -> None:
    if file.path.endswith("/"):
        private.folder(place)
        return
    private.folder(place.parent)
    with place.open("xb") as written:
        written.write(unbase64(file.content))
    place.chmod(EXECUTABLE if file.executable else PLAIN)


def sources(proposal: Proposal) -> str:
    """Return all that would run, file by file, for a person to read."""
    parts = []
    for each in proposal.files:
        content = unbase64(each.content)
        try:
            shown = content.decode()
        except UnicodeDecodeError:
            shown = f"[{len(content)} bytes that are no text]\n"
        parts.append(f"==== {printable(each.path)} ====\n{shown}")
    return "\n".join(parts)


def threshold(args: Sequence[str], parties: int) -> int:
    """Return how many parties may join their data and still learn nothing more, as MPyC has it."""
    chosen = None
    try:
        parser = mpyc_parser(mpyc_source(sys.path))
        chosen = vars(parser.parse_known_args(list(args))[0]).get("threshold")
    except ValueError:
        chosen = None
    return chosen if isinstance(chosen, int) else (parties - 1) // 2


def _safe(path: str) -> PurePosixPath:
    """Return a path that stays below the folder it is put in."""
    parts = path.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} or len(part) > NAME_LENGTH for part in parts) or "\0" in path:
        raise DidcommError(f"the program has a file {printable(path, 80)}, which is no file's name")
    return PurePosixPath(*parts)
