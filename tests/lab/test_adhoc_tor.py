"""A mediator that learns no party's address: an onion service of a real Tor network, in a lab.

The network has one authority and three relays, as the overlay `tor` has; each party calls the
mediator through a Tor client of its own, at which `--proxy` points.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e3.interfaces import File
from e3.lab.client import HostHandle, Lab
from e3.overlays.tor.network import COMMON, SMALL, TESTING, Relays
from tests.adhoc import E3, LINK, PersonAtHome, acquainted, rooms_work, serving
from tests.commands import ROOT
from tests.lab.test_adhoc import AUCTION, person
from tests.labs import running
from tests.stack import until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.long,
    pytest.mark.skipif(
        not rooms_work() or os.geteuid() != 0 or shutil.which("tor") is None,
        reason="needs user namespaces, /dev/net/tun, e3-tunnel, tor, and a lab of root's",
    ),
]

RELAYS, DIRECTORY_PORT = "b-0", 9001
HIDDEN, MEDIATOR = "/var/lib/onion", "127.0.0.1:8440"
SOCKS = "socks5://127.0.0.1:9050"
ASK = """
import asyncio, sys
import aiohttp
from e3.didcomm.mailbox import find
from e3.didcomm.proxy import connector

async def ask(proxy, url):
    async with aiohttp.ClientSession(connector=connector(proxy)) as http:
        await find(http, url)

asyncio.run(ask(*sys.argv[1:]))
"""
SECONDS = 240.0
"""For a network that begins, and a session each message of which takes six hops."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("tor"), {("a", "b"): 10.0}, ["a", "b"]) as made:
        made.add_hosts([("a-0", "a"), ("b-1", "b"), ("b-0", "b"), ("b-2", "b")], {})
        yield made


@pytest.fixture
def hosts(lab: Lab) -> dict[str, HostHandle]:
    return {each.name: each for each in lab.hosts()}


async def network(hosts: dict[str, HostHandle]) -> str:
    """Run a network on the host of the relays; return what a client's configuration has of it."""
    relays = Relays(hosts=1, port=DIRECTORY_PORT)
    carrier = [hosts[RELAYS].host()]
    roles = await relays.identify(carrier, [])
    await relays.serve(carrier, roles)
    return f"{COMMON}{TESTING}{SMALL}{roles.line}\n"


def client(host: HostHandle, configuration: str, folder: Path) -> subprocess.Popen[bytes]:
    """Run Tor on a host, which is told what it needs to know by ``configuration``."""
    path = f"/tmp/torrc-{host.name}"  # noqa: S108 - the host's own
    text = f"{configuration}DataDirectory /var/lib/tor-{host.name}\n"
    file = File(path=path, content=text.encode())
    asyncio.run(host.access.put([file], timeout_seconds=30))
    with (folder / f"{host.name}.log").open("wb") as log:
        return subprocess.Popen(
            [*host.access.nsenter(), "--", "tor", "-f", path],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def read(host: HostHandle, path: str) -> str:
    """Return a file of a host, empty if there is none yet."""
    done = subprocess.run(
        [*host.access.nsenter(), "--", "cat", path], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def answers(host: HostHandle, url: str) -> bool:
    """Return whether a host's Tor finds the onion service, and that its mediator."""
    asked = [*host.access.nsenter(), "--", sys.executable, "-c", ASK, SOCKS, url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stderr[-300:])  # shown if it fails
    return done.returncode == 0


def connections(host: HostHandle) -> str:
    """Return the addresses with which a host has connections of TCP."""
    return subprocess.run(
        [*host.access.nsenter(), "--", "ss", "-Htn"], capture_output=True, text=True, check=True
    ).stdout


def test_people_meet_by_a_mediator_that_learns_no_address(
    hosts: dict[str, HostHandle], tmp_path: Path
) -> None:
    """Their tunnel is direct, as both can be reached; the mediator has connections of Tor alone."""
    known = asyncio.run(network(hosts))
    served = f"SocksPort 0\nHiddenServiceDir {HIDDEN}\nHiddenServicePort 80 {MEDIATOR}\n"
    settings = {"b-1": f"{known}{served}", "a-0": f"{known}SocksPort 9050\n"}
    settings["b-2"] = settings["a-0"]
    with ExitStack() as stack:
        for name, configuration in settings.items():
            process = client(hosts[name], configuration, tmp_path)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        there = hosts["b-1"]
        until(lambda: read(there, f"{HIDDEN}/hostname") != "", "the onion's name", SECONDS)
        url = f"http://{read(there, f'{HIDDEN}/hostname')}/"
        argv = ["--listen", MEDIATOR, "--url", url, "--without-relay"]
        inside = [*there.access.nsenter(), "--"]
        home = {**os.environ, "E3_HOME": str(tmp_path / "mediator")}
        stack.enter_context(serving([*inside, E3, "mediator", *argv], home))

        for name in ("a-0", "b-2"):
            until(lambda: answers(hosts[name], url), "the onion service answers", SECONDS)  # noqa: B023 - called at once
        alice, bob = person(hosts["a-0"], "tora", url), person(hosts["b-2"], "torb", url)
        acquainted([alice, bob])
        meet(alice, bob, hosts)


def meet(alice: PersonAtHome, bob: PersonAtHome, hosts: dict[str, HostHandle]) -> None:
    """Let two people compute by the onion service; fail if its host has learned an address."""
    asked = ("invite", AUCTION, "--parties", "2", "--yes", "--proxy", SOCKS, "--", "--bid", "200")
    with alice.typing(*asked) as a:
        link = a.await_text(LINK.pattern, SECONDS)[1]
        bid = ("join", link, "--yes", "--proxy", SOCKS, "--", "--bid", "310")
        with bob.typing(*bid) as b:
            a.await_text("connected to party", SECONDS)
            at_mediator = connections(hosts["b-1"])
            for each in (a, b):
                each.await_text("wins and pays 200", SECONDS)
                assert each.end() == 0
    assert hosts[RELAYS].underlay in at_mediator
    assert not [name for name in ("a-0", "b-2") if hosts[name].underlay in at_mediator]
