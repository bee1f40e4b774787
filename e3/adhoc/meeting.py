"""From an invitation to connected parties: carries out what the state machines of a session ask.

The mailbox brings messages, the clock ticks, the user answers; `Meeting.gather` returns the roster
once every pair of parties is connected. It goes on until its block ends, so that addresses may
change and parties may leave while the program runs.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from e3.adhoc.links import Links, Reach, address, linked
from e3.adhoc.people import Self
from e3.adhoc.relayed import grant, stun_servers
from e3.adhoc.room import Room, room
from e3.didcomm.errors import DidcommError
from e3.didcomm.mailbox import Mailbox
from e3.didcomm.messages import Received, body_of
from e3.didcomm.resolver import Resolver
from e3.didcomm.session import actions as does
from e3.didcomm.session.actions import Action
from e3.didcomm.session.bodies import (
    BODIES,
    KINDS,
    PROTOCOL,
    Body,
    Close,
    Join,
    LobbyView,
    Offer,
    Ready,
    Roster,
)
from e3.didcomm.session.lobby import Lobby
from e3.didcomm.session.negotiation import Negotiation, Terms
from e3.didcomm.session.proof import Admit, anyone
from e3.errors import E3Error, OverlayError, SessionError
from e3.remote.tasks import beside, running
from e3.remote.text import printable
from e3.session.verdicts import End

TICK_SECONDS = 0.25
REPEAT_SECONDS = 2.0
CONSENT_SECONDS = 900.0
"""For all to consent to the parties and to connect, once all are there."""

CONNECT_SECONDS = 60.0
"""For a pair to connect after both have accepted."""


class RestartedError(SessionError):
    """The parties are gathered once more, with a roster of this ``epoch``."""

    def __init__(self, epoch: int) -> None:
        """Keep the epoch."""
        super().__init__("a party is back; the parties are gathered once more")
        self.epoch = epoch


class User(Protocol):
    """The person at this machine."""

    def show(self, view: LobbyView) -> None:
        """Show who is there."""

    def tell(self, text: str) -> None:
        """Show a sentence."""

    async def consents(self, roster: Roster) -> bool:
        """Return whether to compute with these parties."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """The part of this party: an initiator has a lobby, a guest has none.

    All must be there at a time ``until``, in seconds since 1970; ``late`` says what it means if
    they are not. Parties with the lasting DIDs ``consented`` need no other consent.
    """

    me: Self
    terms: Terms
    reach: Reach
    until: float = math.inf
    late: str = "the link has expired, and not all parties came"
    consented: frozenset[str] = frozenset()
    admit: Admit = anyone
    lobby: Lobby | None = None
    note: Callable[[Lobby], None] = lambda _: None
    """Takes note of who is in the lobby, after each message."""

    @property
    def ready(self) -> Ready:
        """The consent of a guest's user to the proposal."""
        return Ready(proposal=self.terms.proposal, epoch=self.terms.epoch)


class Meeting:
    """One party's part in a session, from its consent to the program on."""

    def __init__(self, box: Mailbox, side: Side, user: User, resolver: Resolver) -> None:
        """Meet at a mailbox; ``user`` decides."""
        self.others: dict[int, End] = {}
        """What other parties told of their ends, by pid."""
        self.consented = side.consented
        """The lasting DIDs of the parties to which the user has consented."""
        self.room: Room | None = None
        self.links: Links | None = None
        self._box = box
        self._side = side
        self._user = user
        self._resolver = resolver
        self._negotiation = Negotiation(
            box.identity.did, side.me.did, side.terms, resolver.resolve, side.admit
        )
        self._todo: asyncio.Queue[Coroutine[Any, Any, None]] = asyncio.Queue()
        self._result: asyncio.Future[Roster] = asyncio.get_running_loop().create_future()
        self._held = AsyncExitStack()
        self._strangers = 0
        self._said_ready = 0.0
        self._asked = 0.0
        self._changed = asyncio.Condition()

    async def gather(self) -> Roster:
        """Return the roster once every pair is connected; raise `SessionError` if it never is."""
        return await self._result

    @property
    def pid(self) -> int:
        """The pid of this party."""
        return self._negotiation.pid

    @property
    def roster(self) -> Roster | None:
        """The roster that this party was told."""
        return self._negotiation.roster

    def names(self, roster: Roster) -> dict[int, str]:
        """Return what the parties call themselves."""
        return {each.pid: printable(each.name, 64) for each in roster.members}

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once that holds; it is looked at after each message."""
        async with self._changed:
            await self._changed.wait_for(holds)

    def leave(self, reason: str, detail: str = "") -> None:
        """Tell the others that this party leaves."""
        if self._side.lobby is not None:
            self._do(self._side.lobby.leave())
        self._do(self._negotiation.leave(reason, detail))

    async def take(self, received: Received) -> None:
        """Take a message of the session."""
        decoded = body(received, self._side.terms.sid)
        if decoded is None or received.sender is None:
            return
        now, sender, lobby = time.time(), received.sender, self._side.lobby
        if isinstance(decoded, Join) and lobby is not None and lobby.has_link(decoded):
            if self._negotiation.started:
                late = "the program runs; join again when it has ended"
                self.send(sender, Close(reason="full", detail=late))
                return
            await self._resolver.fetch([decoded.identity])
        elif isinstance(decoded, Roster) and sender == self._side.terms.initiator:
            await self._resolver.fetch([each.identity for each in decoded.members])
        if lobby is not None:
            if isinstance(decoded, Offer):
                lobby.has_roster(sender)
            self._do(lobby.received(sender, decoded, now))
            self._side.note(lobby)
        if isinstance(decoded, LobbyView) and sender == self._side.terms.initiator:
            self._user.show(decoded)
        if lobby is None or lobby.roster is not None:
            self._do(self._negotiation.received(sender, decoded, now))

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self._do_one(action)

    def _do_one(self, action: Action) -> None:
        if isinstance(action, does.Send):
            self.send(action.to, action.body)
        elif isinstance(action, does.Show):
            self._user.show(action.view)
        elif isinstance(action, does.Begin):
            own = self._side.terms.initiator
            self._do(self._negotiation.received(own, action.roster, time.time()))
        elif isinstance(action, does.Ask | does.Connect | does.Reconnect):
            self._begin(action)
        elif isinstance(action, does.Start):
            if not self._result.done():
                self._result.set_result(action.roster)
        elif isinstance(action, does.Left):
            self._left(action)
        elif isinstance(action, does.Restart):
            self._restart(action.epoch)
        else:
            self._fail(SessionError(action.why))

    def _begin(self, action: does.Ask | does.Connect | does.Reconnect) -> None:
        """Begin what takes its time."""
        if isinstance(action, does.Ask):
            self._asked = time.time()
            self._todo.put_nowait(self._ask(action.roster))
        elif isinstance(action, does.Connect):
            self._todo.put_nowait(self._connect(action))
        else:
            self._todo.put_nowait(self._reconnect(action))

    def send(self, to: str, sent: Body) -> None:
        """Send a message of the session."""
        # a DID that says no way to itself hears nothing; messages to the others go on
        with contextlib.suppress(DidcommError):
            self._box.send(to, KINDS[type(sent)], sent, thid=self._side.terms.sid)

    async def _ask(self, roster: Roster) -> None:
        """Ask the user; then open this party's end of the tunnels, and make its offers."""
        identities = frozenset(each.identity for each in roster.members)
        if not identities <= self.consented and not await self._user.consents(roster):
            self._do(self._negotiation.leave("declined"))
            raise SessionError("you did not consent to these parties; nothing was run")
        self.consented = identities
        pid = self._negotiation.pid
        own = address(pid)
        async with beside(self._stun_servers()) as asked:
            self.room = await self._held.enter_async_context(room(host_name(roster, pid), own))
            reach = replace(self._side.reach, stun=await asked)
        self.links = await self._held.enter_async_context(linked(pid, self.room, reach))
        self._do(self._negotiation.consent(self.links.ends, time.time()))
        self._todo.put_nowait(self._follow(self.links))

    async def _stun_servers(self) -> tuple[str, ...]:
        reach = self._side.reach
        return reach.stun or (() if reach.proxy else await stun_servers(self._box))

    async def _connect(self, action: does.Connect) -> None:
        if self.links is None:
            raise SessionError("a peer connects before this party has tunnels")
        self._todo.put_nowait(self._relay(action, self.links))
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self.links.connect(action.pid, action.offer, action.secret)
        except OverlayError as error:
            why = f"party {action.pid} ({self._name(action.pid)}) offers what makes no tunnel"
            self._do(self._negotiation.leave("failed", why))
            raise SessionError(f"{why}: {error}") from None
        except TimeoutError:
            why = f"no way to party {action.pid} was found within {CONNECT_SECONDS:g} s"
            self._do(self._negotiation.leave("failed", why))
            raise SessionError(
                f"{why}; a firewall may forbid UDP and TCP to it: see docs/ad-hoc.md"
            ) from None
        self._user.tell(f"connected to party {action.pid}")
        self._do(self._negotiation.connected(action.pid))

    async def _relay(self, action: does.Connect, links: Links) -> None:
        """Ask the mediator for a relay, which a pair uses while it finds no other path."""
        if self._side.reach.proxy:
            return  # the relay would learn the address that the mediator does not
        granted = await grant(self._box, action.secret)
        if granted is not None:
            await links.relay(action.pid, granted)

    async def _reconnect(self, action: does.Reconnect) -> None:
        if self.links is not None:
            await self.links.move(action.pid, action.candidates)

    async def _follow(self, links: Links) -> None:
        """Tell the peers whenever this party has new addresses."""
        while True:
            self._do(self._negotiation.moved(await links.moved()))

    def _left(self, action: does.Left) -> None:
        roster = self._negotiation.roster
        if roster is None or action.pid in self.others:
            return
        done = action.reason == "done"
        self.others[action.pid] = End(
            pid=action.pid,
            host=host_name(roster, action.pid),
            how="exited",
            phase="done" if done else "failed",
            exit=0 if done else 1,
            detail="" if done else printable(action.detail or action.reason),
        )
        if not done:
            name = self.names(roster)[action.pid]
            why = f": {printable(action.detail)}" if action.detail else ""
            self._user.tell(f"party {action.pid} ({name}) left ({action.reason}){why}")

    def _name(self, pid: int) -> str:
        roster = self._negotiation.roster
        return self.names(roster)[pid] if roster is not None else ""

    def _restart(self, epoch: int) -> None:
        """Let the caller gather all parties once more; nothing runs yet."""
        if self._result.done():
            return  # the program runs: whoever is back waits for the next round
        if self._side.lobby is not None:
            self._do(self._negotiation.leave("restarted", "a party is back"))
        self._fail(RestartedError(epoch))

    def _fail(self, error: E3Error) -> None:
        if not self._result.done():
            self._result.set_exception(error)

    # What runs beside the block

    async def _listen(self) -> None:
        while True:
            received = await self._box.receive()
            try:
                await self.take(received)
                async with self._changed:
                    self._changed.notify_all()
            except DidcommError as error:
                self._strangers += 1
                if self._strangers == 1:
                    self._user.tell(f"a message was refused: {error}")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.time()
            if self._side.lobby is not None:
                self._do(self._side.lobby.tick(now))
            elif self._negotiation.roster is None and now > self._said_ready + REPEAT_SECONDS:
                self._said_ready = now
                self.send(self._side.terms.initiator, self._side.ready)
            self._do(self._negotiation.tick(now))
            self._check_time(now)

    def _check_time(self, now: float) -> None:
        """Give up what never becomes complete."""
        if self._result.done():
            return
        if self._negotiation.roster is None:
            if now > self._side.until:
                self.leave("expired", self._side.late)
                self._fail(SessionError(self._side.late))
        elif now > self._asked + CONSENT_SECONDS:
            missing = ", ".join(
                f"party {each.pid} ({printable(each.name, 64)})"
                for each in self._negotiation.missing
            )
            self.leave("failed", "not all parties consented and connected in time")
            self._fail(SessionError(f"not all consented and connected in time: {missing}"))

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._guarded(await self._todo.get()))

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except E3Error as error:
            self._fail(error)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator["Meeting"]:
        """Take messages and time meanwhile; at the end close the tunnels and the room."""
        async with self._held, running([self._listen(), self._tick(), self._work()]) as tasks:
            for task in tasks:
                task.add_done_callback(self._ended)
            yield self

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Let nobody wait for what has ended by an error."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._result.done():
            self._result.set_exception(error)


def body(received: Received, sid: str) -> Body | None:
    """Return the body of a message of this session, None for another one."""
    protocol, _, name = received.message.type.rpartition("/")
    if protocol != PROTOCOL or received.message.thid != sid or name not in BODIES:
        return None
    decoded: Body = body_of(received.message, BODIES[name])
    return decoded


def host_name(roster: Roster, pid: int) -> str:
    """Return a party's name as names of files and results have it."""
    kept = "".join(
        letter
        for letter in roster.members[pid].name.lower()
        if letter.isascii() and letter.isalnum()
    )
    return f"{kept[:20] or 'party'}-{pid}"
