"""The kinds of authorities that ``e3:authority`` names, each with its options."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from e3.errors import ConfigurationError

LEAST_THRESHOLD = 2


@dataclass(frozen=True, kw_only=True)
class Local:
    """One key, which whoever deploys the stack holds as a secret of its state."""


@dataclass(frozen=True, kw_only=True)
class Joint:
    """A key for each purpose in shares of ``holders``, any ``threshold`` of whom sign together.

    0 means a majority, and no holders mean every host. Shares are renewed every ``refresh_days``.
    If ``claims`` are given, there is a key for credentials, which may have these claims: each with
    the values that it may have, or with none for any value. If ``ssh`` is set, there is a key that
    certifies hosts for OpenSSH.
    """

    threshold: Annotated[int, Meta(ge=0, le=200)] = 0
    holders: Annotated[tuple[str, ...], Meta(max_length=200)] = field(default=())
    refresh_days: Annotated[float, Meta(ge=0.001, le=3650)] = 30.0
    ssh: bool = False
    claims: Annotated[Mapping[str, tuple[str, ...]], Meta(max_length=64)] = field(
        default_factory=dict
    )


AuthorityKind = Local | Joint

AUTHORITIES: Mapping[str, Callable[..., AuthorityKind]] = {"local": Local, "joint": Joint}


def majority(holders: int) -> int:
    """Return the usual threshold for that many holders: more than half, and 2 at least."""
    return max(LEAST_THRESHOLD, holders // 2 + 1)


def agreed(options: Joint, names: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Return who holds a share, and how many sign; `ConfigurationError` for what cannot be."""
    for name in options.holders:
        if name not in names:
            raise ConfigurationError(
                f"e3:authority-options: holders has {name!r}, and there is no such host; choose of "
                f"{', '.join(names)}"
            )
    holders = tuple(name for name in names if name in options.holders or not options.holders)
    threshold = options.threshold or majority(len(holders))
    if not LEAST_THRESHOLD <= threshold <= len(holders):
        raise ConfigurationError(
            f"e3:authority-options: threshold is {threshold} for {len(holders)} holders; write a "
            f"number from {LEAST_THRESHOLD} to {len(holders)}, or name more holders"
        )
    return holders, threshold
