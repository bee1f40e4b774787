"""A company that is invited by its domain: its document names an inbox, and its E3 waits there."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from e3.adhoc import inbox
from e3.adhoc.own_dids import inbox_identity
from e3.adhoc.people import People, web_document
from e3.didcomm import did as dids
from e3.didcomm.did import Document
from e3.didcomm.errors import DidcommError
from e3.didcomm.mailbox import opened
from e3.didcomm.messages import Identity
from e3.didcomm.session import invitation as invitations
from e3.didcomm.session.invitation import Invitation
from e3.didcomm.session.lobby import Lobby
from e3.remote.tasks import beside
from tests.unit.didcomm.parties import Person, invitation, people, program
from tests.unit.didcomm.test_mediator import SECONDS, served

pytestmark = pytest.mark.unit

DID = "did:web:company.example"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("E3_HOME", str(tmp_path))
    return tmp_path


def published(at: str = "") -> Document:
    me = People.of_user().self(did=DID)
    return dids.document(DID, web_document(me, DID, at))


def fresh(host: Person) -> Invitation:
    now = int(time.time())
    return replace(invitation(host), created=now, expires=now + 600)


def lobby(host: Person, made: Invitation, expected: Sequence[str]) -> Lobby:
    there = Lobby(made, program(host), "20260101-000000-abcd", dids.resolve)
    there.expect(expected)
    return there


@pytest.mark.usefixtures("home")
def test_a_document_names_the_inbox_and_its_did_stays() -> None:
    async def run() -> None:
        async with served() as (_, uri):
            seen = set()
            for _ in range(2):
                async with opened(uri, identity=inbox_identity) as box:
                    seen.add(inbox.inbox_of(published(box.identity.did)))
            assert seen == {box.identity.did}

    asyncio.run(run())


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "place", ["", "https://company.example/", "did:none:x", Identity.make().did]
)
def test_a_document_without_an_inbox_says_so(place: str) -> None:
    with pytest.raises(DidcommError, match="has no inbox"):
        inbox.inbox_of(published(place))


@pytest.mark.usefixtures("home")
def test_an_invitation_waits_until_the_company_does_and_comes_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox, "REPEAT_SECONDS", 0.2)
    (host,) = people(1)
    company = Person(host.sid)
    made = fresh(host)
    there = lobby(host, made, [company.identity])

    async def run() -> None:
        async with served() as (_, uri), opened(uri) as alice, asyncio.timeout(SECONDS):
            async with opened(uri, identity=inbox_identity) as box:
                did = box.identity.did
            sending = inbox.deliver(alice, there, invitations.link(made), {company.identity: did})
            async with beside(sending) as delivering:
                await asyncio.sleep(0.5)  # nobody waits there yet
                async with opened(uri, identity=inbox_identity) as box:
                    coming = inbox.received(box)
                    assert await anext(coming) == made
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(1):
                            await anext(coming)
                there.received(company.did, company.join(made.token), time.time())
                await delivering  # it ends as the company has come

    asyncio.run(run())


@pytest.mark.usefixtures("home")
def test_what_is_no_invitation_or_is_over_is_left_out() -> None:
    (host,) = people(1)
    good, over = fresh(host), invitations.link(replace(fresh(host), created=1, expires=2))

    async def run() -> None:
        async with (
            served() as (_, uri),
            opened(uri) as mallory,
            opened(uri, identity=inbox_identity) as box,
            asyncio.timeout(SECONDS),
        ):
            for body in ({}, {"link": "x"}, {"link": over}, {"link": 7}):
                mallory.send(box.identity.did, inbox.SENT, body, thid="1")
            mallory.send(box.identity.did, "https://x.example/1.0/y", {}, thid="1")
            link = inbox.Sent(link=invitations.link(good))
            mallory.send(box.identity.did, inbox.SENT, link, thid="1")
            assert await anext(inbox.received(box)) == good

    asyncio.run(run())
