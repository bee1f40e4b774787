"""What stacks need in ``.e3``: the passphrase, the backend's own file, complete checkpoints."""

import functools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from e3 import private
from e3.cli.checks import state
from e3.cli.checks.finding import Finding
from e3.deployed import FILES
from e3.pulumi_state import UnreadableError, read

PASSPHRASE = FILES / "passphrase"


def check() -> Iterator[Finding]:
    """Yield what is wrong with the files of the backend, or one finding that all is well."""
    found = [*_modes(), *_passphrase(), *_meta(), *_checkpoints()]
    yield from found or [Finding(level="OK", subject="state", detail="can be read")]


def _modes() -> Iterator[Finding]:
    loose = private.loose(FILES)
    if loose:
        yield Finding(
            level="WARN",
            subject="state",
            detail=f"others of this machine have rights to {len(loose)} files and folders in "
            f"{FILES}, such as {loose[0]}",
            remedy="`e3 doctor --fix` closes them",
            fix=functools.partial(private.close, FILES),
            done="closed",
        )


def _passphrase() -> Iterator[Finding]:
    there = PASSPHRASE.exists()
    if there and PASSPHRASE.stat().st_size:
        return
    stacks = [name for name in state.names() if (state.STACKS / f"{name}.json").exists()]
    made = "`scripts/setup` makes a new one"
    yield Finding(
        level="FAIL",
        subject="state",
        detail=f"{PASSPHRASE} is {'empty' if there else 'not there'}",
        remedy=f"restore it: the secrets of {', '.join(stacks)} can be read with it alone"
        if stacks
        else f"remove it, then {made}"
        if there
        else f"{made}; `e3 doctor --fix` ends labs that were up",
    )


def _meta() -> Iterator[Finding]:
    path = state.META
    if path.exists() and not path.read_bytes().strip():
        yield Finding(
            level="FAIL",
            subject="state",
            detail=f"{path} is empty, as a full disk leaves it; Pulumi then reads no stack",
            remedy="`e3 doctor --fix` writes it again",
            fix=functools.partial(private.write, path, state.VERSION),
            done="written again",
        )


def _checkpoints() -> Iterator[Finding]:
    for path in state.known().unreadable:
        name = path.name.removesuffix(".gz").removesuffix(".json")
        subject = f"stack {name}"
        backup = next(state.backups(path), None)
        detail = _why(path)
        if backup is None:
            yield Finding(
                level="FAIL",
                subject=subject,
                detail=f"{detail}, and there is no backup of it",
                remedy="remove it if the stack may go, then `e3 doctor --fix` ends its lab",
            )
            continue
        kept = datetime.fromtimestamp(backup.stat().st_mtime, UTC)
        yield Finding(
            level="FAIL",
            subject=subject,
            detail=f"{detail}; its backup {backup} is of {kept:%Y-%m-%d %H:%M:%S} UTC",
            remedy=f"`e3 doctor --fix` restores that, then `pulumi refresh --stack {name}`",
            fix=functools.partial(state.restore, path, backup),
            done="restored the backup, and kept the other beside it",
        )


def _why(path: Path) -> str:
    try:
        read(path)
    except UnreadableError as error:
        return error.why
    return f"{path} is whole again"
