"""The error of a ceremony: what went wrong, and which holders are to blame."""

from collections.abc import Sequence


class CeremonyError(Exception):
    """A ceremony came to nothing; ``culprits`` are the identifiers of the holders to blame."""

    def __init__(self, reason: str, culprits: Sequence[int] = ()) -> None:
        """Keep the reason and the culprits, of whom there may be none."""
        super().__init__(reason)
        self.culprits = tuple(culprits)
