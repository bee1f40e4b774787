"""An arena: hosts of a lab that an overlay joins, and MPyC sessions that go on while things happen.

core-0, core-1      public; relays, lighthouses and control servers fall on them
core-2              public, and nothing more
home-0              behind a home router (port-restricted)
home-1              behind a symmetric NAT, so that an overlay has to relay between the homes;
                    public where the overlay does not join two hosts behind NATs
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from e3 import contact, reachability
from e3.errors import E3Error
from e3.interfaces import Host, Overlay
from e3.lab.client import Lab
from e3.nats import Reachability
from e3.overlays.tinc import PLACES, SCRIPT, Tinc
from e3.overlays.unit import script
from e3.session.plan import plan
from e3.session.programs import load
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict
from tests.faults.stage import Watcher
from tests.labs import running
from tests.overlays import Mesh, ask
from tests.resilience.standin import CONTROL, stand_in

REGIONS = ("core", "home")
RTT_MS = {("core", "core"): 0.0, ("home", "home"): 0.0, ("core", "home"): 5.0}
NAMES = ("core-0", "core-1", "core-2", "home-0", "home-1")
PEER = "core-2"
HOMES: dict[str, Reachability] = {"home-0": "port-restricted", "home-1": "symmetric"}
ITSELF_SECONDS = 45.0
"""Within that time of an event an overlay recovers by itself, or is taken to need `pulumi up`."""
JOIN_SECONDS = 60.0
SURVEY_SECONDS = 3.0
"""Short, as a probe that begins before its address is back never listens there."""
START_SECONDS = 60.0
DEADLINE_SECONDS = 120.0
PORTS = {"direct": 11_365, "relayed": 11_367}

PROGRAM = """
import asyncio, sys, time
from mpyc.runtime import mpc

async def main():
    async with mpc:
        begun = last = time.monotonic()
        longest = rounds = 0
        more = True
        while more:
            on = time.monotonic() - begun < float(sys.argv[1])
            more = await mpc.output(mpc.input(mpc.SecInt()(int(on)), senders=0))
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            rounds += 1
            if rounds == 10:
                print('on', flush=True)
            await asyncio.sleep(0.05)
        print('longest round', round(longest, 1))

mpc.run(main())
"""
"""Rounds of a secret input and its opening, for as many seconds as party 0's argument says."""


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """A session that went through an event: how it ended, and its longest round in seconds."""

    result: SessionResult
    longest_seconds: float | None

    @property
    def word(self) -> str:
        """``lives``, or the verdict."""
        lives = self.result.verdict is Verdict.COMPLETED
        return "lives" if lives else str(self.result.verdict)


@dataclass
class Arena:
    """Hosts and sessions that an event acts on; `facts`: its outcome, in the data file's words."""

    name: str
    mesh: Mesh
    folder: Path
    homes: dict[str, Reachability]
    names: list[str] = field(default_factory=lambda: list(NAMES))
    server: str = "core-0"
    facts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """From the end of the event until all pairs talk; or what the repair took."""

    @property
    def lab(self) -> Lab:
        return self.mesh.lab

    def hosts(self, names: Sequence[str]) -> list[Host]:
        return [self.mesh.host(name) for name in names]

    def add(self, *names: str) -> None:
        """Make hosts, which are not joined yet."""
        rows = [(name, name.partition("-")[0]) for name in names]
        self.mesh.hosts += [handle.host() for handle in self.lab.add_hosts(rows, self.homes)]

    def join(self, names: Sequence[str]) -> None:
        """Do what `pulumi up` does with these hosts: connect them, and check every pair."""
        self.names = list(names)
        self.mesh.connect(*names)
        silent = self.silent(JOIN_SECONDS)
        assert not silent, silent
        if isinstance(self.mesh.overlay, Tinc) and {PEER, "home-0"} <= {*names}:
            self._await_sizes()

    def _await_sizes(self) -> None:
        """Wait until tinc knows what passes between `PEER` and home-0: it does not notice before
        that the path is dead (docs/resilience.md, Open)."""
        deadline = time.monotonic() + JOIN_SECONDS
        dump = ("sh", "-c", script(SCRIPT), SCRIPT, *PLACES, "dump")
        for host, peer in ((PEER, "home-0"), ("home-0", PEER)):
            sizes = re.compile(rf"{peer.replace('-', '_')} at .* \(min (?!0 )(\d+) max \1\)")
            while not sizes.search(ask(self.mesh.host(host), *dump)):
                assert time.monotonic() < deadline, (host, peer)
                time.sleep(0.5)

    def silent(self, seconds: float) -> str:
        """Return what keeps members from talking to each other within the limit; else nothing."""
        began = time.monotonic()
        hosts, network, overlay = self.hosts(self.names), self.mesh.joined, self.mesh.overlay
        while True:
            try:
                found = asyncio.run(
                    contact.survey(overlay, hosts, network, timeout_seconds=SURVEY_SECONDS)
                )
            except E3Error as error:  # a daemon that cannot be asked at this moment
                why = str(error)
            else:
                if not found.silent:
                    return ""
                why = "; ".join(f"{a} -> {b}: {w}" for (a, b), w in found.silent.items())
            if time.monotonic() - began >= seconds:
                return why
            time.sleep(0.2)

    def through(
        self,
        event: Callable[[], None],
        *,
        direct: Sequence[str] | None = None,
        seconds: float = 8.0,
        repair: Callable[[], None] | None = None,
    ) -> None:
        """Keep sessions running through an event; then check whether, and how, all pairs talk.

        ``direct`` are the hosts of the session that needs no relay, by default `PEER` and home-0;
        the other one, between the homes, is held where an overlay relays between them.
        ``repair`` is what `pulumi up` does where nobody recovers by himself.
        """
        parties = {"direct": list(direct or (PEER, "home-0"))}
        if direct is None and "home-1" in self.homes:
            parties["relayed"] = ["home-0", "home-1"]
        with self._sitting(parties, seconds) as sittings:
            event()
            self._recover(repair)
            for kind, sitting in sittings.items():
                self._note(kind, sitting.result(DEADLINE_SECONDS + START_SECONDS))

    def _recover(self, repair: Callable[[], None] | None) -> None:
        began = time.monotonic()
        why = self.silent(ITSELF_SECONDS)
        self.seconds = time.monotonic() - began
        if not why:
            self.facts["after"] = "itself"
            return
        self.notes.append(why)
        began = time.monotonic()
        try:
            (repair or (lambda: self.join(self.names)))()
        except (AssertionError, E3Error, TimeoutError) as error:
            self.facts["after"] = "never"
            self.notes.append(f"not repaired: {error}")
        else:
            self.facts["after"] = "up"
            self.seconds = time.monotonic() - began

    def _note(self, kind: str, sitting: Sitting) -> None:
        self.facts[kind] = sitting.word
        longest = sitting.longest_seconds
        told = f"longest round {longest} s" if sitting.word == "lives" else sitting.result.reason
        self.notes.append(f"{kind} session {sitting.word}: {told}")

    @contextmanager
    def _sitting(
        self, parties: dict[str, list[str]], seconds: float
    ) -> Iterator[dict[str, "Future[Sitting]"]]:
        """Run these sessions while the context is open."""
        pool = ThreadPoolExecutor(len(parties))
        try:
            watchers = {kind: Watcher() for kind in parties}
            sittings = {
                kind: pool.submit(self._conduct, kind, self.hosts(names), seconds, watchers[kind])
                for kind, names in parties.items()
            }
            deadline = time.monotonic() + START_SECONDS
            for kind, names in parties.items():
                while watchers[kind].logs().splitlines().count("on") < len(names):
                    assert not sittings[kind].done(), sittings[kind].result().result.reason
                    assert time.monotonic() < deadline, watchers[kind].logs()
                    time.sleep(0.02)
            yield sittings
        finally:
            pool.shutdown()

    def _conduct(self, kind: str, hosts: list[Host], seconds: float, watcher: Watcher) -> Sitting:
        program = self.folder / "rounds.py"
        made = plan(
            hosts=hosts,
            addresses=self.mesh.joined.addresses,
            program=load(program, [str(seconds)]),
            parties=len(hosts),
            base_port=PORTS[kind],
        )
        result = asyncio.run(
            run_session(
                SessionSpec(
                    plan=made,
                    hosts=hosts,
                    overlay=self.name,
                    sessions=self.folder / kind,
                    deadline_seconds=DEADLINE_SECONDS,
                    address_trust=self.mesh.overlay.needs.address_trust,
                    observer=watcher,
                )
            )
        )
        said = "\n".join(party.output for party in result.parties)
        longest = [float(text) for text in re.findall(r"longest round (\S+)", said)]
        return Sitting(result=result, longest_seconds=max(longest, default=None))


@contextmanager
def arena(name: str, overlay: Overlay, folder: Path) -> Iterator[Arena]:
    """Yield hosts that the overlay has joined, every pair verified; remove all afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rounds.py").write_text(PROGRAM)
    with running(folder / "lab", RTT_MS, REGIONS) as lab:
        reaches = {host: HOMES.get(host, "public") for host in NAMES}
        able = reachability.shortfall(name, overlay.needs, reaches) is None
        homes = HOMES if able else {"home-0": HOMES["home-0"]}
        mesh = Mesh(lab, overlay)
        stand_in(mesh, folder)
        made = Arena(name, mesh, folder, homes)
        made.add(*NAMES)
        made.join(NAMES)
        found = asyncio.run(mesh.overlay.paths(made.hosts(NAMES), mesh.joined))
        relay = getattr(found["home-0", "home-1"], "by", "")
        outside = CONTROL if overlay.needs.account else ""
        made.server = relay or outside or made.server
        yield made


def readdressed(made: Arena, name: str) -> None:
    """Read a host's new underlay address into the arena, as `pulumi refresh` does."""
    there = next(handle for handle in made.lab.hosts() if handle.name == name)
    made.mesh.hosts = [
        replace(host, underlay=there.underlay, underlay6=there.underlay6)
        if host.name == name
        else host
        for host in made.mesh.hosts
    ]
