"""What one address may have of a mediator, and whose address a request has behind a proxy."""

import asyncio

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.didcomm.errors import DidcommError
from e3.didcomm.mediator.mediator import Mediator
from e3.didcomm.mediator.queues import Limits, Queues
from e3.didcomm.mediator.server import Place, origin, serving
from e3.didcomm.messages import Identity
from tests.unit.didcomm.test_mediator import SECONDS, free_port

pytestmark = pytest.mark.unit


def test_one_address_does_not_take_all_registrations() -> None:
    queues = Queues(Limits(registrations=10, registrations_of_one=3))
    for number in range(3):
        queues.register(f"did:key:{number}", 0, "a")
    with pytest.raises(DidcommError, match="of your address"):
        queues.register("did:key:x", 0, "a")
    assert queues.register("did:key:x", 0, "b")
    queues.unregister("did:key:0")
    assert queues.register("did:key:y", 0, "a")


def test_one_address_does_not_take_all_the_memory() -> None:
    queues = Queues(Limits(bytes_of_one=100))
    for did in ("did:key:a", "did:key:b"):
        queues.register(did, 0, "x")
    queues.put("did:key:a", bytes(90), 0, "y")
    with pytest.raises(DidcommError, match="of your address"):
        queues.put("did:key:b", bytes(11), 0, "y")
    queues.put("did:key:b", bytes(11), 0, "z")
    queues.unregister("did:key:a")  # with the messages that waited
    queues.put("did:key:b", bytes(90), 0, "y")
    queues.expire(10_000)
    assert queues.kept_bytes == 0
    queues.register("did:key:b", 10_000, "x")
    queues.put("did:key:b", bytes(100), 10_000, "y")


OURS = frozenset({"127.0.0.1", "10.0.0.9"})


@pytest.mark.parametrize(
    ("address", "forwarded", "whose"),
    [
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "198.51.100.7, 10.0.0.9", "198.51.100.7"),
        ("127.0.0.1", "203.0.113.1, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("198.51.100.7", "203.0.113.1", "198.51.100.7"),
        ("198.51.100.7", "203.0.113.1, 127.0.0.1", "198.51.100.7"),
    ],
    ids=["one", "two proxies", "claimed by the client", "none", "a stranger", "a stranger claims"],
)
def test_the_origin_is_what_our_own_proxies_say(address: str, forwarded: str, whose: str) -> None:
    assert origin(address, forwarded, OURS) == whose


@given(st.text())
def test_who_is_no_proxy_of_ours_changes_nothing_by_a_header(forwarded: str) -> None:
    assert origin("198.51.100.7", forwarded, OURS) == "198.51.100.7"


def test_a_flood_behind_a_proxy_is_that_of_its_origin() -> None:
    """Others behind the same proxy go on."""

    async def run() -> None:
        limits = Limits(rate=1, burst_seconds=3)
        port = free_port()
        uri = f"http://127.0.0.1:{port}/"
        place = Place(host="127.0.0.1", port=port, uri=uri, proxies=frozenset({"127.0.0.1"}))
        async with (
            serving(Mediator(Identity.make(), limits), limits, place),
            aiohttp.ClientSession() as http,
            asyncio.timeout(SECONDS),
        ):

            async def status(client: str) -> int:
                headers = {
                    "X-Forwarded-For": client,
                    "Content-Type": "application/didcomm-encrypted+json",
                }
                async with http.post(uri, data=b"{}", headers=headers) as answer:
                    return answer.status

            assert [await status("198.51.100.7") for _ in range(4)] == [400, 400, 400, 429]
            assert await status("198.51.100.8") == 400

    asyncio.run(run())
