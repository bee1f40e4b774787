"""Runs on a host: carry connections between addresses of this host and onion services of Tor.

    onion.py CONFIGURATION SECRETS keys PEER...   make missing keys, print their public halves
    onion.py CONFIGURATION SECRETS serve          carry connections; SIGHUP reads the file again
    onion.py CONFIGURATION SECRETS knock          reach this program on every peer: paths are made

In the folder CONFIGURATION it reads gate.json and notes in `published` what it serves; in SECRETS
are keys, Tor's sockets, and those at which Tor hands over what comes for each peer's service.

Each host has an address on the loopback of every host. At its own the party listens; at a
peer's this program does, and brings each connection to the onion service that the peer keeps for
this host alone. There the same program hands it to the party, *from the address of the host that
it comes from*: Tor has proved that, as the service admits the holder of one key.

A connection may wait long: for Tor, or for a party that does not listen yet; see
e3/remote/forward.py. Standard library only.
"""

import asyncio
import base64
import contextlib
import functools
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e3.remote.forward import (
    CONNECTED,
    RETRY_SECONDS,
    VIRTUAL_PORT,
    Held,
    Link,
    carry,
    closing,
    connect,
    dial,
)
from e3.remote.tasks import running

KNOCK_PORT = 0
UPLOAD_SECONDS = 5.0
CONTROL_SECONDS = 20.0

Peer = dict[str, str]
"""A peer as configured: its ``address`` here, its ``onion`` service for us, its public ``key``."""


def private_bytes(place: Path, algorithm: str) -> bytes:
    """Return the 32 secret bytes of the key in this file, which is made if it is not there."""
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
    """Return the name of the service with that key, without ``.onion`` (rend-spec-v3, 6)."""
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
    """Have one key to dial with and one service for each peer, and no service for others."""
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
    """Where everything is on this host."""

    configuration: Path
    secrets: Path

    def read(self) -> dict[str, Any]:
        """Return what is asked for; see `render_gate` in e3/overlays/tor.py."""
        asked: dict[str, Any] = json.loads((self.configuration / "gate.json").read_text())
        return asked

    def publish(self, revision: str) -> None:
        """Note which configuration is served."""
        (self.configuration / "published").write_text(f"{revision}\n")

    async def forget(self) -> None:
        """Have Tor forget services, the ways to them and keys to dial with, but for what is open.

        It does so every 10 s at most, and tells who serves, who reminds it of the keys.
        """
        reader, writer = await asyncio.open_unix_connection(self.control)
        async with closing(writer):
            writer.write(b"AUTHENTICATE\r\nSIGNAL NEWNYM\r\nQUIT\r\n")
            await reader.read()

    @property
    def keys(self) -> Path:
        """The folder of the keys."""
        return self.secrets / "keys"

    @property
    def socks(self) -> str:
        """Where Tor takes connections."""
        return str(self.secrets / "socks")

    @property
    def control(self) -> str:
        """Where Tor takes commands."""
        return str(self.secrets / "control")


def free_entry(folder: Path, name: str) -> Path:
    """Return where the socket for a peer's connections is to be; there is none yet."""
    entry = folder / name
    entry.parent.mkdir(mode=0o700, exist_ok=True)
    entry.unlink(missing_ok=True)
    return entry


class Control:
    """Tor's control port: commands, how far our services are published, and that Tor forgot."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Speak over a connection to the control socket."""
        self._reader, self._writer = reader, writer
        self._turn = asyncio.Lock()
        self._replies: asyncio.Queue[str] = asyncio.Queue()
        self.begun: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.uploaded: set[str] = set()
        self.changed = asyncio.Event()
        self.forgotten = asyncio.Event()

    async def listen(self) -> None:
        """Read until Tor ends; this program then ends too, and is started again with it."""
        while line := (await self._reader.readline()).decode().strip():
            if line.startswith("650"):
                self._note(line.split())
            elif line[:3].isdigit() and line[3:4] == " ":
                self._replies.put_nowait(line)
        raise ConnectionError("Tor has ended")

    async def ask(self, command: str) -> None:
        """Have Tor do something; raise `RuntimeError` with what it said if it does not."""
        async with self._turn:
            self._writer.write(f"{command}\r\n".encode())
            reply = await self._replies.get()
        if not reply.startswith("25"):
            raise RuntimeError(f"Tor refuses {command.split(maxsplit=1)[0]}: {reply}")

    def published(self, service: str) -> bool:
        """Return whether each directory that was to get the service's descriptor has answered."""
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


class Gate:
    """Carries connections for the peers of one configuration after another."""

    def __init__(self, places: Places, control: Control) -> None:
        """Serve nobody yet."""
        self._places, self._control = places, control
        self._peers: dict[str, Peer] = {}
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self._services: dict[str, str] = {}
        self._connections: dict[str, set[asyncio.Future[Any]]] = {}
        self._asked: dict[str, Any] = {}

    async def apply(self) -> None:
        """Have exactly the peers of the file, touching only those that changed."""
        self._asked = self._places.read()
        peers: dict[str, Peer] = self._asked["peers"]
        for name, peer in list(self._peers.items()):
            if peers.get(name) != peer:
                await self._remove(name, peer)
        for name, peer in peers.items():
            if name not in self._peers:
                await self._add(name, peer)
            for port in self._asked["ports"]:
                await self._listen(name, peer, port)

    async def publish(self) -> None:
        """Note in a file, once all services can be found, which configuration is served."""
        while not all(map(self._control.published, self._services.values())):
            self._control.changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UPLOAD_SECONDS):
                    await self._control.changed.wait()
                    continue
            # A directory that is gone says nothing; one that has the descriptor is enough.
            if self._control.uploaded.issuperset(self._services.values()):
                break
        self._places.publish(self._asked["revision"])

    async def _add(self, name: str, peer: Peer) -> None:
        entry = free_entry(self._places.secrets / "entries", name)

        async def arrive(reader: StreamReader, writer: StreamWriter) -> None:
            with self._counted(name):
                await self._arrive(peer, reader, writer)

        self._servers[name, 0] = await asyncio.start_unix_server(arrive, entry)
        service = self._places.keys / f"service-{name}.der"
        self._services[name] = onion_address(public_bytes(service))
        await self._control.ask(
            f"ADD_ONION ED25519-V3:{expanded(private_bytes(service, 'ED25519'))} "
            f"Flags=DiscardPK,V3Auth Port={VIRTUAL_PORT},unix:{entry} ClientAuthV3={peer['key']}"
        )
        await self._allow(peer)
        self._peers[name] = peer

    async def _allow(self, peer: Peer) -> None:
        """Have Tor know the key with which this host may dial a peer's service."""
        key = base64.b64encode(private_bytes(self._places.keys / "client.der", "X25519")).decode()
        await self._control.ask(f"ONION_CLIENT_AUTH_ADD {peer['onion']} x25519:{key}")

    async def remind(self) -> None:
        """Tell Tor the keys again whenever it has forgotten them; see `forget`."""
        while await self._control.forgotten.wait():
            self._control.forgotten.clear()
            for peer in list(self._peers.values()):
                await self._allow(peer)

    async def _listen(self, name: str, peer: Peer, port: int) -> None:
        async def depart(reader: StreamReader, writer: StreamWriter) -> None:
            with self._counted(name):
                await self._depart(peer, port, reader, writer)

        if (name, port) not in self._servers:
            server = await asyncio.start_server(depart, peer["address"], port)
            self._servers[name, port] = server

    async def _remove(self, name: str, peer: Peer) -> None:
        for key in [key for key in self._servers if key[0] == name]:
            self._servers.pop(key).close()
        await self._control.ask(f"DEL_ONION {self._services.pop(name)}")
        await self._control.ask(f"ONION_CLIENT_AUTH_REMOVE {peer['onion']}")
        # Tor lets go of a service, not of the circuits that lead to it already.
        for connection in self._connections.pop(name, set()):
            connection.cancel()
        del self._peers[name]

    @contextlib.contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        """Note that the present task carries a connection of that peer."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is running
        connections = self._connections.setdefault(name, set())
        connections.add(task)
        try:
            yield
        finally:
            connections.discard(task)

    async def _depart(
        self, peer: Peer, port: int, reader: StreamReader, writer: StreamWriter
    ) -> None:
        """Bring a connection of this host's party to a peer's."""
        lead = functools.partial(
            dial, self._places.socks, peer["onion"], port, forget=self._places.forget
        )
        async with closing(writer):
            await carry(reader, writer, lead)

    async def _arrive(self, peer: Peer, reader: StreamReader, writer: StreamWriter) -> None:
        """Bring a connection that Tor hands over to this host's party."""
        async with closing(writer):
            port = int.from_bytes(await reader.readexactly(2))
            if port == KNOCK_PORT:
                writer.write(CONNECTED)
            elif port in self._asked["ports"]:

                def lead(_: Held) -> Coroutine[Any, Any, Link]:
                    return connect(self._asked["address"], port, peer["address"])

                await carry(reader, writer, lead, greeting=CONNECTED)


async def _control(path: str) -> Control:
    """Return Tor's control port, which may appear a little later than this program."""
    async with asyncio.timeout(CONTROL_SECONDS):
        while True:
            with contextlib.suppress(OSError):
                return Control(*await asyncio.open_unix_connection(path))
            await asyncio.sleep(RETRY_SECONDS)


async def knock(places: Places) -> None:
    """Return once every peer has answered; Tor keeps the circuits for what comes next."""
    asked = places.read()

    async def one(peer: Peer) -> None:
        socks, forget = places.socks, places.forget
        _, writer, _ = await dial(socks, peer["onion"], KNOCK_PORT, Held(), forget=forget)
        writer.close()

    silent: list[str] = []
    async with running(map(one, asked["peers"].values())) as knocks:
        if knocks:
            wait, limit = asyncio.FIRST_EXCEPTION, asked["knock_seconds"]
            await asyncio.wait(knocks, timeout=limit, return_when=wait)
        silent = [n for n, knock in zip(asked["peers"], knocks, strict=True) if not knock.done()]
    if silent:
        sys.exit(f"no answer from {', '.join(silent)} within {asked['knock_seconds']:g} s")


async def serve(places: Places) -> None:
    """Carry connections until killed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    places.publish("")  # it may tell what a program before this one served
    again = asyncio.Event()
    again.set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again.set)
    control = await _control(places.control)
    gate = Gate(places, control)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(control.listen())
        await control.ask("AUTHENTICATE")
        await control.ask("SETEVENTS HS_DESC SIGNAL")
        tasks.create_task(gate.remind())
        publishing: asyncio.Task[None] | None = None
        while await again.wait():
            again.clear()
            if publishing is not None:
                publishing.cancel()
            await gate.apply()
            publishing = tasks.create_task(gate.publish())


def main(configuration: str, secrets: str, command: str, *peers: str) -> None:
    """Do what the command line asks for."""
    os.umask(0o077)
    places = Places(Path(configuration), Path(secrets))
    if command == "keys":
        sys.stdout.write(json.dumps(make_keys(places.keys, peers)) + "\n")
    else:
        asyncio.run({"serve": serve, "knock": knock}[command](places))
