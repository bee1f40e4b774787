"""How a ceremony ends: its verdict, a sentence, and the hosts that are to blame."""

from collections.abc import Sequence
from enum import StrEnum

from e3.errors import AuthorityError


class CeremonyVerdict(StrEnum):
    """How a ceremony ended."""

    COMPLETED = "completed"
    TOO_FEW = "too few holders"
    """Fewer holders than the threshold can be reached and have the key's current shares."""
    ABSENT = "holder absent"
    """A host that must take part cannot be reached."""
    SILENT = "holder silent"
    """A holder did not answer in time, or ended."""
    REFUSED = "refused"
    """The policy of a holder forbids what was asked."""
    CHEATED = "holder cheated"
    """What a holder sent is wrong; the others say so, or it can be proved."""
    DISPUTED = "disputed"
    """A holder accuses another, and nothing proves who is right."""
    DIVERGED = "diverged"
    """Holders have seen different things, so somebody changed what was passed on."""
    FAILED = "holder failed"
    """A holder cannot go on, such as with a damaged file."""


class CeremonyFailedError(AuthorityError):
    """A ceremony that did not complete; ``culprits`` are names of hosts.

    ``accuser`` is the one that accuses the others of them, and has proved nothing. ``rules`` are
    those of the policy by which they refuse.
    """

    def __init__(
        self,
        verdict: CeremonyVerdict,
        reason: str,
        culprits: Sequence[str] = (),
        *,
        accuser: str = "",
        rules: frozenset[str] = frozenset(),
    ) -> None:
        """Keep the verdict and the culprits, if there are any."""
        super().__init__(reason)
        self.verdict = verdict
        self.accuser = accuser
        self.rules = rules
        self.culprits = tuple(sorted(set(culprits)))

    @property
    def guilty(self) -> set[str]:
        """Whom another attempt leaves out: the accuser alone, if there is one.

        What all said is checked here as well: who accuses others of more has made it up.
        """
        return {self.accuser} if self.accuser else set(self.culprits)
