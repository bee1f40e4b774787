"""The initiator's part: who asks to be in, who consents, and the roster once all have. Pure."""

import hmac
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from e3.didcomm.did import Document
from e3.didcomm.errors import DidcommError
from e3.didcomm.session import proof
from e3.didcomm.session.actions import Action, Begin, End, Restart, Send, Show
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
from e3.remote.text import printable

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
        """Invite to ``program``; ``session`` will name the session among the parties."""
        self._invitation = invitation
        self._program = program
        self._session = session
        self._resolve = resolve
        self._admit = admit
        self._expected: frozenset[str] = frozenset()
        self._epoch = 0
        self._pids: dict[str, int] = {}
        """Of an earlier roster, by lasting DID: they stay."""
        self._guests: dict[str, _Guest] = {}
        self._roster: Roster | None = None
        self._answered: set[str] = set()
        """Those whose offers have come: they have the roster."""
        self._repeat = 0.0

    def expect(self, identities: Sequence[str]) -> None:
        """Keep seats for these lasting DIDs."""
        self._expected = frozenset(identities)

    @property
    def epoch(self) -> int:
        """That of the roster to come."""
        return self._epoch

    @property
    def is_closed(self) -> bool:
        """Whether there is a roster, or was one: nobody else can come."""
        return bool(self._pids) or self._roster is not None

    @property
    def seated(self) -> tuple[Member, ...]:
        """The guests who are there, each with the pid that it would have."""
        if self._roster is not None:
            return tuple(it for it in self._roster.members if it.did != self._invitation.did)
        return tuple(
            self._member(self._pids.get(guest.join.identity, place), did)
            for place, (did, guest) in enumerate(self._guests.items(), 1)
        )

    def again(
        self, members: Sequence[Member], epoch: int, session: str, *, closed: bool = True
    ) -> "Lobby":
        """Return a lobby for a later roster, in which these guests are; nobody else if ``closed``.

        They have to consent to take part once more.
        """
        made = Lobby(self._invitation, self._program, session, self._resolve, self._admit)
        made._epoch = epoch
        if closed:
            made.expect([each.identity for each in members])
            made._pids = {each.identity: each.pid for each in members}
        # they need not see the program again, and have the time that the caller gives them
        made._guests = {
            each.did: _Guest(join=self._joined(each), came=math.inf) for each in members
        }
        return made

    def _joined(self, member: Member) -> Join:
        return Join(
            token=self._invitation.token,
            name=member.name,
            identity=member.identity,
            proof=member.proof,
            credentials=member.credentials,
        )

    @property
    def _answer(self) -> Program:
        return msgspec.structs.replace(self._program, epoch=self._epoch)

    @property
    def missing(self) -> frozenset[str]:
        """The lasting DIDs that are expected and have not come."""
        return self._expected - {each.join.identity for each in self._guests.values()}

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
        if isinstance(body, Close) and self._roster is None and body.epoch >= self._epoch:
            return self._left(sender, body)
        if isinstance(body, Ready) and not guest.ready and body.epoch == self._epoch:
            if body.proposal != self._program.proposal.hash:
                return [self._refuse(sender, "refused", "consents to another program")]
            guest.ready = True
            return [*self._told(), *self._complete(now)]
        return []

    def _left(self, sender: str, close: Close) -> list[Action]:
        guest = self._guests.pop(sender)
        if not self._pids:
            return self._told()
        why = f"{printable(guest.join.name, 64)} takes part no more ({close.reason})"
        told = Close(reason="cancelled", detail=why[:400], epoch=self._epoch)
        return [*(Send(to=did, body=told) for did in self._guests), End(why=why, culprit=sender)]

    def has_roster(self, sender: str) -> None:
        """Take note that a member's offer has come: it need not be sent the roster again."""
        self._answered.add(sender)

    def leave(self) -> list[Action]:
        """Return the messages by which the initiator calls it off before all are there."""
        if self._roster is not None:
            return []
        detail = "the initiator ended the session"
        close = Close(reason="cancelled", detail=detail, epoch=self._epoch)
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
            return [Send(to=sender, body=self._answer)]
        try:
            self._invitation.require_valid(now)
            proof.check(body.proof, self._invitation.sid, sender, body.identity, self._resolve)
            self._admit(body.identity, body.credentials)
            if body.identity == self._program.identity:
                raise DidcommError("the initiator is in already")  # noqa: TRY301 - as the others
        except DidcommError as error:
            return [self._refuse(sender, "refused", str(error))]
        before = [did for did, it in self._guests.items() if it.join.identity == body.identity]
        if self._roster is not None and before:
            return [Restart(epoch=self._epoch + 1)]  # back after a crash: it has another DID
        if self._roster is not None or self._is_full(body.identity):
            return [self._refuse(sender, "full", "all seats of this session are taken")]
        # whoever was there and comes again, after a crash or from elsewhere, has one seat
        actions: list[Action] = []
        for did in before:
            del self._guests[did]
            actions.append(self._refuse(did, "refused", "you joined again from elsewhere"))
        self._guests[sender] = _Guest(join=body, came=now)
        return [*actions, Send(to=sender, body=self._answer), *self._told()]

    def _is_full(self, identity: str) -> bool:
        """Return whether there is no seat for somebody; those who are expected have theirs."""
        if identity in self._expected:
            return False
        others = [each.join.identity for each in self._guests.values()]
        taken = sum(each not in self._expected and each != identity for each in others)
        return taken >= self._invitation.parties - 1 - len(self._expected)

    def _refuse(self, to: str, reason: str, detail: str) -> Send:
        close = Close(reason=reason, detail=detail[:400], epoch=self._epoch)  # type: ignore[arg-type]
        return Send(to=to, body=close)

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
        ready.sort(key=lambda did: self._pids.get(self._guests[did].join.identity, 0))
        own = Member(
            pid=0,
            did=self._invitation.did,
            identity=self._program.identity,
            name=self._program.name,
            proof=self._program.proof,
            credentials=self._program.credentials,
        )
        others = (self._member(pid, did) for pid, did in enumerate(ready, 1))
        self._roster = Roster(
            epoch=self._epoch,
            session=self._session,
            proposal=self._program.proposal.hash,
            members=(own, *others),
        )
        self._repeat = now + REPEAT_SECONDS
        roster = self._roster
        return [Begin(roster=roster), *(Send(to=did, body=roster) for did in ready)]

    def _member(self, pid: int, did: str) -> Member:
        join = self._guests[did].join
        return Member(
            pid=pid,
            did=did,
            identity=join.identity,
            name=join.name,
            proof=join.proof,
            credentials=join.credentials,
        )
