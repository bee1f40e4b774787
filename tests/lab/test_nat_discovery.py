"""NATs as coturn's client sees them, by NAT Behavior Discovery (RFC 5780) with coturn's server.

Unlike STUN it needs a server with two addresses. The lab's router delivers a second one there.
"""

import asyncio
import shutil
from collections.abc import Iterator

import pytest

from e3.lab.client import HostHandle, Lab
from e3.lab.vantage import vantages
from e3.nats import NatBehaviour
from tests.labs import running

pytestmark = pytest.mark.skipif(
    shutil.which("turnutils_natdiscovery") is None, reason="coturn is not installed"
)

SECOND = "198.18.0.250"
FREE, ADDRESS, STRICT = "Endpoint Independent", "Address Dependent", "Address and Port Dependent"
KINDS: dict[str, tuple[str | NatBehaviour, str, str]] = {
    "full-cone": ("full-cone", FREE, FREE),
    "address": ("address-restricted", FREE, ADDRESS),
    "home": ("home", FREE, STRICT),
    "symmetric": ("symmetric", STRICT, STRICT),
    "cgnat": ("cgnat", FREE, STRICT),
    "drawn": (NatBehaviour(ports="random"), FREE, STRICT),
    "by-address": (
        NatBehaviour(mapping="address-dependent", filtering="address-dependent", ports="random"),
        ADDRESS,
        ADDRESS,
    ),
}
LIMIT_SECONDS = 60.0
CLIENT = "turnutils_stunclient"  # it waits for ever for what is lost
SERVER = [
    *("turnserver", "-n", "--stun-only", "--no-auth", "--no-cli", "--no-tls", "--no-dtls"),
    *("--log-file=/dev/null", "--pidfile=/run/turnserver.pid", "--userdb=/run/turndb"),
]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, dict[str, HostHandle]]]:
    with running(tmp_path_factory.mktemp("nats"), {("a", "b"): 0.0}, ["a", "b"]) as lab:
        lab.add_host("a-0", "a")
        lab.add_hosts([(name, "b") for name in KINDS], {n: kind for n, (kind, *_) in KINDS.items()})
        yield lab, {host.name: host for host in lab.hosts()}


async def said(host: HostHandle, *argv: str) -> str:
    done = await host.access.run(argv, timeout_seconds=LIMIT_SECONDS)
    return (done.stdout + done.stderr).decode()


async def answers(host: HostHandle, server: str) -> None:
    """Wait until the server answers."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            if "reflexive addr" in await said(host, "timeout", "2", CLIENT, server):
                return
            await asyncio.sleep(0.1)


def test_coturn_names_mapping_and_filtering(hosts: tuple[Lab, dict[str, HostHandle]]) -> None:
    lab, known = hosts
    server = known["a-0"]

    async def seen(name: str) -> tuple[str, str]:
        ask = ["turnutils_natdiscovery", "-L", known[name].underlay]
        both = [await said(known[name], *ask, way, server.underlay) for way in ("-m", "-f")]
        lines = [line for text in both for line in text.splitlines() if line.startswith("NAT with")]
        return tuple(lines)  # type: ignore[return-value] # compared as it is

    async def run() -> None:
        await said(server, "ip", "address", "add", f"{SECOND}/32", "dev", "eth0")
        own = ["-L", server.underlay, "-L", SECOND]
        async with (
            vantages(lab).delivered(SECOND, server.host()),
            server.access.attach([*SERVER, *own]),
        ):
            await answers(server, server.underlay)
            found = await asyncio.gather(*(seen(name) for name in KINDS))
        expected = [
            (f"NAT with {mapping} Mapping!", f"NAT with {filtering} Filtering!")
            for _, mapping, filtering in KINDS.values()
        ]
        assert dict(zip(KINDS, found, strict=True)) == dict(zip(KINDS, expected, strict=True))

    asyncio.run(run())
