"""The paths of a session before and after it, and what changed between."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from e3.errors import E3Error, OverlayError
from e3.paths import PairPath, Paths

Look = Callable[[], Awaitable[Paths]]
"""Asks an overlay for the present class of each ordered pair; raises `E3Error` if it fails."""

LIMIT_SECONDS = 8.0


async def look_again(look: Look, paths: Sequence[PairPath]) -> tuple[PairPath, ...]:
    """Return ``paths`` as the overlay reports them now; raise `OverlayError` if it does not."""
    try:
        known = await asyncio.wait_for(look(), LIMIT_SECONDS)
    except TimeoutError as error:
        reason = str(error) or f"no answer within {LIMIT_SECONDS:g} s"
        raise OverlayError(f"the overlay did not tell its paths: {reason}") from error
    except E3Error as error:
        raise OverlayError(f"the overlay did not tell its paths: {error}") from error
    ends = [(path, (path.source, path.target)) for path in paths]
    return tuple(path.reported(known[pair]) for path, pair in ends if pair in known)


def changes(before: Sequence[PairPath], after: Sequence[PairPath]) -> list[str]:
    """Return a sentence for each path that has changed."""
    first = {(path.source, path.target): path for path in before}
    return [
        f"the path from {end.source} to {end.target} was {_words(begin)} as the session began, "
        f"and {_words(end)} after it"
        for end in after
        if (begin := first.get((end.source, end.target))) is not None
        and (begin.path_class, begin.by) != (end.path_class, end.by)
    ]


def _words(path: PairPath) -> str:
    return f"{path.path_class} by {path.by}" if path.by else path.path_class
