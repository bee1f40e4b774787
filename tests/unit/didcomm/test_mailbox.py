"""A party with two mediators, and one that calls its mediator through a SOCKS proxy."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url
from e3.didcomm.mailbox import Mailbox, opened
from e3.didcomm.mediator.mediator import Mediator
from e3.didcomm.mediator.queues import Limits
from e3.didcomm.mediator.server import Place, serving
from e3.didcomm.messages import FORWARD, Attachment, AttachmentData, Identity, message, pack
from tests.socks import Proxy, proxying
from tests.unit.didcomm.test_mediator import KIND, SECONDS, free_port, next_text, served

pytestmark = pytest.mark.unit


async def arrives(alice: Mailbox, bob: Mailbox, text: str) -> None:
    """Assert that a message of Alice's comes once."""
    alice.send(bob.identity.did, KIND, {"text": text}, thid="1")
    assert await next_text(bob) == f'{{"text":"{text}"}}'.encode()


def test_of_two_mediators_one_may_die_and_the_other_serves() -> None:
    async def run() -> None:
        async with AsyncExitStack() as first, served() as (_, two):
            _, one = await first.enter_async_context(served())
            both = f"{one} {two}"
            async with opened(both) as alice, opened(both) as bob:
                await arrives(alice, bob, "by both")
                await first.aclose()
                await arrives(alice, bob, "by the other")
                await arrives(bob, alice, "and back")
                assert (await alice.ask("https://didcomm.org/trust-ping/2.0/ping", {})).message

    asyncio.run(run())


def test_each_message_of_two_mediators_is_taken_once() -> None:
    async def run() -> None:
        async with served() as (_, one), served() as (_, two):
            both = f"{one} {two}"
            async with opened(both) as alice, opened(both) as bob:
                for number in range(5):
                    alice.send(bob.identity.did, KIND, {"text": str(number)}, thid="1")
                await alice.sent_all()
                taken = {await next_text(bob) for _ in range(5)}
                assert len(taken) == 5
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await bob.receive()

    asyncio.run(run())


def test_a_mediator_that_is_dead_at_the_start_is_left_out() -> None:
    async def run() -> None:
        dead = f"http://127.0.0.1:{free_port()}/"
        async with served() as (_, there):
            async with opened(f"{dead} {there}") as alice, opened(f"{there} {dead}") as bob:
                await arrives(alice, bob, "hello")
            with pytest.raises(DidcommError, match="no mediator at"):
                async with opened(f"{dead} {dead}"):
                    pass

    asyncio.run(run())


@asynccontextmanager
async def behind() -> AsyncIterator[tuple[str, Proxy, str]]:
    """Yield a mediator's URL that the proxy alone can resolve, the proxy, and its URL."""
    limits, port = Limits(), free_port()
    onion = f"http://mediator.onion:{port}/"
    place = Place(host="127.0.0.1", port=port, uri=onion)
    async with (
        serving(Mediator(Identity.make(), limits), limits, place),
        proxying({"mediator.onion": ("127.0.0.1", port)}) as (proxy, url),
    ):
        yield onion, proxy, url


def test_through_a_proxy_everything_goes_by_it_and_names_are_its_own() -> None:
    """As with Tor, whose hidden services have names that nobody else can resolve."""
    pytest.importorskip("aiohttp_socks")

    async def run() -> None:
        async with behind() as (onion, proxy, url), asyncio.timeout(SECONDS):
            async with opened(onion, proxy=url) as alice, opened(onion, proxy=url) as bob:
                await arrives(alice, bob, "hidden")
            assert {host for host, _ in proxy.asked} == {"mediator.onion"}

    asyncio.run(run())


def test_a_proxy_that_reaches_no_mediator_is_told() -> None:
    pytest.importorskip("aiohttp_socks")

    async def run() -> None:
        async with proxying({}) as (_, url), asyncio.timeout(SECONDS):
            why = f"there is no mediator at .*the proxy {url}: Host unreachable"
            with pytest.raises(DidcommError, match=why):
                async with opened("http://mediator.onion/", proxy=url):
                    pass

    asyncio.run(run())


def test_a_mailbox_comes_back_once_its_proxy_reaches_the_mediator_again() -> None:
    """As Tor does not at once, after it was restarted."""
    pytest.importorskip("aiohttp_socks")

    async def run() -> None:
        async with (
            behind() as (onion, proxy, url),
            opened(onion, proxy=url) as alice,
            opened(onion, proxy=url) as bob,
            asyncio.timeout(SECONDS),
        ):
            there, proxy.hosts = proxy.hosts, {}
            for each in proxy.joined:
                each.close()
            both_refused = len(proxy.asked) + 2
            while len(proxy.asked) < both_refused:  # noqa: ASYNC110 -- told by the proxy alone
                await asyncio.sleep(0.05)
            proxy.hosts = there
            await arrives(alice, bob, "back")

    asyncio.run(run())


@pytest.mark.slow
def test_a_thousand_damaged_messages_leave_an_agent_at_work() -> None:
    """A peer, or its mediator, can send anything to a party."""

    async def run() -> None:
        limits = Limits(rate=1e6, rate_bytes=1e9)
        async with (
            served(limits=limits) as (mediator, uri),
            opened(uri) as alice,
            opened(uri) as bob,
            aiohttp.ClientSession() as http,
            http.ws_connect(uri) as socket,
            asyncio.timeout(6 * SECONDS),
        ):
            sent = message(
                KIND, {}, now=time.time(), to=bob.identity.did, sender=alice.identity.did
            )
            good = pack(sent, bob.identity.document, alice.identity)
            for number in range(1000):
                changed = bytearray(good[: secrets.randbelow(len(good)) + 1])
                changed[secrets.randbelow(len(changed))] ^= 1 + number % 255
                await socket.send_bytes(wrapped(bytes(changed), bob, mediator))
                if number % 50 == 0:  # it keeps only so many for one that does not read
                    await bob.ask("https://didcomm.org/messagepickup/3.0/status-request", {})
            await arrives(alice, bob, "still here")
            assert len(bob.refused) == 100

    asyncio.run(run())


def wrapped(damaged: bytes, to: Mailbox, mediator: Mediator) -> bytes:
    """Return a right message to the mediator, with a damaged one for a party."""
    attached = Attachment(data=AttachmentData(base64=base64url(damaged)))
    body = {"next": to.identity.did}
    sent = message(FORWARD, body, now=time.time(), to=mediator.identity.did, attachments=[attached])
    return pack(sent, mediator.identity.document, None)
