"""Connections between members as DIDComm messages alone: what sessions without tunnels cost.

Each connection of a party arrives at a port of this host that stands for one of another member. Of
MPyC's connections each message of MPyC becomes one message to the other agent; of others, what
arrives at once. What a mediator loses is lost, and the connection with it.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_bytes
from urllib.parse import urlsplit

from e3.agents.plane import Linking, Reached
from e3.agents.post import Post
from e3.agents.settings import AgentSettings
from e3.agents.station import Station
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url, unbase64
from e3.didcomm.network.actions import Connect, Forget
from e3.didcomm.network.bodies import KINDS, MOST_MEMBERS, PIECE_BYTES, Member, Piece
from e3.didcomm.network.invitation import Invitation, MediatorPlace
from e3.didcomm.network.membership import Ends
from e3.didcomm.session.bodies import Candidate
from e3.remote.tasks import running

READ_BYTES = 1 << 20
DIAL_SECONDS, DIAL_AGAIN_SECONDS = 60.0, 0.1
"""For a party to listen: MPyC does not recover from a connection that ends early."""

MOST_STREAMS = 4096
MOST_EARLY = 64
"""Pieces of a member with which this agent has not agreed yet."""

AHEAD_BYTES = 64 << 20
"""Of one connection, which the party here has not taken yet; then the connection breaks."""

HEADER = struct.Struct("<qI")
"""Before each message of MPyC 0.11: its number, and the length of what follows."""

PID_BYTES = 2


class Splitter:
    """Cuts what one side of a connection sends; `as_mpyc` says that it is messages of MPyC."""

    def __init__(self) -> None:
        """Pass on what comes."""
        self.as_mpyc = False
        self._kept = bytearray()

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Yield what makes a message each; what is not complete waits for the rest."""
        if not self.as_mpyc:
            yield data
            return
        self._kept += data
        while len(self._kept) >= HEADER.size:
            size = HEADER.size + HEADER.unpack_from(self._kept)[1]
            if len(self._kept) < size:
                return
            yield bytes(self._kept[:size])
            del self._kept[:size]

    @property
    def rest(self) -> bytes:
        """What was not complete, at the end."""
        return bytes(self._kept)


def begins_mpyc(data: bytes) -> bool:
    """Return whether a connection begins as MPyC's do, by the number of a party."""
    return len(data) >= PID_BYTES and int.from_bytes(data[:PID_BYTES], "little") < MOST_MEMBERS


@dataclass(kw_only=True)
class _Stream:
    """One connection; ``incoming`` are the pieces of the other side in their order."""

    name: str
    member: Member
    opens: bool
    incoming: "asyncio.Queue[Piece]" = field(default_factory=asyncio.Queue)
    early: dict[int, Piece] = field(default_factory=dict)
    next_in: int = 0
    next_out: int = 0
    ahead: int = 0
    splitter: Splitter = field(default_factory=Splitter)


class Courier:
    """One agent's end of all connections."""

    def __init__(self, post: Post, thid: str, address: str, ports: Sequence[int]) -> None:
        """Stand for ``ports`` of each member, at its address; ``address`` is this host's own."""
        self._post = post
        self._thid = thid
        self._address = address
        self._ports = tuple(ports)
        self._members: dict[str, Member] = {}
        self._early: dict[str, list[Piece]] = {}
        self._doors: dict[str, AsyncExitStack] = {}
        self._streams: dict[str, _Stream] = {}
        self._waiting: asyncio.Queue[Linking] = asyncio.Queue()
        self._group = asyncio.TaskGroup()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        fingerprint = token_bytes(32)
        # no key of a tunnel: what only names this run
        self._ends = Ends(wireguard=_encoded(token_bytes(32)), fingerprint=fingerprint.hex())

    @property
    def ends(self) -> Ends:
        """See `Plane`."""
        return self._ends

    def do(self, action: Linking) -> None:
        """See `Plane`."""
        self._waiting.put_nowait(action)

    async def paths(self) -> dict[str, Reached]:
        """See `Plane`."""
        live = self._post.live
        by = urlsplit(live[0].mediation.uri).hostname if live else None
        found = Reached(path="relayed", by=by) if by is not None else Reached(path="none")
        return {member.name: found for member in self._members.values()}

    async def tend(self, stations: Sequence[Station]) -> None:
        """See `Plane`; there are no paths."""

    async def moved(self) -> tuple[Candidate, ...]:
        """See `Plane`; mediators know where this host is."""
        await asyncio.Event().wait()
        return ()

    async def keep(self) -> None:
        """See `Plane`."""
        try:
            async with self._group:
                while True:
                    action = await self._waiting.get()
                    if isinstance(action, Connect):
                        await self._close(action.member)
                        await self._open(action.member)
                    elif isinstance(action, Forget):
                        await self._close(action.member)
        finally:
            for door in self._doors.values():
                await door.aclose()

    async def use(self, mediators: Sequence[MediatorPlace]) -> None:
        """See `Plane`; nobody has to know where this host is."""

    def take(self, sender: str, piece: Piece) -> None:
        """Take what a member's side of a connection has sent."""
        member = self._members.get(sender)
        if member is None:
            # it may have agreed with this agent before this one has with it
            early = self._early.setdefault(sender, []) if len(self._early) < MOST_MEMBERS else []
            if len(early) < MOST_EARLY:
                early.append(piece)
            return
        stream = self._streams.get(piece.stream)
        if stream is None:
            if piece.number or piece.port not in self._ports or len(self._streams) >= MOST_STREAMS:
                return
            stream = _Stream(name=piece.stream, member=member, opens=False)
            self._run(stream, self._answer(stream, piece.port))
        if stream.member != member or piece.number < stream.next_in:
            return  # another's, or one that has come already
        stream.early[piece.number] = piece
        stream.ahead += len(piece.content)
        if stream.ahead > AHEAD_BYTES:
            self._tasks[stream.name].cancel()
        while (following := stream.early.pop(stream.next_in, None)) is not None:
            stream.next_in += 1
            stream.incoming.put_nowait(following)

    # Connections

    async def _open(self, member: Member) -> None:
        """Listen for the parties of this host that call a member."""
        self._members[member.did] = member
        for piece in self._early.pop(member.did, []):
            self.take(member.did, piece)
        door = AsyncExitStack()
        self._doors[member.did] = door

        async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            port = writer.get_extra_info("sockname")[1]
            stream = _Stream(name=base64url(token_bytes(16)), member=member, opens=True)
            self._streams[stream.name] = stream
            if (task := asyncio.current_task()) is not None:
                self._tasks[stream.name] = task
            try:
                await self._send(stream, port=port)
                await self._exchange(stream, reader, writer)
            finally:
                self._forget(stream.name)
                writer.close()

        for port in self._ports:
            server = await asyncio.start_server(called, member.address, port, limit=READ_BYTES)
            door.callback(server.close)

    async def _close(self, member: Member) -> None:
        """End what connects this host with a member."""
        self._members.pop(member.did, None)
        for stream in [it for it in self._streams.values() if it.member.did == member.did]:
            if (task := self._tasks.get(stream.name)) is not None:
                task.cancel()
        if (door := self._doors.pop(member.did, None)) is not None:
            await door.aclose()

    def _run(self, stream: _Stream, work: Coroutine[None, None, None]) -> None:
        self._streams[stream.name] = stream
        # outlives: nothing, as `keep` holds the group
        task = self._group.create_task(work)
        self._tasks[stream.name] = task
        task.add_done_callback(lambda _: self._forget(stream.name))

    def _forget(self, name: str) -> None:
        self._streams.pop(name, None)
        self._tasks.pop(name, None)

    async def _answer(self, stream: _Stream, port: int) -> None:
        """Connect to the party here that a member calls, from that member's address."""
        try:
            reader, writer = await self._dial(stream.member.address, port)
        except (OSError, TimeoutError):
            await self._send(stream, over=True, broken=True)
            return
        try:
            await self._exchange(stream, reader, writer)
        finally:
            writer.close()

    async def _dial(
        self, source: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(DIAL_SECONDS):
            while True:
                try:
                    return await asyncio.open_connection(
                        self._address, port, limit=READ_BYTES, local_addr=(source, 0)
                    )
                except ConnectionRefusedError:
                    await asyncio.sleep(DIAL_AGAIN_SECONDS)

    async def _exchange(
        self, stream: _Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry both ways until both are over."""
        async with running([self._read(stream, reader), self._write(stream, writer)]) as tasks:
            await asyncio.wait(tasks)

    async def _read(self, stream: _Stream, reader: asyncio.StreamReader) -> None:
        broken, first = False, True
        try:
            while data := await reader.read(READ_BYTES):
                for part in stream.splitter.cut(data):
                    for begin in range(0, len(part), PIECE_BYTES):
                        await self._send(stream, content=part[begin : begin + PIECE_BYTES])
                if first and stream.opens and begins_mpyc(data):
                    stream.splitter.as_mpyc = True
                first = False
            if rest := stream.splitter.rest:
                await self._send(stream, content=rest)
        except OSError:
            broken = True
        await self._send(stream, over=True, broken=broken)

    async def _write(self, stream: _Stream, writer: asyncio.StreamWriter) -> None:
        first = True
        with contextlib.suppress(OSError, DidcommError):
            while True:
                piece = await stream.incoming.get()
                stream.ahead -= len(piece.content)
                content = unbase64(piece.content)
                if content and first:
                    first = False
                    stream.splitter.as_mpyc |= not stream.opens and begins_mpyc(content)
                writer.write(content)
                await writer.drain()
                if piece.broken:
                    writer.transport.abort()
                if piece.over:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return

    async def _send(
        self,
        stream: _Stream,
        *,
        port: int = 0,
        content: bytes = b"",
        over: bool = False,
        broken: bool = False,
    ) -> None:
        piece = Piece(
            stream=stream.name,
            number=stream.next_out,
            port=port,
            content=base64url(content),
            over=over,
            broken=broken,
        )
        stream.next_out += 1
        await self._post.pass_on(stream.member.did, KINDS[Piece], piece, thid=self._thid)


def _encoded(key: bytes) -> str:
    return base64url(key).replace("-", "+").replace("_", "/") + "="


@asynccontextmanager
async def couriering(
    told: AgentSettings, invitation: Invitation, post: Post
) -> AsyncIterator[Courier]:
    """Carry connections by ``post``; see `e3.agents.carrier.carrying`."""
    own = invitation.address.partition("/")[0]
    yield Courier(post, invitation.network, own, told.ports)
