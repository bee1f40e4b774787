"""The two ways into a session: to invite others, and to join them. Both end with a result."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import msgspec

from e3 import experiment
from e3.adhoc import board, inbox, kept, nearby, programs
from e3.adhoc.admission import admission, shown_for, wanted
from e3.adhoc.kept import Keeper, keeping
from e3.adhoc.meeting import Side, body
from e3.adhoc.rounds import GATHER_SECONDS, Rounds
from e3.adhoc.scratch import scratch
from e3.adhoc.setting import Own, Setting
from e3.didcomm.connection import Mediation
from e3.didcomm.errors import DidcommError
from e3.didcomm.mailbox import Mailbox, new_identity, opened
from e3.didcomm.messages import Identity
from e3.didcomm.proxy import connector
from e3.didcomm.resolver import WEB, Resolver
from e3.didcomm.session import invitation as invitations
from e3.didcomm.session import proof
from e3.didcomm.session.bodies import KINDS, Close, Join, Program, Proposal
from e3.didcomm.session.invitation import Invitation
from e3.didcomm.session.lobby import Lobby
from e3.didcomm.session.negotiation import Terms
from e3.errors import SessionError
from e3.remote.tasks import beside
from e3.remote.text import printable
from e3.session.results import SessionResult, new_id

REPEAT_SECONDS = 2.0
ANSWER_SECONDS = 30.0
"""For the initiator to answer a guest."""

GRACE_SECONDS = 120.0
"""For a guest to hear from the initiator once the link has expired."""


async def invite(
    setting: Setting, proposal: Proposal, own: Own, lifetime_seconds: int
) -> SessionResult:
    """Invite others, wait for them, and compute with them."""
    async with _mailbox(setting) as box:
        invitation = _invitation(setting, proposal, box.identity.did, lifetime_seconds)
        first = msgspec.structs.replace(
            kept.of(invitation, box.identity, proposal), expected=setting.expected
        )
        return await _host(setting, box, kept.new(setting.people.folder, first), own)


async def resume(
    setting: Setting, keeper: Keeper, own: Callable[[experiment.Program, float], Own]
) -> SessionResult:
    """Go on with an invitation whose process was killed; who had come needs to do nothing."""
    found = keeper.last
    with scratch(setting.people.folder) as place:
        program = programs.unpack(found.proposal, place / "program")
        mine = own(program, found.proposal.deadline_seconds)
        async with _mailbox(setting, lambda _: found.identity) as box:
            again = Close(reason="restarted", detail="the inviter is back", epoch=found.epoch)
            for each in found.members:
                with contextlib.suppress(DidcommError):
                    box.send(each.did, KINDS[Close], again, thid=found.invitation.sid)
            keeper.last = msgspec.structs.replace(found, epoch=found.epoch + 1)
            return await _host(setting, box, keeper, mine)


async def _host(setting: Setting, box: Mailbox, keeper: Keeper, own: Own) -> SessionResult:
    """Wait for those who are invited, and compute with them."""
    first = keeper.last
    me, proposal, invitation = setting.me, first.proposal, first.invitation
    resolver = _resolver(setting)
    await resolver.fetch([me.did, *first.expected])
    inboxes = {
        each: inbox.inbox_of(resolver.resolve(each))
        for each in first.expected
        if each.startswith(WEB)
    }
    shown = Program(
        proposal=proposal,
        name=me.name,
        identity=me.did,
        proof=proof.prove(invitation.sid, box.identity.did, resolver.resolve(me.did), me.key),
        credentials=shown_for(setting.credentials, wanted(proposal)),
    )
    admit = admission(proposal)
    admit(me.did, shown.credentials)
    lobby = Lobby(invitation, shown, new_id(), resolver.resolve, admit)
    if first.epoch:
        lobby = lobby.again(first.members, first.epoch, new_id(), closed=first.closed)
    if not first.closed:
        lobby.expect(first.expected)
    with keeping(keeper):
        side = Side(
            me=me,
            terms=replace(_terms(invitation, proposal), epoch=first.epoch),
            reach=setting.reach,
            until=max(invitation.expires, time.time() + GATHER_SECONDS if first.closed else 0),
            admit=admit,
            lobby=lobby,
            note=keeper.note,
        )
        link = invitations.link(invitation)
        setting.person.invited(link, invitation, proposal)
        async with AsyncExitStack() as offered:
            if setting.topic:
                await offered.enter_async_context(board.posted(box, setting.topic, link))
            if setting.nearby:
                await offered.enter_async_context(nearby.announced(link))
                setting.person.tell("announced on the local network: `e3 nearby` lists it")
            if inboxes:
                sending = inbox.deliver(box, lobby, link, inboxes)
                await offered.enter_async_context(beside(sending))
            rounds = Rounds(setting, box, resolver, own, proposal.rounds, offered)
            return await rounds.compute(side)


def _invitation(
    setting: Setting, proposal: Proposal, did: str, lifetime_seconds: int
) -> Invitation:
    now = int(time.time())
    first, *others = setting.mediator.split()
    return Invitation(
        sid=invitations.new_id(),
        did=did,
        identity=setting.me.did,
        name=setting.me.name,
        token=invitations.new_id(),
        mediator=first,
        others=tuple(others),
        program=proposal.name,
        digest=proposal.digest,
        parties=proposal.parties,
        requires=wanted(proposal),
        created=now,
        expires=now + lifetime_seconds,
    )


async def join(
    setting: Setting, invitation: Invitation, own: Callable[[experiment.Program, float], Own]
) -> SessionResult:
    """Accept an invitation, and compute with the others; ``own`` is made once the program is here.

    Raises `SessionError` if the user does not consent, or if nobody answers.
    """
    invitation.require_valid(time.time())
    if setting.expected and invitation.identity not in setting.expected:
        raise SessionError(
            f"the invitation is of {printable(invitation.identity, 80)}, not of whom --with names"
        )
    me, did = setting.me, invitation.did
    with scratch(setting.people.folder) as place:
        async with _mailbox(setting) as box:
            resolver = _resolver(setting)
            await resolver.fetch([me.did, invitation.identity])
            shown = await _ask_in(box, setting, invitation, resolver)
            _check(shown, invitation, resolver)
            proposal = shown.proposal
            admit = admission(proposal)
            admit(shown.identity, shown.credentials)
            program = programs.unpack(proposal, place / "program")
            try:
                consents = await setting.person.consents_to(proposal, invitation)
            except asyncio.CancelledError:
                box.send(did, KINDS[Close], Close(reason="cancelled"), thid=invitation.sid)
                raise
            if not consents:
                box.send(did, KINDS[Close], Close(reason="declined"), thid=invitation.sid)
                raise DeclinedError("you did not consent; nothing was run")
            side = Side(
                me=me,
                terms=replace(_terms(invitation, proposal), epoch=shown.epoch),
                reach=setting.reach,
                until=invitation.expires + GRACE_SECONDS,
                admit=admit,
            )
            mine = own(program, proposal.deadline_seconds)
            async with AsyncExitStack() as offered:
                rounds = Rounds(setting, box, resolver, mine, proposal.rounds, offered)
                return await rounds.compute(side)


class DeclinedError(SessionError):
    """The user does not want to take part."""


def _mailbox(
    setting: Setting, identity: Callable[[Sequence[Mediation]], Identity] = new_identity
) -> contextlib.AbstractAsyncContextManager[Mailbox]:
    reach = setting.reach
    return opened(setting.mediator, hidden=reach.relay_only, proxy=reach.proxy, identity=identity)


def _terms(invitation: Invitation, proposal: Proposal) -> Terms:
    return Terms(
        sid=invitation.sid,
        initiator=invitation.did,
        initiator_identity=invitation.identity,
        proposal=proposal.hash,
        parties=proposal.parties,
    )


def _resolver(setting: Setting) -> Resolver:
    me, reach = setting.me, setting.reach
    return Resolver(
        only=me.did if reach.relay_only else None,
        trusted=frozenset({me.did, *setting.expected, *setting.people.known()}),
        connect=(lambda: connector(reach.proxy)) if reach.proxy else None,
    )


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
        credentials=_shown(setting, invitation),
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


def _shown(setting: Setting, invitation: Invitation) -> tuple[str, ...]:
    """Return what is shown of the user's credentials, and say it to the user."""
    shown = shown_for(setting.credentials, invitation.requires)
    if shown:
        asked = ", ".join(printable(f"{it.claim}={it.value}") for it in invitation.requires)
        setting.person.tell(
            f"shown to {printable(invitation.name, 64)} and the parties: a credential for {asked}"
        )
    return shown


def _check(shown: Program, invitation: Invitation, resolver: Resolver) -> None:
    """Raise `DidcommError` unless what is shown is what the link promised, and what would run."""
    if shown.identity != invitation.identity:
        raise DidcommError("whoever answers is not who made the invitation; do not join")
    proof.check(shown.proof, invitation.sid, invitation.did, shown.identity, resolver.resolve)
    proposal = shown.proposal
    promised = (invitation.digest, invitation.parties)
    if (proposal.digest, proposal.parties) != promised:
        raise DidcommError("the program is another one than in the invitation; do not join")
    if wanted(proposal) != invitation.requires:
        raise DidcommError("other credentials are required than in the invitation; do not join")
    secret_up_to = programs.threshold(proposal.args, proposal.parties)
    if proposal.threshold != secret_up_to:
        raise DidcommError(
            f"the proposal says threshold {proposal.threshold}, but its arguments make it "
            f"{secret_up_to}; do not join"
        )
