"""Computing with others in one round or more, and beginning a round once more if a party is back.

The parties, their pids and the program stay; each round has a roster, tunnels and keys of its own.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from e3.adhoc.meeting import Meeting, RestartedError, Side
from e3.adhoc.setting import Own, Setting
from e3.didcomm.mailbox import Mailbox
from e3.didcomm.resolver import Resolver
from e3.didcomm.session.bodies import Close
from e3.errors import SessionError
from e3.session.results import SessionResult, new_id

GATHER_SECONDS = 900.0
"""For all to want another round, or to be back."""


@dataclass(frozen=True)
class Rounds:
    """All that the rounds of a session have in common: there are at most ``most``.

    What is ``offered`` to others ends once all are there.
    """

    setting: Setting
    box: Mailbox
    resolver: Resolver
    own: Own
    most: int
    offered: AsyncExitStack

    async def compute(self, side: Side) -> SessionResult:
        """Compute as long as all want to; return the result of the last round."""
        result: SessionResult | None = None
        number = 1
        while True:
            meeting = Meeting(self.box, side, self.setting.person, self.resolver)
            try:
                result = await self._one(meeting)
                self.setting.person.concluded(result)
            except RestartedError as error:
                self.setting.person.tell("a party is back: all are gathered once more")
                side = _following(side, meeting, error.epoch)
                continue
            except SessionError as error:
                if result is None:
                    raise
                self.setting.person.tell(f"there is no further round: {error}")
                return result
            if self.most == 1 or not await self._goes_on(side, meeting, result, number):
                return result
            number += 1
            side = _following(side, meeting, side.terms.epoch + 1)

    async def _one(self, meeting: Meeting) -> SessionResult:
        async with meeting.going_on():
            try:
                roster = await meeting.gather()
                await self.offered.aclose()
            except asyncio.CancelledError:
                meeting.leave("cancelled", "its user ended the session")
                raise
            from e3.adhoc.conduct import conduct  # noqa: PLC0415 - of Linux, unlike the rest

            with self.setting.displays(roster) as observer:
                return await conduct(meeting, roster, self.own, self.setting.people, observer)

    async def _goes_on(
        self, side: Side, meeting: Meeting, result: SessionResult, number: int
    ) -> bool:
        """Ask the user, unless this was the last round; tell the others if there is no other."""
        wants = False
        try:
            wants = number < self.most and await self.setting.person.wants_another(result)
        finally:
            if not wants:
                self._decline(side, meeting)
        return wants

    def _decline(self, side: Side, meeting: Meeting) -> None:
        members = meeting.roster.members if meeting.roster is not None else ()
        others = [each.did for each in members if each.did != self.box.identity.did]
        told = others if side.lobby is not None else [side.terms.initiator]
        epoch = side.terms.epoch + 1
        close = Close(reason="declined", detail="no further round", epoch=epoch)
        for did in told:
            meeting.send(did, close)


def _following(side: Side, meeting: Meeting, epoch: int) -> Side:
    """Return this party's side in a roster of a later epoch, with the same people."""
    lobby = side.lobby
    if lobby is not None:
        lobby = lobby.again(lobby.seated, epoch, new_id())
    return replace(
        side,
        terms=replace(side.terms, epoch=epoch),
        until=time.time() + GATHER_SECONDS,
        late="not all parties took part any more",
        consented=meeting.consented,
        lobby=lobby,
    )
