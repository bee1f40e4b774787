"""What a holder looks at before it signs: the seam between ceremonies, requests and policy."""

from collections.abc import Callable
from dataclasses import dataclass

from e3.authority.joint.messages import Archived, Header


class RefusalError(Exception):
    """The holder's policy forbids a request: the ``rule``, and why, with the value."""

    def __init__(self, rule: str, reason: str) -> None:
        """Keep the rule."""
        super().__init__(reason)
        self.rule = rule


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A request that the policy allows: the bytes to sign, made here, and a line for the log."""

    message: bytes
    what: str


Examine = Callable[[Header, Archived | None, bytes], Examined]
"""From the header of a key, the authority's own certificate if there is one, and a request."""
