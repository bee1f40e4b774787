"""The private inputs of a party: files of its host that only its program sees, and no other party.

They come from four folders, and the program has them in one, read-only, as copies made before it
begins. In a statement are their names alone.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e3.party.keeping import OUTPUTS, SESSION
from e3.party.outputs import fault_of
from e3.party.protocol import Spec
from e3.party.tree import FOLDER_MODE, Entries, Place, TreeError, walk
from e3.remote.text import printable

FOLDER = "input"
"""Below the session's folder; the program knows it as `VARIABLE`."""

VARIABLE = "E3_INPUT"

SENT, EARLIER = "sent", "earlier"
"""What came with the session, below its folder: inputs, and output of an earlier session."""

PUT = "inputs"
"""What was put on the host before, below E3's folder there."""

STDIN = "stdin"
"""The input that is the program's standard input."""

MOST_FILES = 10_000
COPY_BYTES = 1 << 20
OTHERS = 0o077


class InputError(Exception):
    """An input cannot be used; the message says which one, and what to do."""


@dataclass(frozen=True)
class Input:
    """An input: its path in the program's folder, where it is on the host, and its size.

    The names of those that are ``compared`` are in the statement. Parties name their output as they
    like, so of an earlier session they compare which one it is.
    """

    name: str
    path: str
    size: int
    compared: bool = True


def find(spec: Spec, folder: str, state: str, owned: str) -> list[Input]:
    """Return the inputs of a party in the order of their names; raise `InputError` if one is wrong.

    ``folder`` is the session's, ``state`` E3's on this host, and ``owned`` its owner's.
    """
    before = earlier(spec, folder, state) if spec.inputs_from else None
    for place in (Path(state, PUT), Path(owned)):
        check(place)
    found: dict[str, Input] = {}
    for place in (Path(folder, SENT), Path(state, PUT), Path(owned), *filter(None, [before])):
        for each in files(place, compared=place != before):
            if each.name in found:
                raise InputError(
                    f"the input {printable(each.name)} is in {place} and in "
                    f"{Path(found[each.name].path).parent}; remove one of them"
                )
            found[each.name] = each
            if len(found) > MOST_FILES:
                raise InputError(f"it has more than {MOST_FILES} inputs; remove some")
    size = sum(each.size for each in found.values())
    if size > spec.input_bytes:
        largest = max(found.values(), key=lambda each: each.size)
        raise InputError(
            f"its inputs have {size / 1e6:.1f} MB, the most of it in {printable(largest.name)}; "
            f"remove some, or raise input-mb of e3:limits, which is {spec.input_bytes / 1e6:g}"
        )
    return [found[name] for name in sorted(found)]


def earlier(spec: Spec, folder: str, state: str) -> Path:
    """Return the folder with this party's output of an earlier session: sent, or kept here."""
    if (sent := Path(folder, EARLIER)).is_dir():
        return sent
    place = Path(state, OUTPUTS, spec.inputs_from)
    if not SESSION.fullmatch(spec.inputs_from) or not place.is_dir():
        raise InputError(
            f"there is no output of run {printable(spec.inputs_from)} of a party on this host"
        )
    return place


def check(place: Path) -> None:
    """Raise `InputError` if a folder of inputs is none, or if other users can reach it."""
    try:
        info = place.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"its inputs in {place} cannot be read: {error.strerror}") from None
    if not stat.S_ISDIR(info.st_mode):
        raise InputError(f"{place} is not a folder; remove it")
    if info.st_uid != os.geteuid() or info.st_mode & OTHERS:
        raise InputError(
            f"other users can reach the inputs in {place}; give it to the user with whose rights "
            "E3 works there, and close it: chown, chmod 700"
        )


def files(place: Path, *, compared: bool = True) -> Iterator[Input]:
    """Yield the files below a folder, if it exists; links are followed, but not out of it.

    Names that begin with a dot are left out: files of editors, and what has not arrived whole.
    Raises `InputError` for what cannot be an input.
    """
    if not place.is_dir():
        return
    try:
        for entry in walk(str(place), shown):
            if entry.mode == FOLDER_MODE:
                continue
            if fault := fault_of(entry.name):
                name = printable(entry.name, 120)
                raise InputError(f"the input {name} in {place} has {fault}; rename it")
            yield Input(entry.name, entry.path, entry.size, compared)
    except TreeError as error:
        raise InputError(f"the inputs in {place}: {error}") from None


def shown(_: Place, entries: Entries) -> Entries:
    """Return the entries of a folder whose names do not begin with a dot."""
    return [entry for entry in entries if not entry.name.startswith(".")]


def copy(inputs: tuple[Input, ...], target: Path, user: int) -> None:
    """Copy inputs to the folder ``target``, for ``user`` to read; raise `InputError` if one fails.

    A copy has the content of one moment, and rights that do not depend on those of the original.
    """
    for each in inputs:
        try:
            place = target / each.name
            make_folders(place.parent, target)
            copy_file(each, place)
            close(place, user, 0o440)
        except OSError as error:
            name = printable(each.name, 120)
            raise InputError(f"the input {name} cannot be copied: {error.strerror}") from None
    for folder in {place for each in inputs for place in (target / each.name).parents}:
        if folder.is_relative_to(target):
            close(folder, user, 0o550)


def link(inputs: tuple[Input, ...], folder: str, entry: str) -> None:
    """Let programs that know nothing of E3 find inputs where they run; their own files stay."""
    here = Path(folder, "program", entry).parent
    for name in sorted({each.name.partition("/")[0] for each in inputs} - {STDIN}):
        with contextlib.suppress(OSError):  # there is one, or there is no room
            (here / name).symlink_to(Path(folder, FOLDER, name))


def make_folders(place: Path, target: Path) -> None:
    """Make the folders of an input below ``target``."""
    for folder in reversed((place, *place.parents)):
        if folder != target and folder.is_relative_to(target):
            folder.mkdir(0o700, exist_ok=True)


def copy_file(source: Input, place: Path) -> None:
    """Copy one file, which must be as it was found."""
    # non-blocking: a pipe that has come in its place must not block for ever
    descriptor = os.open(source.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened, place.open("xb") as new:
        info = os.fstat(descriptor)
        left = source.size if stat.S_ISREG(info.st_mode) and info.st_size == source.size else -1
        while left > 0 and (piece := opened.read(min(left, COPY_BYTES))):
            new.write(piece)
            left -= len(piece)
    if left:
        name = printable(source.name, 120)
        raise InputError(f"the input {name} has changed meanwhile; run the session again")


def close(place: Path, user: int, mode: int) -> None:
    """Give the group of ``user`` a right to read, and nobody one to write."""
    with contextlib.suppress(OSError):  # see `e3.party.confine.become`
        os.chown(place, 0, user)
    place.chmod(mode)
