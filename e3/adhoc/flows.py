"""The two ways into a session: to invite others, and to join them. Both end with a result."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from e3 import experiment
from e3.adhoc import board, programs
from e3.adhoc.admission import admission
from e3.adhoc.conduct import Own, conduct
from e3.adhoc.links import Reach
from e3.adhoc.meeting import Meeting, Side, User, body
from e3.adhoc.people import People, Self
from e3.didcomm.errors import DidcommError
from e3.didcomm.mailbox import Mailbox, opened
from e3.didcomm.resolver import Resolver
from e3.didcomm.session import invitation as invitations
from e3.didcomm.session import proof
from e3.didcomm.session.bodies import KINDS, Close, Join, Program, Proposal, Roster
from e3.didcomm.session.invitation import Invitation
from e3.didcomm.session.lobby import Lobby
from e3.didcomm.session.negotiation import Terms
from e3.errors import SessionError
from e3.remote.text import printable
from e3.session.progress import Observer
from e3.session.results import SessionResult
from e3.session.run_session import new_id

REPEAT_SECONDS = 2.0
ANSWER_SECONDS = 30.0
"""For the initiator to answer a guest."""

GRACE_SECONDS = 120.0
"""For a guest to hear from the initiator once the link has expired."""

Displays = Callable[[Roster], AbstractContextManager[Observer]]
"""Shows a session's progress, in a context of its own."""


class Person(User, Protocol):
    """The person at this machine, also before all are there."""

    def invited(self, link: str, invitation: Invitation, proposal: Proposal) -> None:
        """Show the link of a new invitation to what is proposed."""

    async def consents_to(self, proposal: Proposal, invitation: Invitation) -> bool:
        """Return whether to take part in computing what is proposed."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both ways need: the user, the mediator and how this machine is reached."""

    me: Self
    people: People
    mediator: str
    reach: Reach
    person: Person
    displays: Displays
    credentials: tuple[str, ...] = ()
    topic: str = ""


async def invite(
    setting: Setting, proposal: Proposal, own: Own, lifetime_seconds: int
) -> SessionResult:
    """Invite others, wait for them, and compute with them."""
    me = setting.me
    async with opened(setting.mediator, hidden=setting.reach.relay_only) as box:
        resolver = _resolver(setting)
        await resolver.fetch([me.did])
        sid, now = invitations.new_id(), int(time.time())
        did = box.identity.did
        invitation = Invitation(
            sid=sid,
            did=did,
            identity=me.did,
            name=me.name,
            token=invitations.new_id(),
            mediator=setting.mediator,
            program=proposal.name,
            digest=proposal.digest,
            parties=proposal.parties,
            created=now,
            expires=now + lifetime_seconds,
        )
        shown = Program(
            proposal=proposal,
            name=me.name,
            identity=me.did,
            proof=proof.prove(sid, did, resolver.resolve(me.did), me.key),
            credentials=setting.credentials,
        )
        admit = admission(proposal)
        admit(me.did, setting.credentials)
        lobby = Lobby(invitation, shown, new_id(), resolver.resolve, admit)
        side = Side(
            me=me,
            terms=_terms(invitation, proposal),
            reach=setting.reach,
            until=invitation.expires,
            admit=admit,
            lobby=lobby,
        )
        link = invitations.link(invitation)
        if setting.topic:
            await board.post(box, setting.topic, link)
        setting.person.invited(link, invitation, proposal)
        return await _compute(box, side, setting, resolver, own)


async def join(
    setting: Setting, invitation: Invitation, own: Callable[[experiment.Program, float], Own]
) -> SessionResult:
    """Accept an invitation, and compute with the others; ``own`` is made once the program is here.

    Raises `SessionError` if the user does not consent, or if nobody answers.
    """
    invitation.require_valid(time.time())
    me, did = setting.me, invitation.did
    folder = setting.people.folder / "programs" / invitation.sid
    hidden = setting.reach.relay_only
    async with opened(setting.mediator, hidden=hidden) as box, removed(folder):
        resolver = _resolver(setting)
        await resolver.fetch([me.did, invitation.identity])
        shown = await _ask_in(box, setting, invitation, resolver)
        _check(shown, invitation, resolver)
        proposal = shown.proposal
        admit = admission(proposal)
        admit(shown.identity, shown.credentials)
        program = programs.unpack(proposal, folder)
        try:
            consents = await setting.person.consents_to(proposal, invitation)
        except asyncio.CancelledError:
            box.send(did, KINDS[Close], Close(reason="cancelled"), thid=invitation.sid)
            raise
        if not consents:
            box.send(did, KINDS[Close], Close(reason="declined"), thid=invitation.sid)
            raise SessionError("you did not consent; nothing was run")
        side = Side(
            me=me,
            terms=_terms(invitation, proposal),
            reach=setting.reach,
            until=invitation.expires + GRACE_SECONDS,
            admit=admit,
        )
        return await _compute(box, side, setting, resolver, own(program, proposal.deadline_seconds))


def _terms(invitation: Invitation, proposal: Proposal) -> Terms:
    return Terms(
        sid=invitation.sid,
        initiator=invitation.did,
        initiator_identity=invitation.identity,
        proposal=proposal.hash,
        parties=proposal.parties,
    )


def _resolver(setting: Setting) -> Resolver:
    return Resolver(only=setting.me.did if setting.reach.relay_only else None)


@asynccontextmanager
async def removed(folder: Path) -> AsyncIterator[None]:
    """Remove a folder at the end."""
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _compute(
    box: Mailbox, side: Side, setting: Setting, resolver: Resolver, own: Own
) -> SessionResult:
    meeting = Meeting(box, side, setting.person, resolver)
    async with meeting.going_on():
        try:
            roster = await meeting.gather()
            if setting.topic:
                await board.remove(box)
        except asyncio.CancelledError:
            meeting.leave("cancelled", "its user ended the session")
            raise
        with setting.displays(roster) as observer:
            return await conduct(meeting, roster, own, setting.people.sessions, observer)


async def _ask_in(
    box: Mailbox, setting: Setting, invitation: Invitation, resolver: Resolver
) -> Program:
    """Ask the initiator for a seat until it answers; return what it shows."""
    me, own = setting.me, box.identity.did
    asked = Join(
        token=invitation.token,
        name=me.name,
        identity=me.did,
        proof=proof.prove(invitation.sid, own, resolver.resolve(me.did), me.key),
        credentials=setting.credentials,
    )
    began = time.monotonic()
    while time.monotonic() < began + ANSWER_SECONDS:
        box.send(invitation.did, KINDS[Join], asked, thid=invitation.sid)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPEAT_SECONDS):
                while True:
                    received = await box.receive()
                    if received.sender != invitation.did:
                        continue
                    answer = body(received, invitation.sid)
                    if isinstance(answer, Program):
                        return answer
                    if isinstance(answer, Close):
                        raise SessionError(
                            f"{printable(invitation.name, 64)} lets nobody in: "
                            f"{printable(answer.detail or answer.reason)}"
                        )
    raise SessionError(
        f"{printable(invitation.name, 64)} does not answer: the session is over, or their "
        "`e3 invite` does not run any more; ask for a new invitation"
    )


def _check(shown: Program, invitation: Invitation, resolver: Resolver) -> None:
    """Raise `DidcommError` unless what is shown is what the link promised, and what would run."""
    if shown.identity != invitation.identity:
        raise DidcommError("whoever answers is not who made the invitation; do not join")
    proof.check(shown.proof, invitation.sid, invitation.did, shown.identity, resolver.resolve)
    proposal = shown.proposal
    promised = (invitation.digest, invitation.parties)
    if (proposal.digest, proposal.parties) != promised:
        raise DidcommError("the program is another one than in the invitation; do not join")
    secret_up_to = programs.threshold(proposal.args, proposal.parties)
    if proposal.threshold != secret_up_to:
        raise DidcommError(
            f"the proposal says threshold {proposal.threshold}, but its arguments make it "
            f"{secret_up_to}; do not join"
        )
