"""Two parties behind NATs of every kind reach each other, and go on when the network changes."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from e3.interfaces import Process
from e3.lab.client import HostHandle, Lab
from e3.nats import Reachability
from e3.tunnel import (
    PROGRAM,
    Grant,
    Opened,
    Relay,
    RelayGrant,
    RelayOpen,
    RelayOpened,
    Tunnel,
    over,
    relay_over,
    token,
)
from tests.labs import running
from tests.tunnels import SECONDS, all_up, asked, described, introduce

PORT = 11_365
LOCAL = 5_000
KINDS: Sequence[Reachability] = (
    "public",
    "port-restricted",
    "symmetric",
    "udp-blocked",
    "ipv6-only",
)
LIMITS = {"bytes": 1 << 30, "seconds": 3600.0, "bytes_per_second": 100_000_000}
ECHO = (
    "import socket, sys\n"
    f"with socket.create_server(('127.0.0.1', {LOCAL})) as listening:\n"
    "    connection, _ = listening.accept()\n"
    "    while data := connection.recv(65536):\n"
    "        connection.sendall(data)\n"
)
CALL = (
    "import socket, sys\n"
    "with socket.create_connection(('127.0.0.1', int(sys.argv[1])), 10) as connection:\n"
    "    connection.settimeout(30)\n"
    "    for line in sys.stdin.buffer:\n"
    "        connection.sendall(line)\n"
    "        back = connection.makefile('rb').readline()\n"
    "        print(back == line, flush=True)\n"
)
"""A program that echoes what comes by one connection, and one that uses one for all its lines."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A mediator on the open network, and elsewhere two hosts of each kind."""
    with running(tmp_path_factory.mktemp("tunnels"), {("a", "b"): 2.0}, ["a", "b"]) as lab:
        lab.add_hosts([("mediator", "a")])
        names = {f"{kind}-{i}": kind for kind in KINDS for i in range(2)}
        lab.add_hosts([(name, "b") for name in names], names)
        yield lab


@dataclass(frozen=True)
class Session:
    """Two parties, and the relay between them."""

    tunnels: Sequence[Tunnel]
    opened: Sequence[Opened]
    hosts: Sequence[HostHandle]
    relay: Relay
    psk: str
    tokens: tuple[str, str]
    stack: AsyncExitStack

    async def attach(self, host: HostHandle, *argv: str) -> Process:
        return await self.stack.enter_async_context(host.access.attach(list(argv)))


@asynccontextmanager
async def session(
    lab: Lab, *names: str, relayed: bool = True, **options: object
) -> AsyncIterator[Session]:
    """Introduce two parties to each other, with a grant for both."""
    by_name = {host.name: host for host in lab.hosts()}
    mediator, hosts = by_name["mediator"], [by_name[name] for name in names]
    async with AsyncExitStack() as stack:
        program = f"{mediator.host().tools}/{PROGRAM}"
        process = await stack.enter_async_context(mediator.access.attach([program, "relay"]))
        relay = await stack.enter_async_context(relay_over(process))
        ports = await relay.open(RelayOpen(udp=(3478, 3479), tcp=443))
        tokens = (token(), token())
        await relay.grant(RelayGrant(tokens=tokens, **LIMITS))  # type: ignore[arg-type]
        tunnels, opened, grants = [], [], {}
        for pid, host in enumerate(hosts):
            process = await stack.enter_async_context(host.access.attach([program, "party"]))
            tunnel = await stack.enter_async_context(over(process))
            place = mediator.host().seen_from(host.host())
            servers = tuple(written(place, port) for port in ports.udp)
            opened.append(await tunnel.open(asked(pid, stun=servers, **options)))
            tunnels.append(tunnel)
            grants[pid, 1 - pid] = grant(place, ports, tokens[pid])
        psk = await introduce(tunnels, opened, grants if relayed else None)
        yield Session(tunnels, opened, hosts, relay, psk, tokens, stack)


def written(place: str, port: int) -> str:
    return f"[{place}]:{port}" if ":" in place else f"{place}:{port}"


def grant(place: str, ports: RelayOpened, own: str) -> Grant:
    udp, tcp = written(place, ports.udp[0]), written(place, ports.tcp or 0)
    return Grant(token=own, udp=udp, tcp=tcp)


async def settled(one: Session, kind: str) -> None:
    """Return once both parties use a path of that kind."""
    async with asyncio.timeout(SECONDS):
        for pid, tunnel in enumerate(one.tunnels):
            other = 1 - pid
            await tunnel.until(
                lambda it, peer=other: peer in it.paths and it.paths[peer].kind == kind  # type: ignore[misc]
            )


@dataclass
class Call:
    """A connection through the tunnel that lasts as long as its session."""

    caller: Process

    async def passes(self) -> bool:
        """Return whether a line comes back whole, on the connection of before."""
        self.caller.stdin.write(b"a line\n")
        async with asyncio.timeout(SECONDS):
            return await self.caller.stdout.readline() == b"True\n"


async def call(one: Session) -> Call:
    """Connect the first party with an echo of the second, in whatever mode."""
    first, second = one.hosts
    await one.attach(second, second.host().python, "-c", ECHO)
    await one.tunnels[1].serve(PORT, f"127.0.0.1:{LOCAL}")
    local = await one.tunnels[0].dial(1, PORT)
    python = first.host().python
    caller = await one.attach(first, python, "-c", CALL, local.rpartition(":")[2])
    made = Call(caller)
    assert await made.passes()
    return made


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        pytest.param("public-0", "public-1", "host", marks=pytest.mark.long),
        ("port-restricted-0", "port-restricted-1", "reflexive"),
        ("public-0", "ipv6-only-0", "ipv6"),
        ("ipv6-only-0", "ipv6-only-1", "ipv6"),
        ("port-restricted-0", "symmetric-0", "relay"),
        pytest.param("symmetric-0", "symmetric-1", "relay", marks=pytest.mark.long),
        ("public-0", "udp-blocked-0", "tcp-relay"),
        ("udp-blocked-0", "public-0", "tcp"),
        pytest.param("udp-blocked-0", "udp-blocked-1", "tcp-relay", marks=pytest.mark.long),
    ],
)
def test_two_parties_reach_each_other(lab: Lab, first: str, second: str, kind: str) -> None:
    async def run() -> None:
        async with session(lab, first, second) as one:
            await all_up(one.tunnels)
            await settled(one, kind)
            await call(one)

    asyncio.run(run())


def test_a_change_of_address_is_healed_by_what_the_party_tells_its_peer(lab: Lab) -> None:
    async def run() -> None:
        names = ("port-restricted-0", "port-restricted-1")
        async with session(lab, *names, relayed=False) as one:
            await all_up(one.tunnels)
            made = await call(one)
            before = one.tunnels[0].candidates
            await asyncio.to_thread(lab.renumber_host, names[0])
            async with asyncio.timeout(SECONDS):
                await one.tunnels[0].until(lambda it: it.candidates != before)
            # what `update` of the session protocol tells the peer by way of a mediator
            news = described(0, one.opened[0], one.psk, one.tunnels[0])
            await one.tunnels[1].set_peer(news)
            assert await made.passes()
            await settled(one, "reflexive")

    asyncio.run(run())


def test_with_a_relay_a_change_of_address_is_healed_without_a_word(lab: Lab) -> None:
    async def run() -> None:
        names = ("port-restricted-0", "port-restricted-1")
        async with session(lab, *names) as one:
            await settled(one, "reflexive")
            made = await call(one)
            await asyncio.to_thread(lab.renumber_host, names[0])
            assert await made.passes()
            # the second party's NAT lets no one in, and the first one's new address it learns later
            await settled(one, "relay")

    asyncio.run(run())


@pytest.mark.parametrize("mode", [pytest.param("userspace", marks=pytest.mark.long), "tls"])
def test_a_change_of_address_without_udp_breaks_no_connection(lab: Lab, mode: str) -> None:
    async def run() -> None:
        async with session(lab, "udp-blocked-0", "udp-blocked-1", mode=mode) as one:
            await settled(one, "tcp-relay")
            made = await call(one)
            await asyncio.to_thread(lab.renumber_host, "udp-blocked-0")
            assert await made.passes()

    asyncio.run(run())


@pytest.mark.long
def test_a_nat_that_is_rebooted_breaks_no_connection(lab: Lab) -> None:
    async def run() -> None:
        names = ("port-restricted-0", "port-restricted-1")
        async with session(lab, *names, relayed=False) as one:
            await settled(one, "reflexive")
            made = await call(one)
            await asyncio.to_thread(lab.reboot_nat, names[0])
            assert await made.passes()

    asyncio.run(run())


async def filtered(host: HostHandle, rules: str) -> None:
    """Let the host's own firewall be that one."""
    ruleset = f"add table inet test; delete table inet test; {rules}"
    done = await host.access.run(["nft", ruleset], timeout_seconds=SECONDS)
    assert done.exit == 0, done.complaint


def test_udp_that_is_blocked_midway_breaks_no_connection(lab: Lab) -> None:
    async def run() -> None:
        async with session(lab, "public-0", "public-1") as one:
            await settled(one, "host")
            made = await call(one)
            await filtered(
                one.hosts[0],
                "add table inet test;"
                " add chain inet test out { type filter hook output priority 0; };"
                " add rule inet test out meta l4proto udp drop",
            )
            assert await made.passes()
            await settled(one, "tcp")
            await filtered(one.hosts[0], "")
            await settled(one, "host")
            assert await made.passes()

    asyncio.run(run())


def test_who_asks_for_relays_only_tells_no_address(lab: Lab) -> None:
    async def run() -> None:
        async with session(lab, "public-0", "public-1", relay_only=True) as one:
            await all_up(one.tunnels)
            await settled(one, "relay")
            for tunnel in one.tunnels:
                assert tunnel.candidates is not None
                assert tunnel.candidates.candidates == ()
                [peer] = (await tunnel.report()).peers
                assert {path.kind for path in peer.paths} == {"relay"}

    asyncio.run(run())


@pytest.mark.long
def test_a_relay_that_is_gone_harms_no_direct_path(lab: Lab) -> None:
    async def run() -> None:
        async with session(lab, "port-restricted-0", "port-restricted-1") as one:
            await settled(one, "reflexive")
            made = await call(one)
            mediator = {host.name: host for host in lab.hosts()}["mediator"]
            killed = await mediator.access.run(["pkill", "-KILL", PROGRAM], timeout_seconds=SECONDS)
            assert killed.exit == 0
            assert await made.passes()
            assert {tunnel.paths[1 - i].kind for i, tunnel in enumerate(one.tunnels)} == {
                "reflexive"
            }

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        pytest.param("symmetric", "userspace", marks=pytest.mark.long),
        pytest.param("udp-blocked", "userspace", marks=pytest.mark.long),
        ("udp-blocked", "tls"),
    ],
)
def test_a_mediator_that_is_restarted_breaks_no_connection(lab: Lab, kind: str, mode: str) -> None:
    async def run() -> None:
        async with session(lab, f"{kind}-0", f"{kind}-1", mode=mode) as one:
            await all_up(one.tunnels)
            made = await call(one)
            mediator = {host.name: host for host in lab.hosts()}["mediator"]
            killed = await mediator.access.run(["pkill", "-KILL", PROGRAM], timeout_seconds=SECONDS)
            assert killed.exit == 0
            again = [f"{mediator.host().tools}/{PROGRAM}", "relay"]
            async with relay_over(await one.attach(mediator, *again)) as relay:
                await relay.open(RelayOpen(udp=(3478, 3479), tcp=443))
                await relay.grant(RelayGrant(tokens=one.tokens, **LIMITS))  # type: ignore[arg-type]
                assert await made.passes()

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["userspace", "tls"])
def test_a_network_that_is_gone_for_a_while_breaks_no_connection(lab: Lab, mode: str) -> None:
    async def run() -> None:
        async with session(lab, "public-0", "public-1", mode=mode) as one:
            await all_up(one.tunnels)
            made = await call(one)
            await asyncio.to_thread(lab.set_cable, "public-0", whole=False)
            try:
                async with asyncio.timeout(SECONDS):
                    await one.tunnels[0].until(lambda it: not it.paths)
            finally:
                await asyncio.to_thread(lab.set_cable, "public-0", whole=True)
            assert await made.passes()

    asyncio.run(run())


def test_a_grant_that_is_revoked_ends_what_the_relay_carries(lab: Lab) -> None:
    async def run() -> None:
        async with session(lab, "symmetric-0", "symmetric-1") as one:
            await settled(one, "relay")
            assert (await one.relay.report()).grants == 1
            await one.relay.revoke(one.tokens[0])
            for tunnel in one.tunnels:
                async with asyncio.timeout(SECONDS):
                    await tunnel.until(lambda it: not it.paths)
            assert (await one.relay.report()).grants == 0

    asyncio.run(run())
