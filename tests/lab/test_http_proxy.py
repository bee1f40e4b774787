"""A network from which only an HTTP proxy leads out, and only to port 443."""

import asyncio
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.lab.client import HostHandle, Lab
from tests.labs import running

pytestmark = pytest.mark.skipif(
    shutil.which("tinyproxy") is None, reason="tinyproxy is not installed"
)

ECHO = """
import socket, sys, threading
def serve(listener):
    while True:
        connection, _ = listener.accept()
        connection.sendall(connection.recv(100)[::-1])
        connection.close()
for port in (443, 8443):
    listener = socket.create_server(("", port))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
print("listening", flush=True)
sys.stdin.read()
"""
ASK = """
import socket, sys
address, port = sys.argv[1].split(":")
connection = socket.create_connection((address, int(port)), timeout=5)
connection.sendall(f"CONNECT {sys.argv[2]} HTTP/1.1\\r\\nHost: {sys.argv[2]}\\r\\n\\r\\n".encode())
head = b""
while not head.endswith(b"\\r\\n\\r\\n"):
    part = connection.recv(1)
    if not part:
        break
    head += part
print(head.split(b"\\r\\n")[0].decode())
if b" 200 " in head:
    connection.sendall(b"over the proxy")
    print(connection.recv(100).decode())
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("lab"), {("a", "b"): 2.0}, ["a", "b"]) as lab:
        lab.add_host("a-0", "a")
        lab.add_host("b-0", "b", "http-proxy")
        yield lab


def said(host: HostHandle, *argv: str) -> str:
    done = asyncio.run(host.access.run(argv, timeout_seconds=60))
    return (done.stdout + done.stderr).decode()


def test_the_proxy_alone_leads_out(lab: Lab) -> None:
    hosts = {host.name: host for host in lab.hosts()}
    server, host = hosts["a-0"], hosts["b-0"]
    proxy = host.host().http_proxy
    assert proxy.startswith("172.")
    assert not server.host().http_proxy

    async def run() -> None:
        async with server.access.attach(["python3", "-c", ECHO]) as serving:
            assert await serving.stdout.readline() == b"listening\n"
            for port, told in ((443, "200"), (8443, "403")):
                place = f"{server.underlay}:{port}"
                done = await host.access.run(
                    ["python3", "-c", ASK, proxy, place], timeout_seconds=60
                )
                first, *rest = done.stdout.decode().splitlines()
                assert f" {told} " in first
                assert rest == (["yxorp eht revo"] if port == 443 else [])

    asyncio.run(run())
    assert "100% packet loss" in said(host, "ping", "-c1", "-W1", server.underlay)
    dial = f"import socket; socket.create_connection(('{server.underlay}', 443), timeout=1)"
    assert "timed out" in said(host, "python3", "-c", dial)


def test_the_proxy_comes_back_with_its_router_and_goes_with_its_host(lab: Lab) -> None:
    (host,) = (it for it in lab.hosts() if it.name == "b-0")
    address, _, port = host.host().http_proxy.partition(":")
    dial = f"import socket; socket.create_connection(({address!r}, {port}))"
    lab.reboot_nat("b-0")
    assert said(host, "python3", "-c", dial) == ""
    daemon = lab.status()["pid"]

    def proxies() -> int:
        command = ["ps", "--ppid", str(daemon), "-o", "comm="]
        listed = subprocess.run(command, capture_output=True, check=True)
        return listed.stdout.decode().split().count("tinyproxy")

    assert proxies() == 1
    lab.remove_host("b-0")
    assert proxies() == 0


def test_what_routers_run_dies_with_the_labs_daemon(tmp_path: Path) -> None:
    with running(tmp_path / "lab", None, ["a"]) as lab:
        lab.add_hosts([("a-0", "a"), ("a-1", "a")], {"a-0": "http-proxy", "a-1": "port-mapping"})
        daemon = lab.status()["pid"]
        children = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
        names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
        assert {"tinyproxy", "e3-port-mapper"} <= names
        held = [os.pidfd_open(int(pid)) for pid in children]
        try:
            os.kill(daemon, signal.SIGKILL)
            for descriptor in held:
                assert select.select([descriptor], [], [], 10)[0]
        finally:
            for descriptor in held:
                os.close(descriptor)
