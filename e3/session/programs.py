"""MPyC programs: read from a file or a folder, checked, digested, made ready to be shipped."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from e3.errors import ProgramError
from e3.experiment import Program
from e3.interfaces import File
from e3.party.statement import LEFT_OUT, digest

ENTRIES = ("__main__.py", "main.py")
LIMIT_BYTES = 100_000_000

OURS = {
    "-P": "E3 gives each party's address",
    "-I": "E3 gives each party its index",
    "--index": "E3 gives each party its index",
    "-M": "the number of parties is e3:parties",
    "-B": "E3 chooses the ports",
    "--base-port": "E3 chooses the ports",
    "-C": "E3 gives each party's address",
    "--config": "E3 gives each party's address",
    "--ssl": "set e3:tls: true, which has a certificate made for each party",
}
"""Options of MPyC that say who the parties are, and why a program's arguments cannot."""


def load(path: str | Path, args: Sequence[str] = ()) -> Program:
    """Return the program at ``path``: a Python file, or a folder with an entry point.

    Raises `ProgramError` if it does not exist, is not Python, holds something that
    cannot be shipped, or if ``args`` have an option that only E3 can give.
    """
    path = Path(path)
    if not path.exists():
        raise ProgramError(
            f"program {path} does not exist; give a Python file or a folder with a {ENTRIES[0]}"
        )
    check_args(f"program {path}", args)
    entry = find_entry(path)
    contents = list(read(path))
    source = next(content for name, _, content in contents if name == entry)
    try:
        compile(source, str(path / entry if path.is_dir() else path), "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"line {error.lineno}: {error.msg}" if error.lineno else error.msg
        message = f"program {path} is not Python ({entry}, {where}); correct it"
        raise ProgramError(message) from None
    except ValueError as error:
        raise ProgramError(f"program {path} is not Python ({entry}: {error})") from None
    return Program(path=path, entry=entry, digest=digest(contents), args=tuple(args))


def files(program: Program, folder: str) -> list[File]:
    """Return the program's files as they are to lie below ``folder`` on a host.

    Raises `ProgramError` if they are no longer what `load` has seen.
    """
    contents = list(read(program.path))
    if digest(contents) != program.digest:
        raise ProgramError(f"program {program.path} was changed meanwhile; start the session again")
    return [
        File(path=f"{folder}/{name}", content=content, mode=mode)
        for name, mode, content in contents
    ]


def check_args(where: str, args: Sequence[str]) -> None:
    """Raise `ProgramError` if an argument, given ``where``, is an option that only E3 can give."""
    for arg in args:
        if arg == "--":
            return
        # MPyC reads -Px as -P x, whatever the program would make of it
        option = arg.partition("=")[0] if arg.startswith("--") else arg[:2]
        if option in OURS:
            raise ProgramError(f"{where}: leave out the argument {arg!r}; {OURS[option]}")


def find_entry(path: Path) -> str:
    """Return the name of the file to run, relative to the folder that is shipped."""
    if path.is_dir():
        for name in ENTRIES:
            if (path / name).is_file():
                return name
        choices = " or ".join(ENTRIES)
        raise ProgramError(f"program {path} is a folder without an entry point; add a {choices}")
    return path.name


def read(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Yield name, mode and content of each file to be shipped, sorted by name.

    Modes are normalised to 0o755 and 0o644: checkouts differ in the other bits.
    """
    total = 0
    for file in sorted(walk(path)) if path.is_dir() else [path]:
        name = file.relative_to(path).as_posix() if path.is_dir() else path.name
        try:
            info = file.stat()
            if not stat.S_ISREG(info.st_mode):
                raise ProgramError(f"program {path}: {name} is not a file; remove it")
            total += info.st_size
            if total > LIMIT_BYTES:
                limit = f"{LIMIT_BYTES // 1_000_000} MB"
                raise ProgramError(f"program {path} is larger than {limit}; ship less")
            content = file.read_bytes()
        except OSError as error:
            raise ProgramError(f"program {path}: cannot read {name}: {error.strerror}") from None
        yield name, 0o755 if info.st_mode & stat.S_IXUSR else 0o644, content


def walk(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder that belongs to the program."""
    root = folder.resolve()
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        for name in (*folders, *names):
            file = Path(place, name)
            if file.is_symlink():
                check_link(folder, root, file)
        yield from (Path(place, name) for name in names if not name.endswith(".pyc"))


def check_link(folder: Path, root: Path, link: Path) -> None:
    """Raise `ProgramError` for a link that cannot be shipped as the file it means."""
    name = link.relative_to(folder)
    if not link.resolve().is_relative_to(root):
        raise ProgramError(f"program {folder}: {name} is a link that leads outside; copy the file")
    if link.is_dir():
        raise ProgramError(f"program {folder}: {name} is a link to a folder; copy the folder")
