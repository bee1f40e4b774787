"""Read Pulumi's state: the checkpoints of its local backend, and what `pulumi stack export` says.

Each stack is a JSON file, compressed or not (pulumi 3.259, ``pkg/backend/diy``). A full disk can
leave an empty or cut file; `UnreadableError` names it.
"""

import gzip
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from e3.errors import E3Error

STORE = Path("state/.pulumi")
"""The folder of the backend, below the folder of all stacks' files (``.e3``)."""

STACKS = STORE / "stacks/e3"
"""Where the stacks of this project are; another project's are beside it."""

OURS = "pulumi-python:dynamic/e3:"
"""The prefix of the types of E3's own resources."""


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A resource of a state; ``delete``: it has been replaced and will be removed.

    ``pending_replacement``: it was removed, and what should replace it was not made yet.
    ``custom``: a provider made it; others are components.
    ``created`` and ``modified`` are times in ISO 8601; older states have none.
    """

    urn: str
    type: str
    id: str | None = None
    delete: bool = False
    pending_replacement: bool = msgspec.field(default=False, name="pendingReplacement")
    custom: bool = False
    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    created: datetime | None = None
    modified: datetime | None = None

    @property
    def stack(self) -> str:
        """The stack that has it, which its URN names."""
        return self.urn.split(":")[2]


class _Deployment(msgspec.Struct):
    resources: list[Resource] | None = None


class _Checkpoint(msgspec.Struct):
    latest: _Deployment | None = None


class _File(msgspec.Struct):
    checkpoint: _Checkpoint


class _Export(msgspec.Struct):
    deployment: _Deployment | None = None


class UnreadableError(E3Error):
    """A checkpoint that is empty or not whole; ``why`` is the message without the remedy."""

    def __init__(self, why: str) -> None:
        """Say what is wrong, and what to do."""
        super().__init__(f"{why}; `e3 doctor --fix` restores its backup")
        self.why = why


def checkpoints(files: Path) -> list[Path]:
    """Return the checkpoints of all stacks of the backend, also those of other projects."""
    place = files / STORE / "stacks"
    found = [*place.rglob("*.json"), *place.rglob("*.json.gz")] if place.is_dir() else []
    return sorted(path for path in found if path.is_file())


def checkpoint(files: Path, stack: str) -> Path | None:
    """Return the checkpoint of a stack of this project, None if it has no state."""
    paths = (files / STACKS / f"{stack}{suffix}" for suffix in (".json", ".json.gz"))
    return next((path for path in paths if path.is_file()), None)


def stack_of(path: Path) -> str:
    """Return the name of the stack whose checkpoint is ``path``."""
    return path.name.removesuffix(".gz").removesuffix(".json")


def read(path: Path) -> Sequence[Resource]:
    """Return the resources of a checkpoint, none if it does not exist; raise `UnreadableError`."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        latest = msgspec.json.decode(content, type=_File).checkpoint.latest
    except FileNotFoundError:
        return []
    except (OSError, EOFError, ValueError) as error:
        why = "is empty" if not path.stat().st_size else f"is not whole: {error}"
        raise UnreadableError(f"{path} {why}") from error
    return (latest.resources if latest else None) or []


def decode_export(text: str) -> Sequence[Resource]:
    """Return the resources that `pulumi stack export` wrote; raise `E3Error`."""
    try:
        deployment = msgspec.json.decode(text, type=_Export).deployment
    except ValueError as error:
        raise E3Error(
            f"pulumi: `pulumi stack export` is not whole: {error}; `e3 doctor` tells which file"
        ) from error
    return (deployment.resources if deployment else None) or []


def outputs(resources: Iterable[Resource], kind: str) -> Mapping[str, Any] | None:
    """Return the outputs of the one resource of a kind of E3's; None if there is none."""
    return next(iter(all_outputs(resources, kind)), None)


def all_outputs(resources: Iterable[Resource], kind: str) -> list[Mapping[str, Any]]:
    """Return the outputs of all resources of a kind of E3's that are there to stay."""
    return [
        resource.outputs or {}
        for resource in resources
        if resource.type == OURS + kind and not (resource.delete or resource.pending_replacement)
    ]
