"""did:web: documents come from the domain over HTTPS, bounded, and from nowhere else."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from e3.didcomm.did import DOCUMENT_BYTES
from e3.didcomm.errors import DidcommError
from e3.didcomm.web_did import fetch, is_public, public_hosts, url
from tests.certificates import certificate

pytestmark = pytest.mark.unit

DID = "did:web:company.example"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.mark.parametrize(
    ("did", "place"),
    [
        (DID, "https://company.example/.well-known/did.json"),
        (f"{DID}%3A8443", "https://company.example:8443/.well-known/did.json"),
        (f"{DID}:people:alice", "https://company.example/people/alice/did.json"),
    ],
)
def test_the_place_follows_from_the_did(did: str, place: str) -> None:
    assert url(did) == place


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "127.0.0.1",
        "192.168.0.1%3A80",
        "a.example%2Fx",
        "a.example:..:x",
        "a..example",
        "a.example%3A",
        "user%40a.example",
        "[::1]",
        "",
    ],
)
def test_what_is_no_domain_is_refused(name: str) -> None:
    with pytest.raises(DidcommError, match=r"no did:web|no DID"):
        url(f"did:web:{name}")


class Here(AbstractResolver):
    """Finds every domain on the loopback."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found: Any = {
            "hostname": host,
            "host": "127.0.0.1",
            "port": port,
            "family": family,
            "proto": 0,
            "flags": socket.AI_NUMERICHOST,
        }
        return [found]

    async def close(self) -> None:
        """Do nothing."""


def fetched(folder: Path, answer: Handler, name: str = "company.example") -> str:
    """Return the DID of the document that a server of the domain answers."""

    async def run() -> str:
        server, client = certificate(folder, name)
        application = web.Application()
        application.router.add_get("/.well-known/did.json", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener, ssl_context=server).start()
        port = listener.getsockname()[1]
        connector = aiohttp.TCPConnector(resolver=Here(), ssl=client)
        try:
            return (await fetch(f"{DID}%3A{port}", connector)).did
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def saying(content: bytes, status: int = 200, **headers: str) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        own = content.replace(b"PORT", str(request.url.port).encode())
        return web.Response(body=own, status=status, headers=headers)

    return answer


def test_a_published_document_is_read(tmp_path: Path) -> None:
    content = json.dumps({"id": f"{DID}%3APORT"}).encode()
    assert fetched(tmp_path, saying(content)).startswith(DID)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (saying(b"", 404), "answers 404"),
        (saying(b"", 302, Location="https://else.example/"), "answers 302"),
        (saying(bytes(DOCUMENT_BYTES + 1)), "is over"),
        (saying(b"{}"), "cannot be read"),
        (saying(b'{"id": "did:web:else.example"}'), "another DID"),
    ],
    ids=["missing", "redirected", "too long", "no document", "of another DID"],
)
def test_any_other_answer_is_refused(tmp_path: Path, answer: Handler, why: str) -> None:
    with pytest.raises(DidcommError, match=why):
        fetched(tmp_path, answer)


def test_a_server_of_another_name_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(DidcommError, match="cannot be fetched"):
        fetched(tmp_path, saying(b"{}"), "else.example")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:192.168.1.1", False),
        ("no address", False),
    ],
)
def test_private_addresses_are_told_from_public_ones(address: str, *, public: bool) -> None:
    assert is_public(address) is public


def test_the_did_of_a_stranger_is_not_looked_up_in_ones_own_network() -> None:
    """Or anybody could have the parties call machines that they cannot call themselves."""

    async def run() -> None:
        asked: list[bytes] = []

        async def called(_: object, writer: asyncio.StreamWriter) -> None:
            asked.append(b"")
            writer.close()

        server = await asyncio.start_server(called, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            connector = public_hosts(Here())
            with pytest.raises(DidcommError, match="private address"):
                await fetch(f"{DID}%3A{port}", connector)
        assert asked == []

    asyncio.run(run())
