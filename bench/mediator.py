"""What a mediator carries on one core: parties with live delivery, and sessions of three.

The mediator runs in a process of its own on the last core, its clients on the others. A session is
what `e3 invite` and `e3 join` say by messages from `join` to the program's start, by the same state
machines; their tunnels are left out. Its processor time is the kernel's figure for the process.

    python -m bench.mediator --parties 1000 --sessions 100
"""

import argparse
import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from e3.didcomm import did as dids
from e3.didcomm.did import key_did
from e3.didcomm.mailbox import Mailbox, opened
from e3.didcomm.mediator.mediator import Mediator
from e3.didcomm.mediator.queues import Limits
from e3.didcomm.mediator.server import Place, serving
from e3.didcomm.messages import Identity, body_of
from e3.didcomm.session import actions as does
from e3.didcomm.session.actions import Action
from e3.didcomm.session.bodies import (
    BODIES,
    KINDS,
    Join,
    Offer,
    Program,
    ProgramFile,
    Proposal,
    Ready,
)
from e3.didcomm.session.invitation import Invitation, new_id
from e3.didcomm.session.lobby import Lobby
from e3.didcomm.session.negotiation import Ends, Negotiation, Terms
from e3.didcomm.session.proof import prove
from e3.session.results import new_id as new_name

PARTIES = 3
SECONDS = 120.0
AT_ONCE = 50
LEAST_A_MINUTE = 500.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROGRAM_BYTES = 4000


@dataclass
class Served:
    """A mediator in a process of its own."""

    pid: int
    uri: str

    @property
    def cpu_seconds(self) -> float:
        """The processor time that it has had."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def memory_mb(self) -> float:
        """Its resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


@contextmanager
def mediator() -> Iterator[Served]:
    """Run one on the last core, without limits of an address: all parties have the same here."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    argv = [sys.executable, "-m", "bench.mediator", "--serve", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        assert process.stdout is not None  # noqa: S101 - it was asked for
        process.stdout.readline()
        yield Served(process.pid, f"http://127.0.0.1:{port}/")
    finally:
        process.terminate()
        process.wait()


async def serve(port: int) -> None:
    """Be that mediator."""
    limits = Limits(rate=1e6, rate_bytes=1e12, connections=1 << 20, registrations_of_one=1 << 20)
    place = Place(host="127.0.0.1", port=port, uri=f"http://127.0.0.1:{port}/")
    async with serving(Mediator(Identity.make(), limits), limits, place):
        print("ready", flush=True)
        await asyncio.Event().wait()


@dataclass
class Party:
    """A party of one session, by its state machines."""

    box: Mailbox
    sid: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    lobby: Lobby | None = None
    negotiation: Negotiation | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def identity(self) -> str:
        """The lasting DID."""
        return key_did(self.key.public_key())

    @property
    def proof(self) -> str:
        """What ties it to that of the session."""
        return prove(self.sid, self.box.identity.did, dids.resolve(self.identity), self.key)

    def negotiate(self, invitation: Invitation, proposal: Proposal) -> None:
        """Be ready for the roster."""
        terms = Terms(
            sid=self.sid,
            initiator=invitation.did,
            initiator_identity=invitation.identity,
            proposal=proposal.hash,
            parties=PARTIES,
        )
        did = self.box.identity.did
        self.negotiation = Negotiation(did, self.identity, terms, dids.resolve)

    async def listen(self, invitation: Invitation, proposal: Proposal) -> None:
        """Take messages until cancelled."""
        while True:
            received = await self.box.receive()
            if received.message.thid != self.sid:
                continue  # of the session before
            name = received.message.type.rpartition("/")[2]
            body = body_of(received.message, BODIES[name])
            sender = received.sender or ""
            if self.lobby is not None:
                if isinstance(body, Offer):
                    self.lobby.has_roster(sender)
                self.act(self.lobby.received(sender, body, time.time()))
            elif isinstance(body, Program):
                self.negotiate(invitation, proposal)
                self.act([does.Send(to=sender, body=Ready(proposal=proposal.hash))])
            if self.negotiation is not None:
                self.act(self.negotiation.received(sender, body, time.time()))

    def act(self, actions: Sequence[Action]) -> None:
        """Do what the state machines ask for; a tunnel is there at once."""
        for action in actions:
            if isinstance(action, does.Send):
                self.box.send(action.to, KINDS[type(action.body)], action.body, thid=self.sid)
            elif self.negotiation is None:
                continue
            elif isinstance(action, does.Begin):
                own = self.box.identity.did
                self.act(self.negotiation.received(own, action.roster, time.time()))
            elif isinstance(action, does.Ask):
                mark = hashlib.sha256(self.box.identity.did.encode()).hexdigest()
                self.act(self.negotiation.consent(Ends(fingerprint=mark), time.time()))
            elif isinstance(action, does.Connect):
                self.act(self.negotiation.connected(action.pid))
            elif isinstance(action, does.Start):
                self.started.set()
            elif isinstance(action, does.End):
                raise SystemExit(action.why)


async def session(boxes: Sequence[Mailbox], uri: str) -> None:
    """Let three parties come from an invitation to the program's start."""
    sid, now = new_id(), int(time.time())
    host, *guests = parties = [Party(box, sid) for box in boxes]
    file = ProgramFile(path="sum.py", content="A" * PROGRAM_BYTES)
    proposal = Proposal(
        name="sum",
        entry="sum.py",
        digest="0" * 64,
        files=(file,),
        parties=PARTIES,
        threshold=1,
        deadline_seconds=60,
    )
    invitation = Invitation(
        sid=sid,
        did=host.box.identity.did,
        identity=host.identity,
        name="Alice",
        token=new_id(),
        mediator=uri,
        program="sum",
        digest="0" * 64,
        parties=PARTIES,
        created=now,
        expires=now + 600,
    )
    shown = Program(proposal=proposal, name="Alice", identity=host.identity, proof=host.proof)
    host.lobby = Lobby(invitation, shown, new_name(), dids.resolve)
    host.negotiate(invitation, proposal)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.listen(invitation, proposal)) for each in parties]
        for each in guests:
            join = Join(
                token=invitation.token, name="Bob", identity=each.identity, proof=each.proof
            )
            each.box.send(invitation.did, KINDS[Join], join, thid=sid)
        for each in parties:
            await each.started.wait()
        for task in tasks:
            task.cancel()


async def measure(served: Served, parties: int, sessions: int) -> dict[str, float]:
    """Register so many parties, then let some of them set up so many sessions."""
    found: dict[str, float] = {}
    before_mb, before = served.memory_mb, served.cpu_seconds
    began = time.monotonic()
    async with AsyncExitStack() as stack, asyncio.timeout(SECONDS * 10):
        boxes = [await stack.enter_async_context(opened(served.uri)) for _ in range(parties)]
        found["register_cpu_seconds"] = served.cpu_seconds - before
        found["register_seconds"] = time.monotonic() - began
        found["connection_kb"] = (served.memory_mb - before_mb) * 1000 / parties
        await asyncio.sleep(2)
        idle, quiet = served.cpu_seconds, time.monotonic()
        await asyncio.sleep(10)
        found["idle_cpu_percent"] = 100 * (served.cpu_seconds - idle) / (time.monotonic() - quiet)
        before, began = served.cpu_seconds, time.monotonic()
        groups = [boxes[at : at + PARTIES] for at in range(0, parties - PARTIES, PARTIES)]
        free: asyncio.Queue[Sequence[Mailbox]] = asyncio.Queue()
        for group in groups[:AT_ONCE]:
            free.put_nowait(group)

        async def one() -> None:
            group = await free.get()
            await session(group, served.uri)
            free.put_nowait(group)

        async with asyncio.TaskGroup() as running:
            for _ in range(sessions):
                running.create_task(one())
        cpu, took = served.cpu_seconds - before, time.monotonic() - began
        found["session_cpu_ms"] = 1000 * cpu / sessions
        found["sessions_a_minute_of_a_core"] = 60 * sessions / cpu
        found["sessions_a_minute_here"] = 60 * sessions / took
    return {name: round(value, 2) for name, value in found.items()}


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure what a mediator carries on one core.")
    parser.add_argument("--parties", type=int, default=1000, metavar="N")
    parser.add_argument("--sessions", type=int, default=200, metavar="N")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve is not None:
        asyncio.run(serve(arguments.serve))
        return {}
    load = os.getloadavg()[0]
    with mediator() as served:
        found = asyncio.run(measure(served, arguments.parties, arguments.sessions))
    for name, value in found.items():
        print(f"{name:30} {value:10.2f}")
    print(f"  (at least {LEAST_A_MINUTE:g} sessions a minute)")
    return {"mediator": found, "mediator_load_average": load}


if __name__ == "__main__":
    main()
