"""What a session needs of this machine: its user, the mediators, and how it is reached."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from e3.adhoc.links import Reach
from e3.adhoc.meeting import User
from e3.adhoc.people import People, Self
from e3.didcomm.session.bodies import Proposal, Roster
from e3.didcomm.session.invitation import Invitation
from e3.experiment import Program
from e3.session.progress import Observer
from e3.session.results import SessionResult

Displays = Callable[[Roster], AbstractContextManager[Observer]]
"""Shows a session's progress, in a context of its own."""


class Person(User, Protocol):
    """The person at this machine, also before all are there, and after a round."""

    def invited(self, link: str, invitation: Invitation, proposal: Proposal) -> None:
        """Show the link of a new invitation to what is proposed."""

    async def consents_to(self, proposal: Proposal, invitation: Invitation) -> bool:
        """Return whether to take part in computing what is proposed."""

    def concluded(self, result: SessionResult) -> None:
        """Show the result of a round."""

    async def wants_another(self, result: SessionResult) -> bool:
        """Return whether to compute once more with the same people."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """What only this party has: arguments and inputs that no other learns, and its own limits."""

    program: Program
    private: Sequence[str] = ()
    inputs: Path | None = None
    deadline_seconds: float = 600.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both ways need: the user, the mediators and how this machine is reached.

    ``mediator`` has URLs with spaces between them. ``expected`` are lasting DIDs that the user
    named: seats of an initiator are for them, and a guest joins nobody else. ``topic`` is that of
    the mediator's board, and with ``nearby`` the invitation is announced on the local network.
    """

    me: Self
    people: People
    mediator: str
    reach: Reach
    person: Person
    displays: Displays
    credentials: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    topic: str = ""
    nearby: bool = False
