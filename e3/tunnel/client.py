"""Drive `e3-tunnel party`, one party's end of the tunnels of a session."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from e3.errors import OverlayError
from e3.tunnel.control import PROGRAM, Conversation, Running, reading, started
from e3.tunnel.messages import (
    VERSION,
    Candidates,
    Done,
    Event,
    Open,
    Opened,
    Path,
    PathChange,
    Peer,
    Report,
    Up,
)


@dataclass
class Tunnel:
    """The end of one party, and the last that is known of it.

    ``candidates`` is None until they are known; ``paths`` has what reaches each peer now, ``up``
    the peers with which a handshake is done. Every verb raises `OverlayError` if the program
    refuses it or has ended.
    """

    _program: Conversation
    candidates: Candidates | None = None
    paths: Mapping[int, Path] = field(default_factory=dict)
    up: frozenset[int] = frozenset()

    async def open(self, asked: Open) -> Opened:
        """Make this party's end; the first verb, once."""
        opened = await self._program.ask("open", asked, Opened)
        if opened.version != VERSION:
            raise OverlayError(
                f"{PROGRAM} is of version {opened.version}, and {VERSION} is needed; "
                "`scripts/setup --sessions` builds it"
            )
        return opened

    async def set_peer(self, peer: Peer) -> None:
        """Add a peer, or tell what has changed of it; its connections go on."""
        await self._program.ask("peer", peer, Done)

    async def remove_peer(self, pid: int) -> None:
        """Forget a peer."""
        await self._program.ask("remove", {"pid": pid}, Done)
        self.paths = {peer: path for peer, path in self.paths.items() if peer != pid}
        self.up -= {pid}

    async def dial(self, pid: int, port: int, local: str = "127.0.0.1:0") -> str:
        """Let a local address stand for a port of a peer, and return it.

        Modes userspace and tls only.
        """
        asked = {"pid": pid, "port": port, "local": local}
        return (await self._program.ask("dial", asked, Done)).local

    async def serve(self, port: int, local: str, sources: Mapping[int, str] | None = None) -> None:
        """Let a port of this party stand for a local address; modes userspace and tls only.

        ``sources`` has the loopback address from which each peer's connections come, by pid, so
        that it is known who calls; peers without one are refused. It needs a system on which all
        of 127.0.0.0/8 is there, as Linux. Without it all come from 127.0.0.1.
        """
        known = [{"pid": pid, "address": address} for pid, address in (sources or {}).items()]
        asked = {"port": port, "local": local, "sources": known}
        await self._program.ask("serve", asked, Done)

    async def gather(self, stun: tuple[str, ...] = ()) -> None:
        """Look again at which addresses this party may be reached.

        ``stun`` are the servers of STUN from now on; without any they stay.
        """
        await self._program.ask("gather", {"stun": stun} if stun else {}, Done)

    async def report(self) -> Report:
        """Return the state of all tunnels."""
        return await self._program.ask("report", {}, Report)

    async def until(self, holds: Callable[["Tunnel"], bool]) -> None:
        """Return once that holds of this tunnel; the caller sets the deadline."""
        await self._program.until(lambda: holds(self))

    def hear(self, said: Event) -> None:
        """Take an event of the program."""
        match said:
            case Candidates():
                self.candidates = said
            case PathChange(pid=pid, path=path):
                others = {peer: it for peer, it in self.paths.items() if peer != pid}
                self.paths = others if path is None else {**others, pid: path}
            case Up(pid=pid):
                self.up |= {pid}


@asynccontextmanager
async def over(process: Running) -> AsyncIterator[Tunnel]:
    """Yield what drives a running program, whose end is its owner's task."""
    program = Conversation(process)
    tunnel = Tunnel(program)
    program.hear = tunnel.hear
    async with reading(program):
        yield tunnel


@asynccontextmanager
async def local(program: str = PROGRAM) -> AsyncIterator[Tunnel]:
    """Run the program on this machine, beside the block; ``program`` is its name or path."""
    async with started(program, "party") as process, over(process) as tunnel:
        yield tunnel
