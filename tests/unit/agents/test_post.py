"""Messages of agents: by a mediator that can be reached, also if another one is gone."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from e3.agents.post import Post, has_route, joined
from e3.didcomm.mediator.mediator import Mediator
from e3.didcomm.mediator.queues import Limits
from e3.didcomm.mediator.server import Place, serving
from e3.didcomm.messages import Identity
from e3.didcomm.network.invitation import MediatorPlace

pytestmark = pytest.mark.unit

KIND = "https://example.org/greeting/1.0/hello"
SECONDS = 20


@asynccontextmanager
async def mediating(identity: Identity, port: int) -> AsyncIterator[MediatorPlace]:
    mediator, limits = Mediator(identity, Limits()), Limits()
    place = Place(host="127.0.0.1", port=port, uri=f"http://127.0.0.1:{port}/")
    async with serving(mediator, limits, place):
        yield MediatorPlace(did=identity.did, addresses=("127.0.0.1",), port=port)


@asynccontextmanager
async def posting(*places: MediatorPlace) -> AsyncIterator[tuple[Post, str]]:
    identity = Identity.make()
    async with aiohttp.ClientSession() as http:
        post = Post(identity, http)
        async with post.going_on():
            post.use(places)
            yield post, identity.did


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def until_live(post: Post, count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while len(post.live) != count:  # noqa: ASYNC110 - what a test looks at has no event
            await asyncio.sleep(0.01)


def test_messages_pass_while_one_of_two_mediators_is_gone() -> None:
    async def scenario() -> None:
        first, second = Identity.make(), Identity.make()
        ports = free_port(), free_port()
        async with AsyncExitStack() as stack:
            dying = AsyncExitStack()
            one = await dying.enter_async_context(mediating(first, ports[0]))
            other = await stack.enter_async_context(mediating(second, ports[1]))
            alice, _ = await stack.enter_async_context(posting(one, other))
            bob, did = await stack.enter_async_context(posting(one, other))
            await until_live(alice, 2)
            await until_live(bob, 2)
            alice.send(did, KIND, {"number": 1}, thid="t", everywhere=False)
            assert (await said(bob)) == b'{"number":1}'
            alice.send(did, KIND, {"number": 2}, thid="t", everywhere=True)
            assert [await said(bob), await said(bob)] == [b'{"number":2}'] * 2
            await dying.aclose()
            await until_live(alice, 1)
            await until_live(bob, 1)
            alice.send(did, KIND, {"number": 3}, thid="t", everywhere=False)
            assert (await said(bob)) == b'{"number":3}'
            # it is back, and those that it has forgotten register again
            await stack.enter_async_context(mediating(first, ports[0]))
            await until_live(alice, 2)
            await until_live(bob, 2)

    asyncio.run(scenario())


def test_mediators_are_changed_and_called_again_while_messages_pass() -> None:
    async def scenario() -> None:
        async with (
            mediating(Identity.make(), free_port()) as one,
            mediating(Identity.make(), free_port()) as other,
            posting(one) as (alice, _),
            posting(other) as (bob, did),
        ):
            await until_live(alice, 1)
            await until_live(bob, 1)
            alice.use([other])
            await until_live(alice, 1)
            assert [each.mediation.did for each in alice.live] == [other.did]
            alice.call_again()
            bob.call_again()
            async with asyncio.timeout(SECONDS):
                while True:
                    alice.send(did, KIND, {}, thid="t", everywhere=False)
                    with_time = asyncio.wait_for(bob.receive(), 0.5)
                    try:
                        await with_time
                    except TimeoutError:
                        continue
                    break

    asyncio.run(scenario())


async def said(post: Post) -> bytes:
    async with asyncio.timeout(SECONDS):
        return bytes((await post.receive()).message.body)


def test_an_address_without_a_route_is_not_called() -> None:
    place = MediatorPlace(did="did:example:m", addresses=("127.0.0.1",), port=1)
    assert joined(place, 2) == "127.0.0.1:2"
    assert has_route("127.0.0.1")
    only = MediatorPlace(did="did:example:m", addresses=("2001:2::1",), port=1)
    assert joined(only, 2) == "[2001:2::1]:2"  # it may become reachable
