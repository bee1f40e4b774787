"""The answers of a host to calls over SSH: typed values of bounded size.

A host belongs to somebody else, and may answer anything. Only this module reads what the modules of
`e3.remote` answer; whatever has another form becomes a `HostError` that names the host.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from e3.errors import HostError
from e3.remote.framing import PIECE_BYTES
from e3.remote.tasks import gather_or_cancel
from e3.remote.text import printable

if TYPE_CHECKING:
    from e3.access.connections import SshProcess

LINE_BYTES = 1_000_000
"""The most bytes of one answer."""

CONTENT_BYTES = 64_000_000
"""The most bytes of files that are fetched at once, and of what a command writes."""

Index = Annotated[int, Meta(ge=0)]
Size = Annotated[int, Meta(ge=0, le=CONTENT_BYTES)]
Line = Annotated[str, Meta(max_length=100_000)]

Answer = TypeVar("Answer")


class Wanted(Struct, frozen=True):
    """Which of the files that were described differ: their indices."""

    wanted: Annotated[list[Index], Meta(max_length=100_000)]


class Sizes(Struct, frozen=True):
    """The size of each file that exists; their contents follow."""

    sizes: Annotated[dict[str, Size], Meta(max_length=10_000)]


class Done(Struct, frozen=True):
    """It is done."""

    done: bool


class Ended(Struct, frozen=True):
    """A service was started; ``died`` is not empty if it ended, and ``lines`` are its last ones."""

    done: bool = False
    died: Line = ""
    lines: Annotated[list[Line], Meta(max_length=1000)] = []


class Refusal(Struct, frozen=True):
    """The host did not do it: a sentence, or the error of a file."""

    refused: Line | None = None
    errno: int | None = None
    reason: Line | None = None
    path: Line | None = None


def decode(host: str, line: bytes, kind: type[Answer]) -> Answer:
    """Return the answer in a line; raise `HostError` if it is a refusal, or not of that form."""
    try:
        refusal = msgspec.json.decode(line, type=Refusal)
        if refusal.refused is not None:
            raise HostError(f"host {host} {printable(refusal.refused)}")
        if refusal.errno is not None or refusal.reason is not None:
            path, reason = printable(refusal.path), printable(refusal.reason)
            cause = OSError(refusal.errno or 0, reason, path)
            raise HostError(f"host {host} refuses a file: {path}: {reason}") from cause
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        said = printable(line.decode(errors="replace").strip())
        wrong = printable(error)
        raise HostError(f"host {host} did not do what it should: {said} ({wrong})") from None


def check_wanted(host: str, wanted: list[int], count: int) -> None:
    """Raise `HostError` unless each of ``count`` files is wanted once at most, in their order."""
    if any(i >= count for i in wanted) or sorted(set(wanted)) != wanted:
        raise HostError(f"host {host} asks for files that nobody offered; do not trust it")


def check_sizes(host: str, sizes: dict[str, int], asked: dict[str, str]) -> None:
    """Raise `HostError` unless these are files that were asked for, and not too large together."""
    if not sizes.keys() <= asked.keys():
        raise HostError(f"host {host} sends files that nobody asked for; do not trust it")
    if sum(sizes.values()) > CONTENT_BYTES:
        raise HostError(
            f"host {host} sends {sum(sizes.values()) // 1_000_000} MB of files, more than "
            f"{CONTENT_BYTES // 1_000_000} MB"
        )


async def read_all(host: str, it: "SshProcess") -> Sequence[bytes]:
    """Return what a command wrote to standard output and standard error until its end."""

    async def whole(stream: Any) -> bytes:  # noqa: ANN401 -- asyncssh has no annotations for it
        content = b""
        while data := await stream.read(PIECE_BYTES):
            content += data
            if len(content) > CONTENT_BYTES:
                raise HostError(f"host {host} writes more than {CONTENT_BYTES // 1_000_000} MB")
        return content

    return await gather_or_cancel([whole(it.stdout), whole(it.stderr)])


async def read_line(host: str, stream: Any) -> bytes:  # noqa: ANN401 -- as above
    """Return one line with its end; without one if the stream ends."""
    line = b""
    # asyncssh returns what it has once its buffer is full
    while data := await stream.readline():
        line += data
        if len(line) > LINE_BYTES:
            raise HostError(f"host {host} answers with more than {LINE_BYTES} bytes")
        if line.endswith(b"\n"):
            break
    return line
