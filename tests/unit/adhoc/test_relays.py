"""Relay grants by a mediator: one side of a pair for each of two parties, and no more."""

import asyncio

import pytest

from e3.adhoc.relay_protocol import GRANT, REQUEST, SERVERS, SERVERS_ARE, Granted, Servers
from e3.adhoc.relays import Quota, Relays
from e3.didcomm.errors import DidcommError
from e3.didcomm.messages import Identity, Received, message
from e3.didcomm.protocols import PROBLEM
from e3.errors import OverlayError
from e3.remote.tasks import beside
from e3.tunnel.relay import Relay
from e3.tunnel.relay_messages import RelayGrant, RelayOpened
from tests.unit.didcomm.parties import NOW

pytestmark = pytest.mark.unit

PAIR, OTHER = "0" * 64, "1" * 64


class Granting(Relay):
    """A relay that only notes its grants."""

    def __init__(self) -> None:
        self.grants: list[RelayGrant] = []

    async def grant(self, grant: RelayGrant) -> None:
        self.grants.append(grant)


def made(quota: Quota | None = None) -> tuple[Relays, Granting]:
    relay = Granting()
    opened = RelayOpened(id=1, udp=(3478, 3479), tcp=3478)
    return Relays(relay, opened, quota or Quota()), relay


def from_party(did: str, kind: str, body: object) -> Received:
    sent = message(kind, body, now=NOW, to=did, sender=did)
    return Received(message=sent, own="", sender=did, signer=None)


async def granted(relays: Relays, did: str, pair: str = PAIR) -> Granted:
    answer: asyncio.Future[tuple[str, Granted]] = asyncio.get_running_loop().create_future()
    taken = relays.take(
        from_party(did, REQUEST, {"pair": pair}), lambda kind, body: answer.set_result((kind, body))
    )
    assert taken
    kind, body = await asyncio.wait_for(answer, 10)
    assert kind == GRANT
    return body


def test_each_side_of_a_pair_has_a_token_of_its_own() -> None:
    async def run() -> None:
        relays, relay = made()
        async with beside(relays.grant()):
            alice, bob = Identity.make().did, Identity.make().did
            tokens = [(await granted(relays, did)).token for did in (alice, bob, alice)]
        assert tokens[0] == tokens[2] != tokens[1]
        assert [set(each.tokens) for each in relay.grants] == [set(tokens)]

    asyncio.run(run())


def test_who_cannot_be_answered_ends_no_grants_of_others() -> None:
    def unanswered(*_: object) -> None:
        raise DidcommError("there is no key to encrypt to")

    async def run() -> None:
        relays, _ = made()
        async with beside(relays.grant()):
            relays.take(from_party(Identity.make().did, REQUEST, {"pair": OTHER}), unanswered)
            await granted(relays, Identity.make().did)

    asyncio.run(run())


def test_a_grant_that_failed_is_made_again() -> None:
    class Failing(Granting):
        async def grant(self, grant: RelayGrant) -> None:
            await super().grant(grant)
            if len(self.grants) == 1:
                raise OverlayError("no memory")

    async def run() -> None:
        relay = Failing()
        relays = Relays(relay, RelayOpened(id=1, udp=(3478,), tcp=3478), Quota())
        async with beside(relays.grant()):
            did = Identity.make().did
            kinds: list[str] = []
            for _ in range(2):
                asked = from_party(did, REQUEST, {"pair": PAIR})
                relays.take(asked, lambda kind, _: kinds.append(kind))
            await granted(relays, did)
        assert kinds == [PROBLEM, GRANT]

    asyncio.run(run())


def test_a_third_party_gets_no_side_of_a_pair() -> None:
    async def run() -> None:
        relays, _ = made()
        async with beside(relays.grant()):
            for _ in range(2):
                await granted(relays, Identity.make().did)
            with pytest.raises(DidcommError, match="both sides"):
                await granted(relays, Identity.make().did)

    asyncio.run(run())


def test_a_party_has_only_so_many_grants() -> None:
    async def run() -> None:
        relays, _ = made(Quota(pairs_of_one=1))
        async with beside(relays.grant()):
            did = Identity.make().did
            await granted(relays, did)
            with pytest.raises(DidcommError, match="too many relay grants"):
                await granted(relays, did, OTHER)

    asyncio.run(run())


def test_a_party_is_told_where_stun_is_answered() -> None:
    relays, _ = made()
    answers: list[tuple[str, Servers]] = []
    did = Identity.make().did
    assert relays.take(from_party(did, SERVERS, {}), lambda *answer: answers.append(answer))
    assert answers == [(SERVERS_ARE, Servers(stun=[3478, 3479]))]
    assert not relays.take(from_party(did, "https://example.org/else", {}), lambda *_: None)
