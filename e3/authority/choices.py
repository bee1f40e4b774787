"""The kinds of authorities that ``e3:authority`` names, each with its options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

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
