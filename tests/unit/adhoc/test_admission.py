"""Credentials at the door: every party verifies those of all others, not the initiator alone."""

import asyncio
import os

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from e3.adhoc.admission import admission, requirement, shown_for, wanted
from e3.authority import credentials
from e3.authority.credentials import LocalSigner
from e3.authority.joint.requests import Status
from e3.authority.joint.requests.selective import disclosure
from e3.didcomm import did as dids
from e3.didcomm.did import key_did
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import unbase64
from e3.didcomm.session.actions import Ask, End, Send
from e3.didcomm.session.bodies import Close, Program, Proposal
from e3.didcomm.session.lobby import Lobby
from e3.errors import ConfigurationError
from tests.unit.didcomm.parties import (
    NOW,
    Person,
    invitation,
    negotiation,
    people,
    program,
    proposal,
    roster,
)

pytestmark = pytest.mark.unit

AUTHORITY, STRANGER = LocalSigner(key=os.urandom(32)), LocalSigner(key=os.urandom(32))
URL = "https://authority.example/revoked"


def issuer(signer: LocalSigner) -> str:
    key = Ed25519PrivateKey.from_private_bytes(signer.key)
    return key_did(key.public_key())


def credential(
    person: Person, role: str = "auditor", signer: LocalSigner = AUTHORITY, place: int | None = None
) -> str:
    status = None if place is None else Status(url=URL, index=place)
    asked = credentials.asked(person.identity, {"role": role}, status=status)
    return asyncio.run(credentials.issue(signer, asked))


def required(revocations: str = "") -> Proposal:
    wanted = requirement(f"role=auditor by {issuer(AUTHORITY)}", revocations)
    return msgspec.structs.replace(proposal(), requires=(wanted,))


def refusal(person: Person, *shown: str, revocations: str = "") -> str:
    with pytest.raises(DidcommError) as refused:
        admission(required(revocations))(person.identity, shown)
    return str(refused.value)


PERSON, OTHER = people(2)


def test_a_credential_of_the_authority_admits() -> None:
    admission(required())(PERSON.identity, [credential(PERSON, "clerk"), credential(PERSON)])


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        ([], "it was not shown"),
        ([credential(PERSON, "clerk")], "something else"),
        ([credential(PERSON, signer=STRANGER)], "not of"),
        ([credential(OTHER)], "shows it"),
        ([credential(PERSON)[:-4] + "AAAA"], "signature"),
        (["no credential"], "no credential"),
    ],
    ids=["none", "another role", "another issuer", "of another DID", "forged", "no JWT"],
)
def test_any_other_credential_does_not(shown: list[str], why: str) -> None:
    assert why in refusal(PERSON, *shown)


def test_a_revoked_credential_does_not() -> None:
    listed = asyncio.run(credentials.publish(AUTHORITY, URL, [7]))
    admission(required(listed))(PERSON.identity, [credential(PERSON, place=8)])
    assert "revoked" in refusal(PERSON, credential(PERSON, place=7), revocations=listed)
    assert "list" in refusal(PERSON, credential(PERSON, place=8))


def test_the_initiator_lets_nobody_in_without_it() -> None:
    host, guest = PERSON, Person(PERSON.sid)
    shown = msgspec.structs.replace(program(host), proposal=required())
    made = invitation(host)
    lobby = Lobby(made, shown, "20260101-000000-abcd", dids.resolve, admission(required()))
    (answer,) = lobby.received(guest.did, guest.join(made.token), NOW)
    assert isinstance(answer, Send)
    assert isinstance(answer.body, Close)
    assert "has no credential" in answer.body.detail
    with_it = msgspec.structs.replace(guest.join(made.token), credentials=(credential(guest),))
    again = lobby.received(guest.did, with_it, NOW)
    assert any(isinstance(each, Send) and isinstance(each.body, Program) for each in again)


def test_a_party_takes_no_roster_with_somebody_who_has_none() -> None:
    """An initiator cannot let somebody in whom the proposal keeps out."""
    three = people(3)
    admit = admission(required())
    members = tuple(
        msgspec.structs.replace(each.member(pid), credentials=(credential(each),))
        for pid, each in enumerate(three)
    )
    whole = msgspec.structs.replace(roster(three), members=members)
    actions = negotiation(three[1], three, admit).received(three[0].did, whole, NOW)
    assert any(isinstance(each, Ask) for each in actions)
    without = (*members[:2], msgspec.structs.replace(members[2], credentials=()))
    lacking = msgspec.structs.replace(whole, members=without)
    actions = negotiation(three[1], three, admit).received(three[0].did, lacking, NOW)
    assert "has no credential" in next(each.why for each in actions if isinstance(each, End))


def hiding(
    person: Person, role: str = "auditor", signer: LocalSigner = AUTHORITY, place: int | None = None
) -> str:
    """Return a credential of which only chosen claims are shown, with one that is nobody's."""
    status = None if place is None else Status(url=URL, index=place)
    claims = {"role": role, "salary": "77000"}
    asked = credentials.asked(person.identity, claims, status=status)
    return asyncio.run(credentials.issue(signer, credentials.selective(asked)))


def shows(text: str) -> str:
    """Return what a person shows of a credential for what is required."""
    (shown,) = shown_for([text], wanted(required()))
    return shown


def test_no_more_is_shown_than_the_claim_that_is_asked_for() -> None:
    shown = shows(hiding(PERSON))
    admission(required())(PERSON.identity, [shown])
    parts = [unbase64(each) for each in shown.replace("~", ".").split(".")[:-1]]
    assert any(b"auditor" in each for each in parts)
    assert not any(b"salary" in each or b"77000" in each for each in parts)


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (shows(hiding(OTHER)), "shows it"),
        (shows(hiding(PERSON)).replace("~", f"~{disclosure('A' * 22, 'x', 'y')}~", 1), "not in"),
        (
            f"{hiding(PERSON, 'clerk').split('~')[0]}~{disclosure('A' * 22, 'role', 'auditor')}~",
            "in",
        ),
        (f"{hiding(PERSON).split('~')[0]}~", "something else"),
        (hiding(PERSON, signer=STRANGER), "not of"),
        (hiding(PERSON, "clerk"), "something else"),
    ],
    ids=["of another DID", "one more claim", "forged", "nothing shown", "issuer", "another role"],
)
def test_any_other_selective_credential_does_not_admit(shown: str, why: str) -> None:
    assert why in refusal(PERSON, shown)


def test_a_revoked_selective_credential_does_not_admit() -> None:
    listed = asyncio.run(credentials.publish(AUTHORITY, URL, [7]))
    admission(required(listed))(PERSON.identity, [shows(hiding(PERSON, place=8))])
    assert "revoked" in refusal(PERSON, shows(hiding(PERSON, place=7)), revocations=listed)


def test_of_a_users_credentials_none_is_shown_that_is_not_needed() -> None:
    mine = [credential(PERSON, "clerk"), hiding(PERSON), credential(PERSON, signer=STRANGER)]
    (shown,) = shown_for(mine, wanted(required()))
    assert shown == shows(mine[1])
    assert shown_for(mine, ()) == ()


@pytest.mark.parametrize("role", ["clerk", "chair"])
def test_nothing_is_shown_to_whom_asks_for_what_is_not_so(role: str) -> None:
    """An invitation that guesses at claims learns of none but by the right value."""
    with pytest.raises(DidcommError, match="role=auditor by did:key"):
        shown_for([hiding(PERSON, role)], wanted(required()))


@pytest.mark.parametrize("text", ["role=auditor", "role by did:key:z6Mk", "role=a by did:web:x.y"])
def test_another_text_is_no_requirement(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--require"):
        requirement(text, "")
