"""The mediator: passes on messages to their owners alone, within its bounds, and forgets them."""

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import aiohttp
import pytest

from e3.didcomm import mailbox
from e3.didcomm.did import Service
from e3.didcomm.envelope import MESSAGE_BYTES
from e3.didcomm.errors import DidcommError
from e3.didcomm.mailbox import Mailbox, opened
from e3.didcomm.mediator.mediator import Mediator
from e3.didcomm.mediator.queues import Limits, Queues, Rates
from e3.didcomm.mediator.server import Place, customer, serving
from e3.didcomm.messages import Identity, Message, Unpacker, body_of, forward, message, pack
from e3.didcomm.protocols import COORDINATE, PICKUP, PROBLEM, UpdateResponse
from e3.didcomm.session.bodies import PROPOSAL_BYTES

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0
KIND = "https://example.org/greeting/1.0/hello"
SECONDS = 20


class Wire:
    """A connection that keeps what is sent on it."""

    stays = True
    customer = "198.51.100.7"

    def __init__(self, owner: Identity) -> None:
        self.unpacker = Unpacker(clock=lambda: NOW)
        self.unpacker.add(owner)
        self.sent: list[Message] = []

    def send(self, data: bytes) -> bool:
        self.sent.append(self.unpacker.unpack(data).message)
        return True


def asked(mediator: Mediator, party: Identity, kind: str, body: object, wire: Wire) -> Message:
    own, to = party.did, mediator.identity
    sent = message(kind, body, now=NOW, to=to.did, sender=own)
    mediator.take(pack(sent, to.document, party), wire)
    return wire.sent[-1]


def made(limits: Limits | None = None) -> Mediator:
    return Mediator(Identity.make(), limits or Limits(), clock=lambda: NOW)


def registered(mediator: Mediator) -> tuple[Identity, Wire]:
    party = Identity.make()
    wire = Wire(party)
    answer = asked(mediator, party, f"{COORDINATE}/mediate-request", {}, wire)
    assert answer.type == f"{COORDINATE}/mediate-grant"
    return party, wire


def to_party(mediator: Mediator, party: Identity, text: str = "hello", now: float = NOW) -> bytes:
    sender = Identity.make()
    sent = message(KIND, {"text": text}, now=now, to=party.did, sender=sender.did)
    packed = pack(sent, party.document, sender)
    return forward(packed, party.did, mediator.identity.document, now)


def live(mediator: Mediator, party: Identity, wire: Wire) -> None:
    asked(mediator, party, f"{PICKUP}/live-delivery-change", {"live_delivery": True}, wire)


def test_a_message_is_delivered_at_once_and_kept_until_it_is_acknowledged() -> None:
    mediator = made()
    party, wire = registered(mediator)
    live(mediator, party, wire)
    mediator.take(to_party(mediator, party), wire)
    delivery = wire.sent[-1]
    assert delivery.type == f"{PICKUP}/delivery"
    assert mediator.queues.count(party.did) == 1
    assert isinstance(delivery.attachments, list)
    ids = {"message_id_list": [delivery.attachments[0].id]}
    asked(mediator, party, f"{PICKUP}/messages-received", ids, wire)
    assert mediator.queues.count(party.did) == mediator.queues.kept_bytes == 0


def test_a_message_waits_for_a_party_that_is_away() -> None:
    mediator = made()
    party, wire = registered(mediator)
    mediator.take(to_party(mediator, party), wire)
    live(mediator, party, wire)
    assert wire.sent[-1].type == f"{PICKUP}/delivery"


def test_nobody_registers_the_did_of_another() -> None:
    mediator = made()
    party, wire = registered(mediator)
    victim = Identity.make().did
    body = {"updates": [{"recipient_did": victim, "action": "add"}]}
    answer = asked(mediator, party, f"{COORDINATE}/recipient-update", body, wire)
    assert body_of(answer, UpdateResponse).updated[0].result == "client_error"
    with pytest.raises(DidcommError, match="not registered"):
        mediator.queues.count(victim)


def test_a_message_for_an_unknown_party_is_refused() -> None:
    mediator = made()
    with pytest.raises(DidcommError, match="not registered"):
        mediator.take(to_party(mediator, Identity.make()), Wire(Identity.make()))


def test_a_question_of_an_unknown_type_is_answered_by_a_problem_report() -> None:
    mediator = made()
    party, wire = registered(mediator)
    assert asked(mediator, party, KIND, {}, wire).type == PROBLEM


def test_a_full_box_refuses_more() -> None:
    mediator = made(Limits(messages=2))
    party, wire = registered(mediator)
    for _ in range(2):
        mediator.take(to_party(mediator, party), wire)
    with pytest.raises(DidcommError, match="too many"):
        mediator.take(to_party(mediator, party), wire)


def test_messages_and_registrations_end() -> None:
    limits = Limits(message_seconds=10, registration_seconds=100)
    queues = Queues(limits)
    queues.register("did:key:a", 0)
    queues.put("did:key:a", b"text", 0)
    assert queues.expire(11) == []
    assert queues.kept_bytes == 0
    assert queues.expire(101) == ["did:key:a"]
    assert len(queues) == 0


def test_an_address_sends_only_so_much() -> None:
    rates = Rates(Limits(rate=1, rate_bytes=1000, burst_seconds=5))
    assert [rates.allow("a", 10, 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert rates.allow("b", 10, 0.0)
    assert rates.allow("a", 10, 1.0)


@asynccontextmanager
async def served(
    identity: Identity | None = None, port: int = 0, limits: Limits | None = None
) -> AsyncIterator[tuple[Mediator, str]]:
    port = port or free_port()
    mediator = Mediator(identity or Identity.make(), limits or Limits())
    uri = f"http://127.0.0.1:{port}/"
    place = Place(host="127.0.0.1", port=port, uri=uri)
    async with serving(mediator, limits or Limits(), place):
        yield mediator, uri


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def next_text(box: Mailbox) -> object:
    async with asyncio.timeout(SECONDS):
        received = await box.receive()
    return bytes(received.message.body)


def test_two_parties_exchange_messages_through_a_mediator() -> None:
    async def run() -> None:
        async with served() as (_, uri), opened(uri) as alice, opened(uri) as bob:
            alice.send(bob.identity.did, KIND, {"text": "hello"}, thid="1")
            assert await next_text(bob) == b'{"text":"hello"}'
            bob.send(alice.identity.did, KIND, {"text": "there"}, thid="1", signed=True)
            assert await next_text(alice) == b'{"text":"there"}'

    asyncio.run(run())


def test_a_party_that_leaves_is_forgotten_at_once() -> None:
    async def run() -> None:
        async with served() as (mediator, uri):
            async with opened(uri) as alice:
                assert mediator.queues.knows(alice.identity.did)
            assert len(mediator.queues) == 0

    asyncio.run(run())


def test_parties_of_two_mediators_exchange_messages() -> None:
    async def run() -> None:
        async with (
            served() as (_, one),
            served() as (_, two),
            opened(one) as alice,
            opened(two) as bob,
        ):
            alice.send(bob.identity.did, KIND, {}, thid="1")
            assert await next_text(bob) == b"{}"

    asyncio.run(run())


def test_parties_register_again_at_a_mediator_that_restarts() -> None:
    async def run() -> None:
        identity, port = Identity.make(), free_port()
        async with served(identity, port) as (_, uri):
            alice_context, bob_context = opened(uri), opened(uri)
            alice, bob = await alice_context.__aenter__(), await bob_context.__aenter__()
        async with served(identity, port):
            await alice.wait_until_live(SECONDS)
            await bob.wait_until_live(SECONDS)
            alice.send(bob.identity.did, KIND, {}, thid="1")
            assert await next_text(bob) == b"{}"
            await alice_context.__aexit__(None, None, None)
            await bob_context.__aexit__(None, None, None)

    asyncio.run(run())


def test_a_thousand_damaged_messages_leave_a_mediator_at_work() -> None:
    async def run() -> None:
        async with served(limits=Limits(rate=1e6, rate_bytes=1e9)) as (mediator, uri):
            good = to_party(mediator, Identity.make())
            async with aiohttp.ClientSession() as http, http.ws_connect(uri) as socket:
                for number in range(1000):
                    changed = bytearray(good[: secrets.randbelow(len(good)) + 1])
                    changed[secrets.randbelow(len(changed))] ^= 1 + number % 255
                    await socket.send_bytes(bytes(changed))
            async with opened(uri) as alice, opened(uri) as bob:
                alice.send(bob.identity.did, KIND, {}, thid="1")
                assert await next_text(bob) == b"{}"
            assert mediator.refused >= 990

    asyncio.run(run())


def test_a_message_announced_with_10_gb_is_refused_before_it_is_read() -> None:
    async def run() -> None:
        async with served() as (_, uri):
            port = int(uri.split(":")[2].strip("/"))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST / HTTP/1.1\r\nHost: mediator\r\nContent-Length: 10000000000\r\n"
                b"Content-Type: application/didcomm-encrypted+json\r\n\r\n"
            )
            writer.write(bytes(MESSAGE_BYTES + 1))
            async with asyncio.timeout(SECONDS):
                answer = await reader.read(100)
            assert b" 413 " in answer
            writer.close()

    asyncio.run(run())


def test_an_address_that_floods_is_cut_off() -> None:
    async def run() -> None:
        limits = Limits(rate=1, burst_seconds=20)
        async with served(limits=limits) as (_, uri), aiohttp.ClientSession() as http:
            async with http.ws_connect(uri) as socket:
                for _ in range(100):
                    await socket.send_bytes(b"{}")
                async with asyncio.timeout(SECONDS):
                    closing = await socket.receive()
            assert closing.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}

    asyncio.run(run())


def test_a_delivery_that_another_party_made_is_not_unpacked() -> None:
    async def run() -> None:
        async with served() as (_, uri), opened(uri) as mallory, opened(uri) as bob:
            mallory.send(bob.identity.did, f"{PICKUP}/delivery", {}, thid="1")
            async with asyncio.timeout(SECONDS):
                received = await bob.receive()
            assert received.sender == mallory.identity.did

    asyncio.run(run())


@pytest.mark.parametrize(
    ("wrong", "how"), [(600, r"60\d s ahead of"), (-600, r"(59|60)\d s behind")]
)
def test_a_clock_that_is_wrong_by_ten_minutes_is_named(wrong: int, how: str) -> None:
    async def run() -> None:
        async with served() as (_, uri):
            with pytest.raises(DidcommError, match=how):
                async with opened(uri, clock=lambda: time.time() + wrong):
                    pass

    asyncio.run(run())


def test_the_largest_proposal_reaches_a_guest_and_a_larger_one_is_not_sent() -> None:
    async def run() -> None:
        async with served() as (_, uri), opened(uri) as alice, opened(uri) as bob:
            did, text = bob.identity.did, "x" * PROPOSAL_BYTES
            alice.send(did, KIND, text, thid="1")
            assert await next_text(bob) == f'"{text}"'.encode()
            with pytest.raises(DidcommError, match="too large to be sent"):
                alice.send(did, KIND, text * 2, thid="1")
            assert alice.breaks == bob.breaks == 0

    asyncio.run(run())


def test_a_party_that_reads_slowly_gets_the_rest_once_it_has_read() -> None:
    """The mediator stops delivering to it; it asks again."""

    async def run() -> None:
        async with served() as (mediator, uri), opened(uri) as alice, opened(uri) as bob:
            did = bob.identity.did
            link = mediator._live[did]  # noqa: SLF001 - what the party does not see
            alice.send(did, KIND, {}, thid="1")
            assert await next_text(bob) == b"{}"
            with patch.object(link, "send", return_value=False):
                mediator.take(to_party(mediator, bob.identity, "later", time.time()), link)
            assert did not in mediator._live  # noqa: SLF001
            alice.send(did, KIND, {}, thid="1")
            await bob.ask(f"{PICKUP}/status-request", {})
            texts = [await next_text(bob) for _ in range(2)]
            assert texts == [b'{"text":"later"}', b"{}"]

    asyncio.run(run())


def test_a_party_that_reads_nothing_keeps_only_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a user reads a program, for instance."""
    monkeypatch.setattr(mailbox, "INCOMING_BYTES", 20_000)

    async def run() -> None:
        async with served() as (_, uri), opened(uri) as alice, opened(uri) as bob:
            async with asyncio.timeout(SECONDS):
                while not bob.refused:
                    alice.send(bob.identity.did, KIND, {}, thid="1")
                    await bob.ask(f"{PICKUP}/status-request", {})
                assert "too many messages wait" in bob.refused[0]
                text: object = b""
                while text != b'{"text":"room"}':
                    alice.send(bob.identity.did, KIND, {"text": "room"}, thid="1")
                    text = await next_text(bob)

    asyncio.run(run())


def test_a_place_that_never_answers_delays_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "ANSWER_SECONDS", 10 * SECONDS)

    async def run() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        trap = await asyncio.start_server(silent, "127.0.0.1", 0)
        uri = f"http://127.0.0.1:{trap.sockets[0].getsockname()[1]}/"
        slow = Identity.make([Service(uri=uri)])
        async with served() as (_, place), opened(place) as alice, opened(place) as bob:
            alice.send(slow.did, KIND, {}, thid="1")
            alice.send(bob.identity.did, KIND, {}, thid="1")
            assert await next_text(bob) == b"{}"
        trap.close()

    asyncio.run(run())


@pytest.mark.parametrize("place", ["http://a..b/", f"http://{'a' * 64}/", "http://[/", "ftp://x/"])
def test_a_did_at_no_place_stops_no_messages_to_others(place: str) -> None:
    async def run() -> None:
        lost, other = (Identity.make([Service(uri=place)]) for _ in range(2))
        async with (
            served() as (_, one),
            served() as (_, two),
            opened(one) as alice,
            opened(two) as bob,
        ):
            for identity in (lost, other, bob.identity):
                alice.send(identity.did, KIND, {}, thid="1")
            assert await next_text(bob) == b"{}"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("198.18.0.1", "::ffff:198.18.0.1", True),
        ("198.18.0.1", "198.18.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_limits_are_of_a_customer_not_of_each_address_of_theirs(
    one: str, other: str, *, same: bool
) -> None:
    assert (customer(one) == customer(other)) is same
