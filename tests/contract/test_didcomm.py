"""What is special about the overlay didcomm, on hosts of a real lab."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from e3.interfaces import PARTY_PORT, Host, Network
from e3.overlays.didcomm import ASK, CONFIGURATION, CONTROL, PROGRAM, SECRETS, Didcomm
from e3.session.plan import plan
from e3.session.programs import load
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict
from tests.labs import running
from tests.overlays import Mesh, ask
from tests.stack import until

NAMES = ("ams3-0", "ams3-1", "sgp1-0")
RTT_MS = {("ams3", "ams3"): 0.0, ("sgp1", "sgp1"): 0.0, ("ams3", "sgp1"): 5.0}
DEMO = Path("demos/helloworld.py")
SERVE = """
import socket, sys
with socket.create_server((sys.argv[1], 11365)) as listening:
    print(flush=True)
    connection, source = listening.accept()
    connection.sendall(b"welcome\\n")
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    print(source[0], flush=True)
"""
CALL = """
import os, socket, sys, threading
sent = os.urandom(3_000_000)
with socket.create_connection((sys.argv[1], 11365), 20) as connection:
    connection.settimeout(20)
    threading.Thread(target=lambda: (connection.sendall(sent), connection.shutdown(1))).start()
    got = bytearray()
    while data := connection.recv(65536):
        got += data
print(got == b"welcome\\n" + sent)
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with running(tmp_path / "lab", RTT_MS, ("ams3", "sgp1")) as lab:
        mesh = Mesh(lab, Didcomm())
        mesh.add(*NAMES)
        yield mesh


def status(mesh: Mesh, name: str) -> dict[str, object]:
    """Return what an agent tells; nothing while it starts."""
    host = mesh.host(name)
    script = '"$@" || echo "{}"'
    argv = (host.python, "-I", "-S", "-c", ASK, PROGRAM, CONTROL)
    said: dict[str, object] = json.loads(ask(host, "sh", "-c", script, "sh", *argv))
    return said


def settings(mesh: Mesh, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        ask(mesh.host(name), "cat", f"{CONFIGURATION}/agent.json")
    )
    return found


def write(mesh: Mesh, name: str, told: str) -> None:
    """Write the settings of an agent, and let it read them."""
    script = 'printf %s "$1" >"$2"; s6-svc -h /run/service/didcomm'
    path = f"{CONFIGURATION}/agent.json"
    ask(mesh.host(name), "sh", "-c", script, "sh", told, path)


def complained(mesh: Mesh, name: str, times: int) -> bool:
    """Return whether an agent has said so often that it cannot read its settings."""
    script = 'grep -c "the settings cannot be read" /var/log/didcomm/current || :'
    return int(ask(mesh.host(name), "sh", "-c", script)) == times


def test_who_has_the_invitation_of_another_is_refused_and_the_others_go_on(mesh: Mesh) -> None:
    """A stolen link: its seat is taken, by the first who showed it."""
    mesh.connect(*NAMES)
    mesh.verify_pairs()
    stolen, own = settings(mesh, "ams3-1"), settings(mesh, "sgp1-0")
    thief = mesh.host("sgp1-0")
    ask(thief, "rm", "-f", f"{SECRETS}/roster.json")
    write(mesh, "sgp1-0", json.dumps({**own, "link": stolen["link"]}))
    ask(thief, "s6-svc", "-wr", "-r", "/run/service/didcomm")
    until(
        lambda: status(mesh, "sgp1-0").get("refusal") == "another agent has that seat",
        lambda: f"the thief is told: {status(mesh, 'sgp1-0')}",
    )
    assert mesh.reaches("ams3-1", "ams3-0")
    assert not mesh.reaches("sgp1-0", "ams3-0")
    # with its own link it is back
    write(mesh, "sgp1-0", json.dumps(own))
    ask(thief, "s6-svc", "-wr", "-r", "/run/service/didcomm")
    until(lambda: bool(status(mesh, "sgp1-0").get("paths")), "it knows the members again")
    mesh.verify_pairs()


def test_settings_that_cannot_be_read_change_nothing(mesh: Mesh) -> None:
    mesh.connect(*NAMES)
    mesh.verify_pairs()
    for number, content in enumerate(("", "[]", '{"link": "nonsense"}', "x" * 100_000), 1):
        write(mesh, "ams3-1", content)
        until(partial(complained, mesh, "ams3-1", number), f"it reads {content[:30]}")
        assert status(mesh, "ams3-1")["refusal"] == ""
    mesh.verify_pairs()


def test_another_host_convenes_once_the_first_is_gone(mesh: Mesh) -> None:
    """The one that stays invites all anew; addresses and tunnels of the others go on."""
    mesh.add("ams3-2")
    names = (*NAMES, "ams3-2")
    before = mesh.connect(*names)
    convener = str(before.memory["convener"])
    mesh.verify_pairs()
    staying = [name for name in names if name != convener]
    mesh.disconnect(convener)
    after = mesh.connect(*staying)
    assert after.memory["convener"] in staying
    assert after.addresses == {name: before.addresses[name] for name in staying}
    mesh.verify_pairs()
    until(
        lambda: not any(status(mesh, name).get("missing") for name in staying),
        lambda: f"all have their seats: {[status(mesh, name) for name in staying]}",
    )
    assert not any(convener in str(status(mesh, name)["paths"]) for name in staying)


def test_messages_carry_connections_and_a_session(mesh: Mesh, tmp_path: Path) -> None:
    span = IPv4Network("127.76.0.0/16")
    mesh.with_options(mode="messages", purpose="comparison", range=span)
    network = mesh.connect(*NAMES)
    assert {path.path_class for path in mesh.verify_pairs()} == {"relayed"}
    source = asyncio.run(echoed(mesh.host("sgp1-0"), mesh.host("ams3-1"), network))
    assert source == network.addresses["sgp1-0"]
    spec = SessionSpec(
        plan=plan(
            hosts=mesh.hosts,
            addresses=network.addresses,
            program=load(DEMO),
            parties=len(NAMES),
            base_port=PARTY_PORT,
        ),
        hosts=mesh.hosts,
        overlay="didcomm",
        sessions=tmp_path / "sessions",
        deadline_seconds=60,
        address_trust=mesh.overlay.needs.address_trust,
    )
    result = asyncio.run(run_session(spec))
    assert result.verdict is Verdict.COMPLETED, result.reason


async def echoed(caller: Host, called: Host, network: Network) -> str:
    """Return the address from which a host is called that echoes all that comes."""
    address = network.addresses[called.name]
    serve = [called.python, "-I", "-c", SERVE, address]
    call = [caller.python, "-I", "-c", CALL, address]
    async with called.access.attach(serve) as serving, asyncio.timeout(60):
        assert await serving.stdout.readline() == b"\n"
        done = await caller.access.run(call, timeout_seconds=60)
        assert done.stdout == b"True\n", done
        return (await serving.stdout.readline()).decode().strip()
