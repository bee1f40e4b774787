"""What a program asks to have installed, read from the files that people write for that.

Somebody else may have written them, so each line is parsed here, and pip's options that reach for
other machines, folders or programs are refused.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from e3.errors import ProgramError
from e3.remote.text import printable
from e3.session.declarations import SHOWN, Declaration, text

MOST_FILES = 20
MOST_PACKAGES = 1000
WHEEL_BYTES = 2_000_000_000
HASH = re.compile(r"\s--hash(?:=|\s+)(\S+)")
SHA256 = re.compile(r"sha256:([0-9a-f]{64})")

LOCAL = "hosts do not have it; name a version, or put its folder beside the program, which travels"
INDEX = "this machine says where packages come from: `pip config set global.index-url`"
REFUSED: Mapping[str, str] = {
    "-e": f"installs from a folder of this machine, and {LOCAL}",
    "--editable": f"installs from a folder of this machine, and {LOCAL}",
    "-i": INDEX,
    "--index-url": INDEX,
    "--extra-index-url": INDEX,
    "--trusted-host": INDEX,
    "--no-binary": "runs what a package brings to build it; leave it away",
}
"""Options of pip that a program cannot have; and the reason."""

IMPLIED = frozenset({"--only-binary", "--prefer-binary", "--require-hashes"})
"""Options that E3 follows anyway."""


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What is asked for.

    ``source`` is the file as messages name it. ``wanted`` are requirements and ``constraints``
    limits on what these bring with them, as in PEP 508. ``hashes`` has the SHA-256 of files that
    may be installed, by package; if there are any, each package needs one. ``folders`` have wheels
    beside the program, which count besides the index, or alone without ``index``. ``pre`` permits
    versions before a release. ``python`` is the version asked for, as in PEP 440.
    """

    source: str
    wanted: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    hashes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    index: bool = True
    pre: bool = False
    python: str = ""

    @property
    def digest(self) -> str:
        """The SHA-256 of all that decides what is installed, with the wheels in the folders."""
        known = {**asdict(self), "source": "", "folders": [*self._wheels()]}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def _wheels(self) -> Iterator[tuple[str, str]]:
        for folder in self.folders:
            for path in sorted(folder.glob("*.whl")):
                with path.open("rb") as file:
                    yield path.name, hashlib.file_digest(file, "sha256").hexdigest()


def declared(asked: Declaration) -> Requirements | None:
    """Return what a declaration asks for; None if it asks for nothing.

    Raises `ProgramError` that names file, line and remedy if it cannot be followed.
    """
    if asked.blocks:
        found: Requirements | None = _block(asked)
    elif asked.path.name == "pyproject.toml":
        found = _project(asked.path)
    else:
        reader = Reader(asked.top.resolve())
        reader.read(asked.path, constrains=False)
        found = reader.found
    if found is None or not found.wanted:
        return None
    if len(found.wanted) > MOST_PACKAGES:
        raise ProgramError(
            f"{found.source} asks for {len(found.wanted)} packages; at most {MOST_PACKAGES} can be "
            "installed for a program"
        )
    return found


class Reader:
    """Reads a requirements.txt with the files that it includes."""

    def __init__(self, top: Path) -> None:
        """Read nothing outside of the folder ``top``."""
        self._top = top
        self._read: list[Path] = []
        self._hashed: dict[str, set[str]] = {}
        self._found = Requirements(source="")

    @property
    def found(self) -> Requirements:
        """What was read."""
        hashes = {name: tuple(sorted(values)) for name, values in sorted(self._hashed.items())}
        return replace(self._found, hashes=hashes)

    def read(self, path: Path, *, constrains: bool) -> None:
        """Read a file; with ``constrains`` it only limits versions, as with pip's option -c."""
        if path.resolve() in self._read:
            return
        self._read.append(path.resolve())
        if len(self._read) > MOST_FILES:
            raise ProgramError(f"{printable(path, SHOWN)}: more than {MOST_FILES} files include it")
        if not self._found.source:
            self._found = replace(self._found, source=printable(path, SHOWN))
        for number, line in _lines(text(path)):
            where = f"{printable(path, SHOWN)} line {number}: {printable(line, SHOWN)}"
            if line.startswith("-"):
                self._option(where, line, path.parent, constrains=constrains)
            else:
                self._requirement(where, line, constrains=constrains)

    def _requirement(self, where: str, line: str, *, constrains: bool) -> None:
        wanted, hashes = HASH.sub("", f" {line}").strip(), HASH.findall(f" {line}")
        if re.search(r"\s--?\w", wanted):
            raise ProgramError(f"{where}: E3 knows no option but --hash here; leave it away")
        known = requirement(where, wanted)
        for each in hashes:
            if not (found := SHA256.fullmatch(each)):
                raise ProgramError(
                    f"{where}: {printable(each, 20)} is not a SHA-256; write --hash=sha256:... "
                    "with 64 digits (`pip hash FILE`)"
                )
            self._hashed.setdefault(canonicalize_name(known.name), set()).add(found[1])
        if constrains:
            limits = (*self._found.constraints, str(known))
            self._found = replace(self._found, constraints=limits)
        else:
            self._found = replace(self._found, wanted=(*self._found.wanted, str(known)))

    def _option(self, where: str, line: str, folder: Path, *, constrains: bool) -> None:
        option, value = _split(line)
        if option in {"-r", "--requirement", "-c", "--constraint"}:
            only = constrains or option in {"-c", "--constraint"}
            self.read(self._inside(where, folder, value), constrains=only)
        elif option in {"-f", "--find-links"}:
            place = self._inside(where, folder, value)
            if not place.is_dir():
                raise ProgramError(f"{where}: there is no such folder")
            _check_wheels(where, place)
            self._found = replace(self._found, folders=(*self._found.folders, place))
        elif option == "--no-index":
            self._found = replace(self._found, index=False)
        elif option == "--pre":
            self._found = replace(self._found, pre=True)
        elif option not in IMPLIED:
            raise ProgramError(f"{where}: {REFUSED.get(option, 'E3 does not know this option')}")

    def _inside(self, where: str, folder: Path, value: str) -> Path:
        path = Path(folder, value)
        if "://" in value or not path.resolve().is_relative_to(self._top):
            raise ProgramError(
                f"{where}: leads out of the program's folder; copy there what it leads to"
            )
        return path


def requirement(where: str, line: str) -> Requirement:
    """Return the requirement in a line; ``where`` stands before what is wrong with it."""
    try:
        known = Requirement(line)
    except InvalidRequirement as error:
        path = "/" in line or line.endswith((".whl", ".gz", ".zip"))
        what = f"{printable(error, SHOWN)}; write a package and a version, such as pandas==2.3.3"
        if path:
            what = "E3 installs packages by name; put wheels into a folder beside the program, and "
            what += "write --find-links FOLDER and the package's name"
        raise ProgramError(f"{where}: {what}") from None
    if known.url:
        raise ProgramError(
            f"{where}: is fetched from an address of its own; name a version that the index has, "
            "or put its wheel into a folder beside the program and write --find-links FOLDER"
        )
    return known


Lines = Annotated[list[str], Meta(max_length=10 * MOST_PACKAGES)]


class Script(msgspec.Struct, rename="kebab"):
    """The part of a PEP 723 block, or of the table [project], that says what is needed."""

    dependencies: Lines = []
    requires_python: str = ""
    dynamic: Lines = []


class Project(msgspec.Struct):
    """A pyproject.toml, as far as it says what is needed."""

    project: Script | None = None
    tool: dict[str, Any] = {}


def _block(asked: Declaration) -> Requirements:
    where = f"the head of {printable(asked.path, SHOWN)}"
    if len(asked.blocks) > 1:
        raise ProgramError(f"{where} has two blocks `# /// script`; leave one")
    content = "".join(
        line[2:] if line.startswith("# ") else line[1:]
        for line in asked.blocks[0].splitlines(keepends=True)
    )
    return _scripted(where, _toml(where, content, Script))


def _project(path: Path) -> Requirements | None:
    where = printable(path, SHOWN)
    known = _toml(where, text(path), Project)
    if known.project is None:
        if "dependencies" in known.tool.get("poetry", {}):
            raise ProgramError(
                f"{where} has what the program needs as [tool.poetry] alone; write it as "
                "dependencies of [project], or beside it as requirements.txt"
            )
        return None
    if "dependencies" in known.project.dynamic:
        raise ProgramError(
            f"{where} leaves its dependencies to a build (dynamic); write them there, or beside it "
            "as requirements.txt"
        )
    return _scripted(where, known.project)


def _scripted(where: str, known: Script) -> Requirements:
    try:
        SpecifierSet(known.requires_python)
    except InvalidSpecifier:
        raise ProgramError(
            f"{where}: requires-python {printable(known.requires_python, SHOWN)} is no version; "
            'write it like ">=3.11"'
        ) from None
    wanted = tuple(
        str(requirement(f"{where}: {printable(line, SHOWN)}", line)) for line in known.dependencies
    )
    return Requirements(source=where, wanted=wanted, python=known.requires_python)


Kind = TypeVar("Kind")


def _toml(where: str, content: str, kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(tomllib.loads(content), kind)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise ProgramError(f"{where} cannot be read: {printable(error, SHOWN)}") from None


def _lines(content: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, each with its number, as pip joins and strips them."""
    number = 1
    for line in re.split(r"(?<!\\)\n", content.replace("\r\n", "\n")):
        first, number = number, number + line.count("\n") + 1
        said = re.sub(r"(^|\s)#.*$", "", line.replace("\\\n", " ")).strip()
        if said:
            yield first, said


def _split(line: str) -> tuple[str, str]:
    """Return an option and its value: ``-rX``, ``-r X``, ``--option X`` or ``--option=X``."""
    if line.startswith("--"):
        option, _, value = line.replace("=", " ", 1).partition(" ")
        return option, value.strip()
    return line[:2], line[2:].strip()


def _check_wheels(where: str, folder: Path) -> None:
    wheels: Sequence[Path] = list(folder.glob("*.whl"))
    size = sum(path.stat().st_size for path in wheels if path.is_file())
    if size > WHEEL_BYTES or len(wheels) > MOST_PACKAGES:
        raise ProgramError(
            f"{where}: has {size / 1e6:,.0f} MB in {len(wheels)} wheels; at most "
            f"{WHEEL_BYTES // 1_000_000} MB in {MOST_PACKAGES} can be offered"
        )
