"""What Nebula promises beyond the contract of every overlay: keys, renewal, blocklist, firewall."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from e3.authority import nebula_cert
from e3.ceremonies.verdicts import CeremonyFailedError
from e3.errors import OverlayError
from e3.interfaces import Access, Completed, File, Host, Process, Service, SigningRequest
from e3.overlays.nebula import CONFIGURATION, CONTROL, DEVICE, SECRETS, Nebula
from tests.labs import running
from tests.mutations import bits_of_pem, flipped_pem
from tests.overlays import Mesh, ask, processes
from tests.stack import until

NAMES = ("ams3-0", "ams3-1", "ams3-2")
LINE = """
import socket, sys
if sys.argv[1] == "listen":
    server = socket.create_server((sys.argv[2], 11365))
    print(flush=True)
    connection, _ = server.accept()
    while data := connection.recv(100):
        connection.sendall(data)
else:
    connection = socket.create_connection((sys.argv[2], 11365), timeout=60)
    for line in sys.stdin:
        connection.sendall(line.encode())
        print(connection.recv(100).decode(), end="", flush=True)
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with running(tmp_path / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Nebula())
        mesh.add(*NAMES)
        yield mesh


@pytest.mark.parametrize("joint", [False, True])
def test_certificates_of_the_first_version_join_hosts_and_changed_ones_do_not(
    tmp_path: Path, *, joint: bool
) -> None:
    with running(tmp_path / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Nebula(certificate_version=1), joint=joint)
        mesh.add(*NAMES[:2])
        mesh.connect(*NAMES[:2])
        mesh.verify_pairs()
        for name in ("ca.crt", "host.crt"):
            certificate = ask(mesh.hosts[1], "cat", f"{CONFIGURATION}/{name}")
            assert asyncio.run(nebula_cert.show(certificate))["version"] == 1
        put_certificate(mesh, NAMES[1], flipped_pem(certificate, bits_of_pem(certificate) - 1))
        assert not mesh.reaches(NAMES[1], NAMES[0])
        put_certificate(mesh, NAMES[1], certificate)
        until(lambda: mesh.reaches(NAMES[1], NAMES[0]), "it is a member again")


def test_holders_certify_no_key_that_a_host_of_theirs_has_not_made(tmp_path: Path) -> None:
    """Whoever deploys asks for one in the name of ams3-1, which holds a share."""
    with running(tmp_path / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Nebula(), joint=True)
        mesh.add(*NAMES[:2])
        mesh.connect(*NAMES[:2])
        assert mesh.authority is not None
        request = SigningRequest(
            name="ams3-1",
            address="10.77.0.2/16",
            public_key=ask(mesh.host("ams3-0"), "cat", f"{SECRETS}/host.pub"),
            groups=("party",),
            valid_seconds=3600,
        )
        with pytest.raises(CeremonyFailedError, match="is not the key that ams3-1 says to have"):
            asyncio.run(mesh.authority.sign([request]))
        own = ask(mesh.host("ams3-1"), "cat", f"{SECRETS}/host.pub")
        asyncio.run(mesh.authority.sign([replace(request, public_key=own)]))


@dataclass(frozen=True)
class Overheard:
    """An access that records everything sent to its host, and received from it."""

    inner: Access
    heard: list[bytes] = field(default_factory=list)

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float
    ) -> Completed:
        done = await self.inner.run(argv, stdin=stdin, timeout_seconds=timeout_seconds)
        self.heard.extend([*(word.encode() for word in argv), stdin, done.stdout, done.stderr])
        return done

    async def put(self, files: Sequence[File], *, timeout_seconds: float) -> frozenset[str]:
        self.heard.extend(file.content for file in files)
        return await self.inner.put(files, timeout_seconds=timeout_seconds)

    async def get(self, paths: Sequence[str], *, timeout_seconds: float) -> Mapping[str, bytes]:
        found = await self.inner.get(paths, timeout_seconds=timeout_seconds)
        self.heard.extend(found.values())
        return found

    async def start(self, service: Service, *, timeout_seconds: float) -> None:
        self.heard.append(repr(service).encode())
        await self.inner.start(service, timeout_seconds=timeout_seconds)

    async def stop(self, name: str, *, timeout_seconds: float) -> None:
        await self.inner.stop(name, timeout_seconds=timeout_seconds)

    @asynccontextmanager
    async def attach(self, argv: Sequence[str]) -> AsyncIterator[Process]:
        async with self.inner.attach(argv) as process:
            yield process


def test_private_keys_stay_on_their_host(mesh: Mesh) -> None:
    overheard = [Overheard(host.access) for host in mesh.hosts]
    mesh.hosts = [
        replace(host, access=access) for host, access in zip(mesh.hosts, overheard, strict=True)
    ]
    network = mesh.connect(*NAMES)
    travelled = b"\n".join(part for access in overheard for part in access.heard)
    remembered = json.dumps(network.memory).encode()
    assert b"PUBLIC KEY" in travelled
    for host, access in zip(mesh.hosts, overheard, strict=True):
        plain = replace(host, access=access.inner)
        names = ask(plain, "find", SECRETS, "-type", "f", "!", "-name", "*.pub").split()
        assert len(names) == 1
        for name in names:
            assert ask(plain, "stat", "-c", "%a %U", name) == "600 root\n"
            secret = re.findall(r"-----\n(\S+)", ask(plain, "cat", name))[0].encode()
            assert secret not in travelled
            assert secret not in remembered
    assert b"PRIVATE KEY" not in travelled + remembered


def test_a_renewal_keeps_authority_processes_and_connections(mesh: Mesh) -> None:
    mesh.with_options(certificate_days=1.0)
    before = mesh.connect(*NAMES)
    living = [processes(host) for host in mesh.hosts]

    async def talk() -> None:
        listening, dialling = mesh.hosts[:2]
        address = before.addresses[listening.name]
        listen = [listening.python, "-I", "-c", LINE, "listen", address]
        dial = [dialling.python, "-I", "-c", LINE, "dial", address]
        async with AsyncExitStack() as attached:
            server = await attached.enter_async_context(listening.access.attach(listen))
            assert await server.stdout.readline() == b"\n"
            line = await attached.enter_async_context(dialling.access.attach(dial))

            async def say(word: bytes) -> None:
                line.stdin.write(word)
                await line.stdin.drain()
                assert await asyncio.wait_for(line.stdout.readline(), 30) == word

            await say(b"before\n")
            mesh.with_options(certificate_days=30.0)  # a third of it is more than what is left
            await asyncio.to_thread(mesh.connect, *NAMES)
            await say(b"after\n")

    until(lambda: mesh.reaches("ams3-1", "ams3-0"), "a member reaches a member")
    asyncio.run(talk())
    after = mesh.joined
    assert after.memory["authority"] == before.memory["authority"]
    assert after.memory["members"] != before.memory["members"]
    assert after.memory["blocklist"] == {}
    assert after.renew_after is not None
    assert before.renew_after is not None
    assert after.renew_after > before.renew_after
    assert [processes(host) for host in mesh.hosts] == living
    mesh.verify_pairs()


def test_who_left_stays_out_with_a_certificate_from_before_a_renewal(mesh: Mesh) -> None:
    leaving = mesh.host("ams3-2")
    mesh.with_options(certificate_days=1.0)
    mesh.connect(*NAMES)
    old = ask(leaving, "cat", f"{CONFIGURATION}/host.crt")
    mesh.with_options(certificate_days=30.0)
    mesh.connect(*NAMES)
    mesh.connect("ams3-0", "ams3-1")
    put_certificate(mesh, leaving.name, old)
    assert not mesh.reaches(leaving.name, "ams3-0")
    assert not mesh.reaches(leaving.name, "ams3-1")
    until(lambda: mesh.reaches("ams3-1", "ams3-0"), "a member reaches a member")


def test_the_firewall_admits_the_group_of_parties_only(mesh: Mesh) -> None:
    network = mesh.connect(*NAMES)
    until(lambda: mesh.reaches("ams3-2", "ams3-0"), "a member reaches a member")
    assert mesh.authority is not None
    members = network.memory["members"]
    assert isinstance(members, dict)
    request = SigningRequest(
        name="ams3-2",
        address=f"{network.addresses['ams3-2']}/16",
        public_key=members["ams3-2"]["public_key"],
        groups=("guest",),
        valid_seconds=3600,
    )
    (certificate,) = asyncio.run(mesh.authority.sign([request]))
    put_certificate(mesh, "ams3-2", certificate)
    assert not mesh.reaches("ams3-2", "ams3-0")
    # it is known, and answers; only its own calls fail
    until(lambda: mesh.reaches("ams3-0", "ams3-2"), "a member reaches a guest")


def test_paths_are_asked_by_a_socket_that_root_alone_reaches(mesh: Mesh) -> None:
    network = mesh.connect(*NAMES)
    mesh.verify_pairs()
    found = asyncio.run(mesh.overlay.paths(mesh.hosts, network))
    assert set(found.values()) == {"direct"}
    for host in mesh.hosts:
        assert ask(host, "stat", "-c", "%a %U %F", CONTROL) == "600 root socket\n"
        listening = ask(host, "ss", "-Hltn")
        assert listening == "" or ":22 " in listening  # nobody but the host's own sshd

    first = mesh.hosts[0]
    asyncio.run(first.access.stop("nebula", timeout_seconds=60))
    with pytest.raises(OverlayError, match=r"nebula ctl on host ams3-0: .* control socket"):
        asyncio.run(mesh.overlay.paths(mesh.hosts, network))


def test_a_host_that_was_joined_by_an_older_e3_begins_anew_with_its_keys(mesh: Mesh) -> None:
    before = mesh.connect(*NAMES)
    first = mesh.hosts[0]
    # What 1.11 had: keys of a debug console, and no control socket.
    ask(first, "touch", f"{SECRETS}/debug", f"{SECRETS}/debug.pub")
    start_as_before(first)
    after = mesh.connect(*NAMES)
    assert after.memory == before.memory
    assert ask(first, "ls", SECRETS).split() == ["host.key", "host.pub"]
    mesh.verify_pairs()


def start_as_before(host: Host) -> None:
    """Run Nebula on a host with the configuration that E3 wrote for 1.11."""
    configuration = json.loads(ask(host, "cat", f"{CONFIGURATION}/config.yml"))
    configuration["local_api"] = {"control": {"enabled": False}}
    del configuration["tun"]["use_offloads"]
    del configuration["listen"]["udp_offloads"]
    path = f"{CONFIGURATION}/config.yml"
    service = Service(
        name="nebula",
        argv=(f"{host.tools}/nebula", "-config", path),
        environment={"E3_REVISION": "old"},
        ready=("ip", "link", "show", "dev", DEVICE, "up"),
    )

    async def start() -> None:
        file = File(path=path, content=json.dumps(configuration).encode())
        await host.access.put([file], timeout_seconds=60)
        await host.access.start(service, timeout_seconds=60)

    asyncio.run(start())


@pytest.mark.parametrize("says", ["Version: 1.11.2", "Version: ", "Version: 1.9.7-2"])
def test_an_older_nebula_is_refused_before_anything_is_signed(mesh: Mesh, says: str) -> None:
    first = mesh.hosts[0]
    script = f"#!/bin/sh\necho '{says}'\n".encode()
    tools = "/run/older"
    files = [File(path=f"{tools}/nebula", content=script, mode=0o755)]
    asyncio.run(first.access.put(files, timeout_seconds=60))
    ask(first, "ln", "-s", f"{first.tools}/nebula-cert", f"{tools}/nebula-cert")
    mesh.hosts[0] = replace(first, tools=tools)
    with pytest.raises(OverlayError, match=r"ams3-0 has Nebula .* older than 1\.12; .*another"):
        mesh.connect(*NAMES)
    assert all("nebula -config" not in line for host in mesh.hosts for line in processes(host))


def put_certificate(mesh: Mesh, name: str, certificate: str) -> None:
    """Restart Nebula on a host with another certificate for the same key."""
    file = File(path=f"{CONFIGURATION}/host.crt", content=certificate.encode())
    asyncio.run(mesh.host(name).access.put([file], timeout_seconds=60))
    mesh.restart_services(name)
