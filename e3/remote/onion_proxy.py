"""Runs on a host: offer onion services of Tor to peers, and the keys to dial theirs.

`main` takes the folders CONFIGURATION and SECRETS, and one of these commands:

    keys PEER...   make missing keys, print their public halves
    serve          keep the services of the configuration; SIGHUP reads it again
    probe          reach every peer, so that Tor builds circuits

In CONFIGURATION it reads onion_proxy.json, and writes to `published` which revision it serves. In
SECRETS are the keys, Tor's sockets, and a socket for each peer, where `e3-tunnel onions`
(tools/tunnel/internal/onions) takes the connections to that peer's service.

Each host has an address on the loopback of every host. At a host's own address its party listens.
At a peer's address e3-tunnel listens, and forwards each connection to the onion service that the
peer keeps for this host alone. On the peer the same program connects to the party *from the address
of the host that the connection comes from*. Tor has authenticated that host, as the service admits
the holder of one key. Standard library only.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e3.remote.tasks import running

VIRTUAL_PORT = 1
PATH_PROBE_PORT = 0
CONNECTED = b"\0"
SOCKS_ADDRESS_BYTES = {1: 4, 4: 16}
RETRY_SECONDS = 0.1
DIAL_AGAIN_SECONDS = 0.5
ATTEMPT_SECONDS = 30.0
STUCK_SECONDS = 10.0
UPLOAD_SECONDS = 5.0
CONTROL_SECONDS = 20.0

Peer = dict[str, str]
"""A peer as configured: its ``address`` here, its ``onion`` service for us, its public ``key``."""


def private_bytes(place: Path, algorithm: str) -> bytes:
    """Return the 32 secret bytes of the key in this file; make the key if the file is missing."""
    if not place.exists():
        new = place.with_suffix(".new")
        make = ["openssl", "genpkey", "-algorithm", algorithm, "-outform", "DER", "-out", str(new)]
        subprocess.run(make, check=True, capture_output=True)
        new.rename(place)
    return place.read_bytes()[-32:]  # both kinds end with them in PKCS #8 (RFC 8410)


def public_bytes(place: Path) -> bytes:
    """Return the 32 public bytes of the key in this file."""
    show = ["openssl", "pkey", "-inform", "DER", "-in", str(place), "-pubout", "-outform", "DER"]
    return subprocess.run(show, check=True, capture_output=True).stdout[-32:]


def onion_address(public: bytes) -> str:
    """Return the address of the service with that key, without ``.onion`` (rend-spec-v3, 6)."""
    version = b"\x03"
    checksum = hashlib.sha3_256(b".onion checksum" + public + version).digest()[:2]
    return base64.b32encode(public + checksum + version).decode().lower()


def expanded(seed: bytes) -> str:
    """Return an Ed25519 secret in the form in which Tor takes it (RFC 8032, 5.1.5)."""
    digest = bytearray(hashlib.sha512(seed).digest())
    digest[0] &= 248
    digest[31] = digest[31] & 63 | 64
    return base64.b64encode(digest).decode()


def make_keys(folder: Path, peers: Sequence[str]) -> dict[str, Any]:
    """Make missing keys: one to dial with, and one for each peer's service; remove all others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in folder.glob("service-*.der"):
        if place.stem.removeprefix("service-") not in peers:
            place.unlink()
    private_bytes(folder / "client.der", "X25519")
    key = base64.b32encode(public_bytes(folder / "client.der")).decode().rstrip("=")
    services = {}
    for peer in peers:
        place = folder / f"service-{peer}.der"
        private_bytes(place, "ED25519")
        services[peer] = onion_address(public_bytes(place))
    return {"key": key, "services": services}


@dataclass(frozen=True)
class Places:
    """The folders on this host, and the files in them."""

    configuration: Path
    secrets: Path

    def read(self) -> dict[str, Any]:
        """Return the configuration; see `_proxy_configuration` in e3/overlays/tor/overlay.py."""
        asked: dict[str, Any] = json.loads((self.configuration / "onion_proxy.json").read_text())
        return asked

    def publish(self, revision: str) -> None:
        """Write which revision of the configuration is served."""
        (self.configuration / "published").write_text(f"{revision}\n")

    async def forget(self) -> None:
        """Make Tor forget services, circuits and keys to dial with; open connections stay.

        Tor does so every 10 s at most. It then tells `serve`, which gives it the keys again.
        """
        reader, writer = await asyncio.open_unix_connection(self.control)
        async with closing(writer):
            writer.write(b"AUTHENTICATE\r\nSIGNAL NEWNYM\r\nQUIT\r\n")
            await reader.read()

    @property
    def keys(self) -> Path:
        """The folder of the keys."""
        return self.secrets / "keys"

    def entry(self, peer: str) -> Path:
        """Return the socket at which e3-tunnel takes the connections of a peer."""
        return self.secrets / "entries" / peer

    @property
    def socks(self) -> str:
        """The socket at which Tor takes connections (SOCKS)."""
        return str(self.secrets / "socks")

    @property
    def control(self) -> str:
        """The socket at which Tor takes commands."""
        return str(self.secrets / "control")


class Control:
    """Tor's control port: sends commands, follows the publication of services and `forget`."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Use a connection to the control socket."""
        self._reader, self._writer = reader, writer
        self._turn = asyncio.Lock()
        self._replies: asyncio.Queue[str] = asyncio.Queue()
        self.begun: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.uploaded: set[str] = set()
        self.changed = asyncio.Event()
        self.forgotten = asyncio.Event()

    async def listen(self) -> None:
        """Read until Tor ends; this program then ends too, and both are started again."""
        while line := (await self._reader.readline()).decode().strip():
            if line.startswith("650"):
                self._note(line.split())
            elif line[:3].isdigit() and line[3:4] == " ":
                self._replies.put_nowait(line)
        raise ConnectionError("Tor has ended")

    async def ask(self, command: str) -> None:
        """Send a command; raise `RuntimeError` with Tor's reply if it refuses."""
        async with self._turn:
            self._writer.write(f"{command}\r\n".encode())
            reply = await self._replies.get()
        if not reply.startswith("25"):
            raise RuntimeError(f"Tor refuses {command.split(maxsplit=1)[0]}: {reply}")

    def published(self, service: str) -> bool:
        """Return whether all directories that a service's descriptor was sent to have answered."""
        done = self.ended.get(service, 0) >= self.begun.get(service, 0)
        return service in self.uploaded and done

    def _note(self, words: list[str]) -> None:
        if words[1:] == ["SIGNAL", "NEWNYM"]:
            self.forgotten.set()
        elif len(words) > 3 and words[1] == "HS_DESC":  # noqa: PLR2004 - 650 HS_DESC action address
            action, service = words[2:4]
            if action == "UPLOAD":
                self.begun[service] = self.begun.get(service, 0) + 1
            elif action in {"UPLOADED", "FAILED"}:
                self.ended[service] = self.ended.get(service, 0) + 1
            if action == "UPLOADED":
                self.uploaded.add(service)
            self.changed.set()


Forget = Callable[[], Coroutine[Any, Any, None]]
"""Makes Tor forget services and circuits; see `reach`."""


@contextlib.asynccontextmanager
async def closing(writer: StreamWriter) -> AsyncIterator[None]:
    """Close a connection at the end of the block; that the other side closed it is no error."""
    try:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            yield
    finally:
        writer.close()


async def reach(
    socks: str, onion: str, *, forget: Forget, patience_seconds: float = STUCK_SECONDS
) -> None:
    """Return once the proxy behind an onion service has answered; retry until then.

    After a failure Tor does not try again for minutes, and it waits as long for a dead circuit
    (hs_cache.h, hs_common.h, SocksTimeout). So each attempt has a limit, and Tor is told to
    ``forget`` when attempts have failed for ``patience_seconds``, then twice that, ...
    """
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(ATTEMPT_SECONDS):
                if await _reach_once(socks, f"{onion}.onion".encode()):
                    return
        if time.monotonic() - began > patience_seconds:
            patience_seconds *= 2
            with contextlib.suppress(OSError):
                await forget()
        await asyncio.sleep(DIAL_AGAIN_SECONDS)


async def _reach_once(socks: str, name: bytes) -> bool:
    reader, writer = await asyncio.open_unix_connection(socks)
    try:
        # SOCKS 5 (RFC 1928): no authentication; connect to a name
        writer.write(b"\5\1\0\5\1\0\3" + bytes([len(name)]) + name + VIRTUAL_PORT.to_bytes(2))
        # Sent at once, Tor takes it along; each round trip through six relays is a second.
        writer.write(PATH_PROBE_PORT.to_bytes(2))
        await reader.readexactly(2)
        _, status, _, kind = await reader.readexactly(4)
        if status:
            return False
        await reader.readexactly(SOCKS_ADDRESS_BYTES[kind] + 2)
        return await reader.readexactly(1) == CONNECTED
    finally:
        writer.close()


class OnionProxy:
    """Keeps the services of the peers in the configuration, also after it changes."""

    def __init__(self, places: Places, control: Control) -> None:
        """Keep no service yet."""
        self._places, self._control = places, control
        self._peers: dict[str, Peer] = {}
        self._services: dict[str, str] = {}
        self._asked: dict[str, Any] = {}

    async def apply(self) -> None:
        """Keep exactly the services of the configuration; touch only those that changed."""
        self._asked = self._places.read()
        peers: dict[str, Peer] = self._asked["peers"]
        for name, peer in list(self._peers.items()):
            if peers.get(name) != peer:
                await self._remove(name, peer)
        for name, peer in peers.items():
            if name not in self._peers:
                await self._add(name, peer)

    async def publish(self) -> None:
        """Write the revision that is served, once all services are published."""
        while not all(map(self._control.published, self._services.values())):
            self._control.changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UPLOAD_SECONDS):
                    await self._control.changed.wait()
                    continue
            # A directory that is gone never answers; one with the descriptor is enough.
            if self._control.uploaded.issuperset(self._services.values()):
                break
        self._places.publish(self._asked["revision"])

    async def _add(self, name: str, peer: Peer) -> None:
        entry = self._places.entry(name)
        service = self._places.keys / f"service-{name}.der"
        self._services[name] = onion_address(public_bytes(service))
        await self._control.ask(
            f"ADD_ONION ED25519-V3:{expanded(private_bytes(service, 'ED25519'))} "
            f"Flags=DiscardPK,V3Auth Port={VIRTUAL_PORT},unix:{entry} ClientAuthV3={peer['key']}"
        )
        await self._allow(peer)
        self._peers[name] = peer

    async def _allow(self, peer: Peer) -> None:
        """Give Tor the key with which this host may dial a peer's service."""
        key = base64.b64encode(private_bytes(self._places.keys / "client.der", "X25519")).decode()
        await self._control.ask(f"ONION_CLIENT_AUTH_ADD {peer['onion']} x25519:{key}")

    async def remind(self) -> None:
        """Give Tor the keys again whenever it has forgotten them; see `Places.forget`."""
        while await self._control.forgotten.wait():
            self._control.forgotten.clear()
            for peer in list(self._peers.values()):
                await self._allow(peer)

    async def _remove(self, name: str, peer: Peer) -> None:
        # e3-tunnel ends its connections: DEL_ONION ends the service, not the circuits to it
        await self._control.ask(f"DEL_ONION {self._services.pop(name)}")
        await self._control.ask(f"ONION_CLIENT_AUTH_REMOVE {peer['onion']}")
        del self._peers[name]


async def _control(path: str) -> Control:
    """Return Tor's control port; wait for it, as Tor may start later than this program."""
    async with asyncio.timeout(CONTROL_SECONDS):
        while True:
            with contextlib.suppress(OSError):
                return Control(*await asyncio.open_unix_connection(path))
            await asyncio.sleep(RETRY_SECONDS)


async def probe(places: Places) -> None:
    """Return once every peer has answered; Tor keeps the circuits for later connections."""
    asked = places.read()

    async def one(peer: Peer) -> None:
        await reach(places.socks, peer["onion"], forget=places.forget)

    silent: list[str] = []
    async with running(map(one, asked["peers"].values())) as probes:
        if probes:
            wait, limit = asyncio.FIRST_EXCEPTION, asked["probe_seconds"]
            await asyncio.wait(probes, timeout=limit, return_when=wait)
        silent = [n for n, each in zip(asked["peers"], probes, strict=True) if not each.done()]
    if silent:
        sys.exit(f"no answer from {', '.join(silent)} within {asked['probe_seconds']:g} s")


async def serve(places: Places) -> None:
    """Keep the services until killed."""
    places.publish("")  # the file may be that of an earlier process
    again = asyncio.Event()
    again.set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again.set)
    control = await _control(places.control)
    proxy = OnionProxy(places, control)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(control.listen())
        await control.ask("AUTHENTICATE")
        await control.ask("SETEVENTS HS_DESC SIGNAL")
        tasks.create_task(proxy.remind())
        publishing: asyncio.Task[None] | None = None
        while await again.wait():
            again.clear()
            if publishing is not None:
                publishing.cancel()
            await proxy.apply()
            publishing = tasks.create_task(proxy.publish())


def main(configuration: str, secrets: str, command: str, *peers: str) -> None:
    """Do what the command line asks for."""
    os.umask(0o077)
    places = Places(Path(configuration), Path(secrets))
    if command == "keys":
        sys.stdout.write(json.dumps(make_keys(places.keys, peers)) + "\n")
    else:
        asyncio.run({"serve": serve, "probe": probe}[command](places))
