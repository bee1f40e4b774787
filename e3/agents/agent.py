"""The agent of a host: takes the seat that it was invited to, and keeps a tunnel to each member.

It reads its settings again when it gets HUP. At a socket in the folder of keys it tells how each
member is reached.
"""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from e3 import private
from e3.agents.carrier import carrying
from e3.agents.courier import couriering
from e3.agents.invite import network_of, secret_in
from e3.agents.plane import Plane, Reached
from e3.agents.post import CONNECT_SECONDS, Post
from e3.agents.settings import (
    AGENT,
    CONTROL,
    SEATS,
    AgentSettings,
    read,
    read_seats,
)
from e3.didcomm.errors import DidcommError
from e3.didcomm.identity_file import identity_in
from e3.didcomm.messages import Identity, Received, body_of
from e3.didcomm.network.actions import Action, Keep, Send
from e3.didcomm.network.bodies import BODIES, KINDS, PROTOCOL, Body, Join, Piece, Roster, State
from e3.didcomm.network.convener import Convener, Given
from e3.didcomm.network.invitation import Invitation
from e3.didcomm.network.invitation import read as read_link
from e3.didcomm.network.membership import Membership
from e3.errors import OverlayError
from e3.remote.tasks import running
from e3.remote.text import printable

TICK_SECONDS = 0.1
JOIN_SECONDS = 0.5
"""Between questions for the seat, until the convener answers with a roster."""

PLANES: Mapping[str, Callable[..., AbstractAsyncContextManager[Plane]]] = {
    "tunnel": carrying,
    "messages": couriering,
}

ROSTER, GIVEN = "roster.json", "given.json"


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent tells: how it reaches each member, and what keeps it from more."""

    paths: dict[str, Reached]
    refusal: str = ""
    missing: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Own:
    """What an agent has: the folders of its keys and of its settings, its DID, its invitation."""

    secrets: Path
    configuration: Path
    identity: Identity
    invitation: Invitation


class Agent:
    """One agent, once its end of the tunnels is open."""

    def __init__(self, own: Own, post: Post, plane: Plane) -> None:
        """Take part by messages of ``post``, and connect by ``plane``."""
        self._own = own
        self._invitation = own.invitation
        self._post = post
        self._plane = plane
        self._candidates = plane.ends.candidates
        self._membership = Membership(own.identity.did, own.invitation, plane.ends)
        self._convener: Convener | None = None
        self._joined = 0.0
        self._live: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Go on with what an earlier run has stored."""
        self._convene()
        with contextlib.suppress(OSError, ValueError):
            stored = (self._own.secrets / ROSTER).read_bytes()
            roster = msgspec.json.decode(stored, type=Roster)
            self._do(self._membership.restore(roster, time.time()))

    async def reload(self) -> None:
        """Read the settings again."""
        told = read(self._own.configuration / AGENT, AgentSettings)
        self._invitation = read_link(told.link)
        self._membership.invited(self._invitation)
        self._post.use(self._invitation.mediators)
        self._joined = 0.0
        self._convene()
        await self._plane.use(self._invitation.mediators)

    async def status(self) -> Status:
        """Return what this agent tells."""
        refusal, missing = self._membership.refusal, []
        if not refusal and self._membership.strays:
            refusal = "some members were told of other members"
        if self._convener is not None:
            missing = self._convener.missing
        paths = await self._plane.paths()
        return Status(paths=paths, refusal=printable(refusal), missing=missing)

    # What runs side by side

    async def listen(self) -> None:
        """Take messages for ever."""
        while True:
            received = await self._post.receive()
            with contextlib.suppress(DidcommError):
                self._take(received)

    async def tick(self) -> None:
        """Do for ever what is due."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.time()
            live = frozenset(each.mediation.did for each in self._post.live)
            if live - self._live:
                self._joined = 0.0
                self._membership.returned(now)
            self._live = live
            if live and not self._membership.seated and now > self._joined + JOIN_SECONDS:
                asked = Join(name=self._invitation.name, token=self._invitation.token)
                again = self._joined > 0
                self._joined = now
                self._do([Send(to=self._invitation.convener, body=asked, again=again)])
            if self._convener is not None:
                self._do(self._convener.tick(now))
            if live:
                self._do(self._membership.tick(now))

    async def tend(self) -> None:
        """Look after paths for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._plane.tend(self._post.live)

    async def follow(self) -> None:
        """Tell the members for ever when this host has other addresses."""
        while True:
            gone = {it.address for it in self._candidates if it.kind in {"host", "ipv6"}}
            self._candidates = await self._plane.moved()
            if not gone <= {each.address for each in self._candidates}:
                self._post.call_again()
            self._do(self._membership.moved(self._candidates, time.time()))

    async def connect(self) -> None:
        """Connect for ever with whom the membership says."""
        await self._plane.keep()

    # Messages

    def _take(self, received: Received) -> None:
        protocol, _, name = received.message.type.rpartition("/")
        if protocol != PROTOCOL or name not in BODIES or received.sender is None:
            return
        body: Body = body_of(received.message, BODIES[name])
        self._hear(received.sender, body)

    def _hear(self, sender: str, body: Body) -> None:
        now = time.time()
        if isinstance(body, Piece):
            self._plane.take(sender, body)
        if self._convener is not None:
            if isinstance(body, Join):
                self._do(self._convener.received(sender, body, now))
            elif isinstance(body, State):
                self._convener.has(sender, body.keys.roster)
        self._do(self._membership.received(sender, body, now))

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Keep):
                self._keep()
            elif not isinstance(action, Send):
                self._plane.do(action)
            elif action.to == self._own.identity.did:
                if isinstance(action.body, Roster) and self._convener is not None:
                    self._convener.has(action.to, action.body.hash)
                self._hear(action.to, action.body)
            else:
                kind, thid = KINDS[type(action.body)], self._invitation.network
                self._post.send(action.to, kind, action.body, thid=thid, everywhere=action.again)

    # What is stored

    def _convene(self) -> None:
        """Convene the network if this host's settings have its seats."""
        seats = read_seats(self._own.configuration / SEATS)
        if seats is None:
            self._convener = None
        elif self._convener is None:
            given = Given()
            if (self._own.secrets / GIVEN).exists():
                given = read(self._own.secrets / GIVEN, Given)
            network, secret = network_of(self._own.identity.did), secret_in(self._own.secrets)
            self._convener = Convener(network, secret, seats, given)
        else:
            self._do(self._convener.change(seats, time.time()))
        self._keep()

    def _keep(self) -> None:
        if self._convener is not None:
            self._write(GIVEN, self._convener.given)
        if self._membership.roster is not None:
            self._write(ROSTER, self._membership.roster)

    def _write(self, name: str, content: object) -> None:
        encoded, place = msgspec.json.encode(content), self._own.secrets / name
        if not place.exists() or place.read_bytes() != encoded:
            private.write(place, encoded)


@asynccontextmanager
async def answering(socket: Path, agent: Agent) -> AsyncIterator[None]:
    """Tell the status to whoever connects to a socket, in a folder that only its user may enter."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        # an agent whose tunnels have ended ends as well, and says why
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, OverlayError):
            writer.write(msgspec.json.encode(await agent.status()))
            await writer.drain()

    remove(socket)
    server = await asyncio.start_unix_server(answer, socket)
    try:
        yield
    finally:
        server.close()
        remove(socket)


def remove(path: Path) -> None:
    """Remove a file if there is one."""
    path.unlink(missing_ok=True)


async def _serve(secrets: Path, configuration: Path) -> None:
    loop, over, again = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    told = read(configuration / AGENT, AgentSettings)
    own = Own(
        secrets=secrets,
        configuration=configuration,
        identity=identity_in(secrets / "agent.json"),
        invitation=read_link(told.link),
    )
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=CONNECT_SECONDS)
    async with AsyncExitStack() as held:
        http = await held.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        post = Post(own.identity, http)
        await held.enter_async_context(post.going_on())
        post.use(own.invitation.mediators)
        made = PLANES[told.mode](told, own.invitation, post)
        plane = await held.enter_async_context(made)
        agent = Agent(own, post, plane)
        agent.begin()
        await held.enter_async_context(answering(secrets / CONTROL, agent))
        work = [
            agent.listen(),
            agent.tick(),
            agent.tend(),
            agent.follow(),
            agent.connect(),
            _reload(agent, again),
            over.wait(),
        ]
        async with running(work) as tasks:
            # what has ended by an error is raised at the end of the block
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _reload(agent: Agent, again: asyncio.Event) -> None:
    """Read the settings for ever, each time that ``again`` is set."""
    while True:
        await again.wait()
        again.clear()
        try:
            await agent.reload()
        except (DidcommError, OverlayError) as error:  # the network goes on as it was
            sys.stderr.write(f"the settings cannot be read: {error}\n")


def main(secrets: Path, configuration: Path) -> None:
    """Serve until a signal comes."""
    try:
        asyncio.run(_serve(secrets, configuration))
    except (DidcommError, OverlayError, OSError) as error:
        raise SystemExit(f"the agent ends: {error}") from None
