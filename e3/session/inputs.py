"""Private inputs that come with a session: from a local folder with one subfolder a host.

The files of each are sent to that host alone, and go with the session. They enter no state, no
digest and no evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e3.errors import ConfigurationError
from e3.interfaces import File
from e3.party import inputs
from e3.party.inputs import Input, InputError
from e3.remote.text import printable

FILE_MODE = 0o600


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """An earlier session, the output of whose parties is input of those on the same hosts.

    ``folder`` has it by host in the evidence; None if it stayed on the hosts.
    """

    session: str
    folder: Path | None


def check(where: str, folder: Path, hosts: Sequence[str]) -> None:
    """Raise `ConfigurationError`, which names ``where``, if a folder is none of inputs by host."""
    if not folder.is_dir():
        raise ConfigurationError(
            f"{where}: {folder} is not a folder; make it, with a subfolder for each host"
        )
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        name = printable(path.name, 120)
        if not path.is_dir():
            raise ConfigurationError(
                f"{where}: {name} lies in {folder} itself; move it to the subfolder of its host"
            )
        if path.name not in hosts:
            raise ConfigurationError(
                f"{where}: {folder} has a subfolder {name}, and there is no such host; choose one "
                f"of {', '.join(hosts)}"
            )


def find(where: str, folder: Path, host: str, most_bytes: int) -> list[Input]:
    """Return the inputs of a host, of ``most_bytes`` together at most.

    Raises `ConfigurationError`, which names ``where``, for what cannot be an input.
    """
    try:
        found = list(inputs.files(folder / host))
    except InputError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    size = sum(each.size for each in found)
    if size > most_bytes or len(found) > inputs.MOST_FILES:
        raise ConfigurationError(
            f"{where}: {folder / host} has {size / 1e6:.1f} MB in {len(found)} files; a session "
            f"takes {inputs.MOST_FILES} files and {most_bytes / 1e6:g} MB (input-mb of e3:limits)"
        )
    return found


def read(
    folder: Path | None, hosts: Sequence[str], most_bytes: int, earlier: Earlier | None = None
) -> Mapping[str, Sequence[File]]:
    """Return what is sent to each host, with paths below the session's folder there."""
    sources = [("e3:inputs", inputs.SENT, folder)]
    if earlier is not None:
        sources.append((f"the output of run {earlier.session}", inputs.EARLIER, earlier.folder))
    return {
        host: [
            file
            for where, place, source in sources
            if source is not None
            for file in shipped(where, place, find(where, source, host, most_bytes))
        ]
        for host in hosts
    }


def shipped(where: str, place: str, found: Sequence[Input]) -> list[File]:
    """Return files as they are sent, to below ``place`` in the session's folder."""
    try:
        return [
            File(path=f"{place}/{each.name}", content=Path(each.path).read_bytes(), mode=FILE_MODE)
            for each in found
        ]
    except OSError as error:
        raise ConfigurationError(
            f"{where}: {printable(error.filename)}: {error.strerror}"
        ) from None
