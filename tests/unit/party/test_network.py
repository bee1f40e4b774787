"""The rules that limit a program to its peers, in a network namespace of the test's own."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root makes rules")

USER = 0x40001234

PRELUDE = """
import json, os, signal, socket, subprocess, sys
from e3.party.network import fence

USER = 0x40001234
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "link", "add", "out", "type", "veth", "peer", "name", "in"], check=True)
for end in ("out", "in"):
    subprocess.run(["ip", "link", "set", end, "up"], check=True)
subprocess.run(["ip", "addr", "add", "192.0.2.1/24", "dev", "out"], check=True)
subprocess.run(["ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "out", "nodad"], check=False)

def as_party(act):
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        os.write(writing, json.dumps(act()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = json.loads(pipe.read())
    os.wait()
    return said

def reach(address, port, kind=socket.SOCK_STREAM, own=None):
    end = own or socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    end.settimeout(0.3)
    try:
        if kind == socket.SOCK_DGRAM:
            end.sendto(b"x", (address, port))
        else:
            end.connect((address, port))
    except TimeoutError:
        return "sent"
    except OSError as error:
        return type(error).__name__
    return "sent"
"""


def inside(program: str) -> object:
    """Run a program in a new network namespace; return what it prints as JSON."""
    text = PRELUDE + textwrap.dedent(program)
    argv = ["unshare", "--net", sys.executable, "-c", text]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_peers_and_nothing_else() -> None:
    said = inside("""
        held = fence("test", USER, ("192.0.2.1", 11365), [("192.0.2.7", 11366), ("2001:db8::7", 2)])
        print(json.dumps(as_party(lambda: [
            reach("192.0.2.7", 11366),
            reach("192.0.2.7", 11367),
            reach("192.0.2.8", 11366),
            reach("192.0.2.7", 11366, socket.SOCK_DGRAM),
            reach("2001:db8::8", 2),
        ])))
        """)
    assert said == [
        "sent",
        *["ConnectionRefusedError"] * 2,
        "PermissionError",
        "ConnectionRefusedError",
    ]


def test_others_are_not_asked_and_all_is_gone_with_its_maker() -> None:
    said = inside("""
        held = fence("test", USER, ("192.0.2.1", 11365), [])
        listed = lambda: subprocess.run(["nft", "list", "tables"], capture_output=True).stdout
        said = [listed().decode(), reach("192.0.2.8", 80)]
        held.close()
        said += [listed().decode(), as_party(lambda: reach("192.0.2.8", 80))]
        print(json.dumps(said))
        """)
    assert said == ["table inet test\n", "sent", "", "sent"]


def test_the_loopback_has_what_nobody_held_before() -> None:
    said = inside("""
        services = [socket.create_server(("127.0.0.1", port)) for port in (80, 8080, 50_000)]
        named = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        named.bind(("127.0.0.1", 5353))
        held = fence("test", USER, ("192.0.2.1", 11365), [])
        def act():
            own = [socket.create_server(("127.0.0.1", port)) for port in (8081, 0)]
            ports = [80, 8080, 50_000, *(server.getsockname()[1] for server in own)]
            return [
                *(reach("127.0.0.1", port) for port in ports),
                reach("127.0.0.1", 5353, socket.SOCK_DGRAM),
                reach("127.0.0.1", 5354, socket.SOCK_DGRAM),
                reach("192.0.2.1", 8081),
            ]
        print(json.dumps(as_party(act)))
        """)
    refused = "ConnectionRefusedError"
    assert said == [refused, refused, refused, "sent", "sent", "PermissionError", "sent", refused]


def test_a_tunnel_of_the_kernel_carries_what_may_pass_and_nobody_forges_it() -> None:
    said = inside("""
        def bound(port, *options):
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for option in options:
                end.setsockopt(socket.SOL_SOCKET, option, 1)
            end.bind(("0.0.0.0", port))
            return end
        # their packets are the party's by their user, as an outer packet is its sender's
        os.setresuid(-1, USER, -1)
        tunnel, shared = bound(51_820), bound(5353, socket.SO_REUSEADDR)
        os.setresuid(-1, 0, -1)
        held = fence("test", USER, ("192.0.2.1", 11365), [])
        def forge():
            try:
                return reach("192.0.2.8", 9, socket.SOCK_DGRAM, bound(51_820, socket.SO_REUSEADDR))
            except OSError as error:
                return error.strerror
        print(json.dumps(as_party(lambda: [
            reach("192.0.2.8", 9, socket.SOCK_DGRAM, tunnel),
            reach("192.0.2.8", 9, socket.SOCK_DGRAM, shared),
            forge(),
        ])))
        """)
    assert said == ["sent", "PermissionError", "Address already in use"]
