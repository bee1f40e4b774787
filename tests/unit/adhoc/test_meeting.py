"""A meeting ends when it can no longer become complete."""

import asyncio
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from e3.adhoc.links import Reach
from e3.adhoc.meeting import Meeting, Side, User
from e3.adhoc.people import Self
from e3.didcomm.did import Service, key_did
from e3.didcomm.errors import DidcommError
from e3.didcomm.mailbox import Mailbox, opened
from e3.didcomm.messages import Identity
from e3.didcomm.resolver import Resolver
from e3.didcomm.session.actions import Send
from e3.didcomm.session.bodies import KINDS, Close, LobbyView, Roster
from e3.didcomm.session.negotiation import Terms
from e3.errors import SessionError
from tests.unit.didcomm.test_mediator import served

pytestmark = pytest.mark.unit

SID = "0123456789abcdef012345"


class Nobody:
    """A user who is told, and asked nothing here."""

    def show(self, view: LobbyView) -> None:
        """See `User`."""

    def tell(self, text: str) -> None:
        """See `User`."""

    async def consents(self, roster: Roster) -> bool:
        """See `User`."""
        raise AssertionError(roster)


def guest(box: Mailbox, initiator: str, until: float, user: User | None = None) -> Meeting:
    key = Ed25519PrivateKey.generate()
    me = Self(did=key_did(key.public_key()), name="Bob", key=key)
    terms = Terms(
        sid=SID, initiator=initiator, initiator_identity=me.did, proposal="0" * 64, parties=2
    )
    side = Side(me=me, terms=terms, reach=Reach(), until=until)
    return Meeting(box, side, user or Nobody(), Resolver())


def test_a_guest_does_not_wait_for_ever() -> None:
    async def run() -> None:
        async with served() as (_, uri), opened(uri) as box:
            meeting = guest(box, Identity.make().did, time.time() - 1)
            async with meeting.going_on(), asyncio.timeout(20):
                with pytest.raises(SessionError, match="the link has expired"):
                    await meeting.gather()

    asyncio.run(run())


def test_a_guest_hears_that_the_initiator_left_and_believes_nobody_else() -> None:
    async def run() -> None:
        async with served() as (_, uri), opened(uri) as bob, opened(uri) as alice:
            meeting = guest(bob, alice.identity.did, time.time() + 60)
            close = Close(reason="cancelled", detail="no time")
            async with opened(uri) as mallory, meeting.going_on(), asyncio.timeout(20):
                mallory.send(bob.identity.did, KINDS[Close], close, thid=SID)
                alice.send(bob.identity.did, KINDS[Close], close, thid="another session")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await asyncio.shield(meeting.gather())
                alice.send(bob.identity.did, KINDS[Close], close, thid=SID)
                with pytest.raises(SessionError, match=r"left \(cancelled\): no time"):
                    await meeting.gather()

    asyncio.run(run())


def test_a_hidden_party_calls_no_place_but_its_mediator() -> None:
    """A peer chooses what its DID names: it would learn who calls."""

    async def run() -> None:
        calls: list[bytes] = []

        async def called(_: object, writer: asyncio.StreamWriter) -> None:
            calls.append(b"")
            writer.close()

        trap = await asyncio.start_server(called, "127.0.0.1", 0)
        port = trap.sockets[0].getsockname()[1]
        peer = Identity.make([Service(uri=f"http://127.0.0.1:{port}/")])
        async with trap, served() as (_, uri):
            for hidden in (True, False):
                async with opened(uri, hidden=hidden) as box, asyncio.timeout(20):
                    box.send(peer.did, KINDS[Close], Close(reason="done"), thid=SID)
                    await box.sent_all()
                assert bool(calls) is not hidden

    asyncio.run(run())


def test_a_hidden_party_looks_up_no_did_of_others() -> None:
    other = "did:web:example.org"
    resolver = Resolver(only="did:web:own.example.org")
    asyncio.run(resolver.fetch([other]))
    with pytest.raises(DidcommError, match="must not learn"):
        resolver.resolve(other)


def test_a_member_to_whom_nothing_can_be_sent_does_not_stop_the_others() -> None:
    """Its DID names a route through a DID that nobody can read."""

    async def run() -> None:
        lost = Identity.make([Service(uri="http://x/", routing_keys=("did:none:x#1",))])
        async with served() as (_, uri), opened(uri) as alice, opened(uri) as bob:
            meeting = guest(alice, bob.identity.did, time.time() + 60)
            close = Close(reason="cancelled")
            sends = [Send(to=did, body=close) for did in (lost.did, bob.identity.did)]
            meeting._do(sends)  # noqa: SLF001 - what a state machine asks for
            async with asyncio.timeout(20):
                assert (await bob.receive()).sender == alice.identity.did

    asyncio.run(run())


def test_an_error_of_this_party_ends_its_meeting_at_once() -> None:
    class Broken(Nobody):
        def show(self, view: LobbyView) -> None:
            raise ZeroDivisionError(view)

    async def run() -> None:
        async with served() as (_, uri), opened(uri) as bob, opened(uri) as alice:
            meeting = guest(bob, alice.identity.did, time.time() + 60, Broken())
            async with meeting.going_on(), asyncio.timeout(20):
                view = LobbyView(present=(), parties=2)
                alice.send(bob.identity.did, KINDS[LobbyView], view, thid=SID)
                await meeting.gather()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
