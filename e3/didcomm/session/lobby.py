"""The initiator's part: who asks to be in, who consents, and the roster once all have. Pure."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from e3.didcomm.did import Document
from e3.didcomm.errors import DidcommError
from e3.didcomm.session import proof
from e3.didcomm.session.actions import Action, Begin, Send, Show
from e3.didcomm.session.bodies import (
    Body,
    Close,
    Join,
    LobbyView,
    Member,
    Present,
    Program,
    Ready,
    Roster,
)
from e3.didcomm.session.invitation import Invitation
from e3.didcomm.session.proof import Admit, anyone

REPEAT_SECONDS = 2.0
GUEST_SECONDS = 600.0
"""For a party that was shown the program to consent; then its seat is free again."""


@dataclass
class _Guest:
    join: Join
    came: float
    ready: bool = False


class Lobby:
    """Collects the parties of one session."""

    def __init__(
        self,
        invitation: Invitation,
        program: Program,
        session: str,
        resolve: Callable[[str], Document],
        admit: Admit = anyone,
    ) -> None:
        """Invite to ``program``; ``session`` will name the session in everybody's evidence."""
        self._invitation = invitation
        self._program = program
        self._session = session
        self._resolve = resolve
        self._admit = admit
        self._guests: dict[str, _Guest] = {}
        self._roster: Roster | None = None
        self._answered: set[str] = set()
        """Those whose offers have come: they have the roster."""
        self._repeat = 0.0

    @property
    def roster(self) -> Roster | None:
        """The roster, once all are there."""
        return self._roster

    def has_link(self, join: Join) -> bool:
        """Return whether somebody who asks to be in has the link."""
        return hmac.compare_digest(join.token.encode(), self._invitation.token.encode())

    def received(self, sender: str, body: Body, now: float) -> list[Action]:
        """Return what follows from a message of a DID."""
        if isinstance(body, Join):
            return self._join(sender, body, now)
        guest = self._guests.get(sender)
        if guest is None:
            return []
        if isinstance(body, Close) and self._roster is None:
            del self._guests[sender]
            return self._told()
        if isinstance(body, Ready) and not guest.ready:
            if body.proposal != self._program.proposal.hash:
                return [self._refuse(sender, "refused", "consents to another program")]
            guest.ready = True
            return [*self._told(), *self._complete(now)]
        return []

    def has_roster(self, sender: str) -> None:
        """Take note that a member's offer has come: it need not be sent the roster again."""
        self._answered.add(sender)

    def leave(self) -> list[Action]:
        """Return the messages by which the initiator calls it off before all are there."""
        if self._roster is not None:
            return []
        close = Close(reason="cancelled", detail="the initiator ended the session")
        return [Send(to=did, body=close) for did in self._guests]

    def tick(self, now: float) -> list[Action]:
        """Return what is due: the roster once more, or a guest that is gone."""
        if now < self._repeat:
            return []
        self._repeat = now + REPEAT_SECONDS
        if self._roster is not None:
            roster = self._roster
            return [Send(to=did, body=roster) for did in self._guests if did not in self._answered]
        late = [
            did
            for did, guest in self._guests.items()
            if not guest.ready and now > guest.came + GUEST_SECONDS
        ]
        for did in late:
            del self._guests[did]
        return self._told() if late else []

    def _join(self, sender: str, body: Join, now: float) -> list[Action]:
        if not self.has_link(body):
            return []  # whoever has no link gets no answer
        if sender in self._guests:  # it has not got our answer
            return [Send(to=sender, body=self._program)]
        try:
            self._invitation.require_valid(now)
            proof.check(body.proof, self._invitation.sid, sender, body.identity, self._resolve)
            self._admit(body.identity, body.credentials)
        except DidcommError as error:
            return [self._refuse(sender, "refused", str(error))]
        if body.identity == self._program.identity:
            return [self._refuse(sender, "refused", "the initiator is in already")]
        before = [did for did, it in self._guests.items() if it.join.identity == body.identity]
        taken = len(self._guests) - len(before)
        if self._roster is not None or taken >= self._invitation.parties - 1:
            return [self._refuse(sender, "full", "all seats of this session are taken")]
        # whoever was there and comes again, after a crash or from elsewhere, has one seat
        actions: list[Action] = []
        for did in before:
            del self._guests[did]
            actions.append(self._refuse(did, "refused", "you joined again from elsewhere"))
        self._guests[sender] = _Guest(join=body, came=now)
        return [*actions, Send(to=sender, body=self._program), *self._told()]

    def _refuse(self, to: str, reason: str, detail: str) -> Send:
        return Send(to=to, body=Close(reason=reason, detail=detail[:400]))  # type: ignore[arg-type]

    def _told(self) -> list[Action]:
        """Return messages that tell all who is there."""
        own = Present(name=self._program.name, identity=self._program.identity, ready=True)
        guests = tuple(
            Present(name=each.join.name, identity=each.join.identity, ready=each.ready)
            for each in self._guests.values()
        )
        view = LobbyView(present=(own, *guests), parties=self._invitation.parties)
        return [Show(view=view), *(Send(to=did, body=view) for did in self._guests)]

    def _complete(self, now: float) -> list[Action]:
        """Return the roster to all, if all are ready."""
        ready = [did for did, guest in self._guests.items() if guest.ready]
        if len(ready) < self._invitation.parties - 1:
            return []
        own = Member(
            pid=0,
            did=self._invitation.did,
            identity=self._program.identity,
            name=self._program.name,
            proof=self._program.proof,
            credentials=self._program.credentials,
        )
        others = (
            Member(
                pid=pid,
                did=did,
                identity=self._guests[did].join.identity,
                name=self._guests[did].join.name,
                proof=self._guests[did].join.proof,
                credentials=self._guests[did].join.credentials,
            )
            for pid, did in enumerate(ready, 1)
        )
        self._roster = Roster(
            epoch=0,
            session=self._session,
            proposal=self._program.proposal.hash,
            members=(own, *others),
        )
        self._repeat = now + REPEAT_SECONDS
        roster = self._roster
        return [Begin(roster=roster), *(Send(to=did, body=roster) for did in ready)]
