"""Runs on a host: forward connections between addresses of this host and onion services of Tor.

`main` takes the folders CONFIGURATION and SECRETS, and one of these commands:

    keys PEER...   make missing keys, print their public halves
    serve          forward connections; SIGHUP reads the configuration again
    probe          reach this program on every peer, so that Tor builds circuits

In CONFIGURATION it reads onion_proxy.json, and writes to `published` which revision it serves. In
SECRETS are the keys, Tor's sockets, and a socket for each peer: there Tor delivers the connections
to that peer's service.

Each host has an address on the loopback of every host. At a host's own address its party listens.
At a peer's address this program listens, and forwards each connection to the onion service that
the peer keeps for this host alone. On the peer the same program connects to the party *from the
address of the host that the connection comes from*. Tor has authenticated that host, as the
service admits the holder of one key.

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
    Buffer,
    Upstream,
    closing,
    connect,
    dial,
    forward,
)
from e3.remote.tasks import running

PATH_PROBE_PORT = 0
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

    @property
    def socks(self) -> str:
        """The socket at which Tor takes connections (SOCKS)."""
        return str(self.secrets / "socks")

    @property
    def control(self) -> str:
        """The socket at which Tor takes commands."""
        return str(self.secrets / "control")


def free_entry(folder: Path, name: str) -> Path:
    """Return the path of the socket for a peer's connections; remove an old one."""
    entry = folder / name
    entry.parent.mkdir(mode=0o700, exist_ok=True)
    entry.unlink(missing_ok=True)
    return entry


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


class OnionProxy:
    """Forwards connections for the peers in the configuration, also after it changes."""

    def __init__(self, places: Places, control: Control) -> None:
        """Serve no peer yet."""
        self._places, self._control = places, control
        self._peers: dict[str, Peer] = {}
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self._services: dict[str, str] = {}
        self._connections: dict[str, set[asyncio.Future[Any]]] = {}
        self._asked: dict[str, Any] = {}

    async def apply(self) -> None:
        """Serve exactly the peers of the configuration; touch only those that changed."""
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
        """Give Tor the key with which this host may dial a peer's service."""
        key = base64.b64encode(private_bytes(self._places.keys / "client.der", "X25519")).decode()
        await self._control.ask(f"ONION_CLIENT_AUTH_ADD {peer['onion']} x25519:{key}")

    async def remind(self) -> None:
        """Give Tor the keys again whenever it has forgotten them; see `forget`."""
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
        # DEL_ONION ends the service, not the circuits that it has already.
        for connection in self._connections.pop(name, set()):
            connection.cancel()
        del self._peers[name]

    @contextlib.contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        """Register the present task as one that forwards a connection of that peer."""
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
        """Forward a connection of this host's party to a peer's party."""
        connect_upstream = functools.partial(
            dial, self._places.socks, peer["onion"], port, forget=self._places.forget
        )
        async with closing(writer):
            await forward(reader, writer, connect_upstream)

    async def _arrive(self, peer: Peer, reader: StreamReader, writer: StreamWriter) -> None:
        """Forward a connection that Tor delivers to this host's party."""
        async with closing(writer):
            port = int.from_bytes(await reader.readexactly(2))
            if port == PATH_PROBE_PORT:
                writer.write(CONNECTED)
            elif port in self._asked["ports"]:

                def connect_upstream(_: Buffer) -> Coroutine[Any, Any, Upstream]:
                    return connect(self._asked["address"], port, peer["address"])

                await forward(reader, writer, connect_upstream, greeting=CONNECTED)


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
        socks, forget = places.socks, places.forget
        _, writer, _ = await dial(socks, peer["onion"], PATH_PROBE_PORT, Buffer(), forget=forget)
        writer.close()

    silent: list[str] = []
    async with running(map(one, asked["peers"].values())) as probes:
        if probes:
            wait, limit = asyncio.FIRST_EXCEPTION, asked["probe_seconds"]
            await asyncio.wait(probes, timeout=limit, return_when=wait)
        silent = [n for n, each in zip(asked["peers"], probes, strict=True) if not each.done()]
    if silent:
        sys.exit(f"no answer from {', '.join(silent)} within {asked['probe_seconds']:g} s")


async def serve(places: Places) -> None:
    """Forward connections until killed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
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
