"""What only Tor promises: only the holder of one key can connect; a daemon that dies restarts."""

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from e3 import contact
from e3.access.namespace import NamespaceAccess
from e3.interfaces import PARTY_PORT, File, Host, Service
from e3.overlays.tor.network import CONFIGURATION, SCRIPT, SECRETS, data_of
from e3.overlays.tor.overlay import CONTROL, SERVICE, SOCKS, Tor
from e3.overlays.unit import script
from tests import machines
from tests.labs import running
from tests.overlays import Mesh, ask
from tests.stack import until

NAMES = ("ams3-0", "ams3-1")
SECONDS = 60.0
PORT = PARTY_PORT

PROBE = """
import base64, socket, sys
onion, key = sys.argv[1:]
place = "/var/lib/e3/tor/"
control = socket.socket(socket.AF_UNIX)
control.connect(place + "control")
said = control.makefile("rw", newline="\\r\\n")
forget = f"ONION_CLIENT_AUTH_REMOVE {onion}"
known = f"ONION_CLIENT_AUTH_ADD {onion} x25519:{key}" if key else forget
for command in ("AUTHENTICATE", known):
    print(command, file=said, end="\\r\\n", flush=True)
    assert said.readline().startswith("25")
socks = socket.socket(socket.AF_UNIX)
socks.connect(place + "socks")
name = f"{onion}.onion".encode()
socks.sendall(b"\\5\\1\\0\\5\\1\\0\\3" + bytes([len(name)]) + name + bytes([0, 1]))
answer = b""
while len(answer) < 4:
    answer += socks.recv(4 - len(answer)) or sys.exit("Tor has hung up")
print(f"{answer[3]:x}")
"""
"""Prints Tor's answer to a connection to a service's port 1, with a key or without one."""

FORGET = """
import socket
with socket.socket(socket.AF_UNIX) as control:
    control.connect("/var/lib/e3/tor/control")
    control.sendall(b"AUTHENTICATE\\r\\nSIGNAL NEWNYM\\r\\nQUIT\\r\\n")
    assert control.makefile().read().startswith("250 OK")
"""
"""Makes Tor forget keys, services and circuits."""

ECHO = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
    with connection:
        while said := connection.recv(4096):
            connection.sendall(said)
    server.setblocking(False)
    try:
        server.accept()
    except BlockingIOError:
        print("1 connection", flush=True)
sys.stdin.read()
"""
COUNT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
    number = 0
    while True:
        for _ in range(20):
            said = number.to_bytes(4)
            connection.sendall(said)
            heard = b""
            while len(heard) < 4:
                part = connection.recv(4 - len(heard))
                assert part, f"it ends at {number}"
                heard += part
            assert heard == said
            number += 1
        print(number, flush=True)
        if number == 40 or not sys.stdin.readline():
            break
sys.stdin.read()
"""
"""Counts over one connection, and says after each twenty that they came back; goes on when told."""

CONNECTED, NO_KEY, WRONG_KEY = "0", "f4", "f5"
"""SOCKS status; the errors are those of Tor's proposal 304."""

FORGED = base64.b64encode(bytes(range(32))).decode()
"""A key that no host has."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Yield two hosts that are joined, and one that is not."""
    with running(tmp_path_factory.mktemp("tor") / "lab", regions=("ams3",)) as lab:
        mesh = Mesh(lab, Tor())
        mesh.add(*NAMES, "ams3-2")
        mesh.connect(*NAMES)
        yield mesh


def start_tor(host: Host, torrc: str) -> None:
    """Start a Tor on a host that is no member, in the same network as the others."""
    ask(host, "mkdir", "-p", "-m", "700", SECRETS)
    start = script(SCRIPT).replace("unix:$3", "unix:$3 ExtendedErrors")
    places = (f"{CONFIGURATION}/torrc", data_of(SERVICE), SOCKS, CONTROL)
    service = Service(
        name=SERVICE,
        argv=("sh", "-c", start, SCRIPT, "serve", *places),
        ready=("grep", "-q", "Bootstrapped 100%", f"/var/log/{SERVICE}/current"),
    )
    files = [File(path=f"{CONFIGURATION}/torrc", content=torrc.encode())]
    asyncio.run(host.access.put(files, timeout_seconds=SECONDS))
    asyncio.run(host.access.start(service, timeout_seconds=SECONDS))


def test_only_the_holder_of_the_key_can_connect(mesh: Mesh) -> None:
    member, outsider = mesh.host("ams3-1"), mesh.host("ams3-2")
    torrc = ask(member, "cat", f"{CONFIGURATION}/torrc")
    start_tor(outsider, torrc)
    configuration = json.loads(ask(member, "cat", f"{CONFIGURATION}/onion_proxy.json"))
    onion = configuration["peers"]["ams3-0"]["onion"]

    def probe(key: str) -> str:
        return ask(outsider, outsider.python, "-I", "-c", PROBE, onion, key).strip()

    until(lambda: probe("") == NO_KEY, "without a key nobody can even read where it is", SECONDS)
    until(lambda: probe(FORGED) == WRONG_KEY, "another key opens nothing", SECONDS)
    stolen = ask(member, "sh", "-c", f"tail -c 32 {SECRETS}/keys/client.der | base64").strip()
    until(lambda: probe(stolen) == CONNECTED, "the right key connects", SECONDS)


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")
def test_machines_are_joined_by_a_user_without_rights(tmp_path: Path) -> None:
    with running(tmp_path / "lab", regions=("ams3",)) as lab, ExitStack() as servers:
        machines.keys(lab.folder)
        mesh = Mesh(lab, Tor())
        mesh.add(*NAMES)
        for index, host in enumerate(mesh.hosts):
            inside = cast(NamespaceAccess, host.access)
            machines.add_user(inside, lab.folder, sudo=False)
            machine = servers.enter_context(machines.opened(inside))
            access = machines.access(machine, lab.folder, "user")
            mesh.hosts[index] = replace(host, access=access, python="python3")
        mesh.connect(*NAMES)
        mesh.verify_pairs()
        users = ask(mesh.hosts[0], "ps", "-C", "tor", "-o", "user=").split()
        assert set(users) == {machines.USER}
        assert len(users) == 5  # its own, the authority and three relays
        mesh.disconnect(*NAMES)


def test_a_tor_that_has_forgotten_its_keys_is_told_them_again(mesh: Mesh) -> None:
    ask(mesh.host("ams3-1"), "python3", "-I", "-c", FORGET)
    mesh.verify_pairs()


def test_a_stream_goes_on_over_the_circuits_of_the_next_tor(mesh: Mesh) -> None:
    one, other = (mesh.host(name) for name in NAMES)
    there = mesh.joined.addresses[other.name]
    asyncio.run(count_across(one, other, there))


async def count_across(one: Host, other: Host, there: str) -> None:
    """Count from a host to another and back, while the first one's Tor is killed."""
    async with other.access.attach([other.python, "-I", "-c", ECHO, there, str(PORT)]) as echo:
        assert await echo.stdout.readline() == b"listening\n"
        async with one.access.attach([one.python, "-I", "-c", COUNT, there, str(PORT)]) as count:
            async with asyncio.timeout(2 * SECONDS):
                assert await count.stdout.readline() == b"20\n"
                kill = ["s6-svc", "-k", f"/run/service/{SERVICE}"]
                await one.access.run(kill, timeout_seconds=SECONDS)
                count.stdin.write(b"\n")
                await count.stdin.drain()
                assert await count.stdout.readline() == b"40\n"
        assert await echo.stdout.readline() == b"1 connection\n"


@pytest.mark.parametrize(
    "service", [pytest.param("tor", marks=pytest.mark.long), "tor-gate", "tor-streams"]
)
def test_what_dies_comes_back(mesh: Mesh, service: str) -> None:
    ask(mesh.host("ams3-0"), "s6-svc", "-wr", "-k", f"/run/service/{service}")
    hosts = [mesh.host(name) for name in NAMES]
    found = asyncio.run(
        contact.survey(mesh.overlay, hosts, mesh.joined, timeout_seconds=2 * SECONDS)
    )
    assert not found.silent
    assert len(found.paths) == 2
