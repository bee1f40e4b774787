"""Tailscale's client on a host, whoever runs its control server."""

import asyncio
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from e3.errors import ConfigurationError, OverlayError
from e3.interfaces import Completed, File, Host, Network, PathClass, Paths, Relayed, Service

SERVICE = "tailscaled"
CONFIGURATION = "/run/e3/tailscale"
SECRETS = "/var/lib/e3/tailscale"
SOCKET = f"{CONFIGURATION}/tailscaled.sock"
TRUSTED = f"{CONFIGURATION}/control.crt"
KEY_FOLDERS = ("/var/keys", "/run/keys")
"""Where a key may lie, the first that can be written to: some machines have /var read-only."""

KEY = "tailnet"
FIND_KEY_FOLDER = (
    "umask 077; for folder in {}; do "
    'mkdir -p "$folder" 2>/dev/null && [ -w "$folder" ] && break; done'
).format(" ".join(KEY_FOLDERS))
TIMEOUT_SECONDS = 30.0
LOGIN_SECONDS = 30
LOGOUT_SECONDS = 10
REMOVE = '[ ! -d "$1" ] || TS_LOGS_DIR="$1" "$3" --cleanup; rm -rf "$1" "$2"'
FORGET = f'for folder in {" ".join(KEY_FOLDERS)}; do rm -f "$folder/{KEY}"; rmdir "$folder"; done'
NEVER = "0001-"  # the zero of time in Go
# With "given" the key comes by standard input: no command line shows it.
LOG_IN = f"""
{FIND_KEY_FOLDER}; given=$1; shift
[ -z "$given" ] || cat >"$folder/{KEY}"
"$@" "--auth-key=file:$folder/{KEY}"; status=$?
if [ "$given" ] || [ $status = 0 ]; then {{ {FORGET}; }} 2>/dev/null; fi
exit $status
"""
RELAY = re.compile(r" via (?:DERP|peer-relay)\((?P<by>.*?)\) in ")
# Asks the client itself, by its socket, until it knows its state and each peer of these
# addresses; one with a + before it is greeted first, and known once there is a tunnel. A process
# for each question would keep the processors of many hosts' machine busy while they have better
# things to do, and so would too many questions about too many peers.
LOOK = f"""
import json, socket, sys, time
end, awaited = time.monotonic() + float(sys.argv[2]), sys.argv[3:]
path = "/localapi/v0/status" + ("" if awaited else "?peers=false")
head = f"GET {{path}} HTTP/1.0\\r\\nHost: local-tailscaled.sock\\r\\nSec-Tailscale: localapi"
missing, pause = set(awaited), 0.02 + 0.0002 * len(awaited) ** 2
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as greeting:
    for address in awaited:
        if address.startswith("+"):
            greeting.sendto(b"", (address[1:], 9))
while True:
    said = {{}}
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(sys.argv[1])
            client.sendall(f"{{head}}\\r\\n\\r\\n".encode())
            answer = client.makefile("rb").read()
            said = json.loads(answer.partition(b"\\r\\n\\r\\n")[2])
    except (OSError, ValueError):
        pass
    for peer in (said.get("Peer") or {{}}).values():
        for address in peer["TailscaleIPs"] or []:
            if peer["Relay"] or peer["CurAddr"]:
                missing.discard(address)
            if not peer["LastHandshake"].startswith("{NEVER}"):
                missing.discard("+" + address)
    stateless = said.get("BackendState", "NoState") == "NoState"
    if not (missing or stateless) or time.monotonic() > end:
        break
    time.sleep(pause)
said["Peer"] = sorted(missing)
print(json.dumps(said))
"""
GREETING_SECONDS = 3.0
PINGS = 3
PINGS_AT_ONCE = 8


def check_ports(ports: Mapping[str, int]) -> None:
    """Raise `ConfigurationError` for an option that is no port, or the same port twice."""
    for name, port in ports.items():
        if not 1 <= port <= 65_535:  # noqa: PLR2004 - ports
            raise ConfigurationError(
                f"e3:overlay-options: {name} is {port}; write a number from 1 to 65535"
            )
    if len(set(ports.values())) < len(ports):
        raise ConfigurationError(
            f"e3:overlay-options: {', '.join(ports)} must differ; they are "
            f"{', '.join(map(str, ports.values()))}"
        )


async def run_client(host: Host, *, port: int, certificate: str = "") -> None:
    """Have tailscaled running, which trusts ``certificate`` instead of the system's if given."""
    # A folder for its log that is not there would be ignored, for one of the distribution's.
    environment = {
        "TS_NO_LOGS_NO_SUPPORT": "true",
        "TS_LOGS_DIR": CONFIGURATION,
        "TS_FORCE_NOISE_443": "true",  # else it tries port 80 first, for half a second
    }
    trusted = File(path=TRUSTED, content=certificate.encode())
    await host.access.put([trusted], timeout_seconds=TIMEOUT_SECONDS)
    if certificate:
        environment["SSL_CERT_FILE"] = TRUSTED  # read by Go's crypto/x509
    service = Service(
        name=SERVICE,
        argv=(
            f"{host.tools}/tailscaled",
            "--no-logs-no-support",
            f"--statedir={SECRETS}",
            f"--state={SECRETS}/tailscaled.state",
            f"--socket={SOCKET}",
            "--tun=tailscale0",
            f"--port={port}",
        ),
        environment=environment,
        ready=("test", "-S", SOCKET),
        revision=hashlib.sha256(certificate.encode()).hexdigest(),
    )
    await host.access.start(service, timeout_seconds=TIMEOUT_SECONDS)


async def status(host: Host) -> dict[str, Any]:
    """Return what the client says of itself, once it knows its state."""
    said = await _look(host)
    if said.get("BackendState", "NoState") == "NoState":
        raise OverlayError(
            f"tailscaled on host {host.name} does not know its state within {TIMEOUT_SECONDS:g} s"
        )
    return said


async def _look(host: Host, *awaited: str, seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """Return the client's status; its ``Peer`` are those ``awaited`` whom it does not know yet."""
    done = await host.access.run(
        [host.python, "-I", "-S", "-c", LOOK, SOCKET, f"{seconds:g}", *awaited],
        timeout_seconds=seconds + TIMEOUT_SECONDS,
    )
    if done.exit:
        reason = done.stderr.decode(errors="replace").strip()[-200:]
        raise OverlayError(f"host {host.name} cannot ask its tailscaled: {reason}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def logged_in(said: Mapping[str, Any]) -> bool:
    """Return whether a client with this status holds an identity that it uses."""
    return said["BackendState"] in {"Running", "Starting"}


def address(said: Mapping[str, Any]) -> str:
    """Return the client's IPv4 address on the overlay."""
    found = [text for text in said["Self"]["TailscaleIPs"] or [] if "." in text]
    if not found:
        raise OverlayError(
            f"the control server gave host {said['Self']['HostName']} no IPv4 address"
        )
    return str(found[0])


async def log_in(host: Host, *, control_url: str, auth_key: str) -> None:
    """Have the control server admit the host by ``auth_key``; returns once it is connected.

    Without ``auth_key`` the host has it already, where it would be put. It stays until it served.
    """
    up = [
        *_program(host),
        "up",
        "--reset",
        *([f"--login-server={control_url}"] if control_url else []),
        f"--hostname={host.name}",
        "--accept-dns=false",
        "--netfilter-mode=off",  # the host's own firewall stays as it is
        f"--timeout={LOGIN_SECONDS}s",
    ]
    try:
        done = await host.access.run(
            ["sh", "-c", LOG_IN, "sh", "given" if auth_key else "", *up],
            stdin=auth_key.encode(),
            timeout_seconds=LOGIN_SECONDS + TIMEOUT_SECONDS,
        )
    except BaseException:
        if auth_key:
            await _forget_key(host)
        raise
    if done.exit:
        reason = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise OverlayError(
            f"host {host.name} could not log in at {control_url or 'Tailscale'}: {reason}"
        )


async def log_out(host: Host) -> None:
    """Give the identity back; what cannot reach the control server any more leaves without it."""
    # The limit holds over there: one that passes here means that the host is gone.
    words = ("timeout", str(LOGOUT_SECONDS), f"{host.tools}/tailscale", f"--socket={SOCKET}")
    await host.access.run([*words, "logout"], timeout_seconds=TIMEOUT_SECONDS)


async def _forget_key(host: Host) -> None:
    await host.access.run(["sh", "-c", FORGET], timeout_seconds=TIMEOUT_SECONDS)


async def introduced(
    hosts: Sequence[Host], addresses: Mapping[str, str], newcomers: Collection[str]
) -> None:
    """Return once the newcomers and all others know where to reach each other, and have met.

    A first packet before that moment is lost, and two that cross each other undo each other:
    either way WireGuard tries again only 5 s later. So one host of each pair begins.
    """
    await asyncio.gather(*(_introduced(host, addresses, newcomers) for host in hosts))
    # Who is not met by then makes itself heard: that every pair talks is proved by others.
    await asyncio.gather(
        *(
            _look(
                host,
                *(
                    f"+{address}"
                    for name, address in addresses.items()
                    if name not in newcomers or name > host.name
                ),
                seconds=GREETING_SECONDS,
            )
            for host in hosts
            if host.name in newcomers
        )
    )


async def _introduced(host: Host, addresses: Mapping[str, str], newcomers: Collection[str]) -> None:
    awaited = addresses if host.name in newcomers else newcomers
    others = sorted(addresses[name] for name in awaited if name != host.name)
    missing = ", ".join((await _look(host, *others))["Peer"]) if others else ""
    if missing:
        raise OverlayError(
            f"the control server has not introduced {missing} to host {host.name} "
            f"within {TIMEOUT_SECONDS:g} s"
        )


async def _peers(host: Host) -> list[dict[str, Any]]:
    """Return what the client says of the others."""
    answer = await ask(host, "status", "--json")
    return list((json.loads(answer.stdout or b"{}").get("Peer") or {}).values())


async def remove_client(host: Host) -> None:
    """Stop the client and remove its files, its keys, and what it told the kernel."""
    access = host.access
    await access.stop(SERVICE, timeout_seconds=TIMEOUT_SECONDS)
    places = (CONFIGURATION, SECRETS, f"{host.tools}/tailscaled")
    await access.run(["sh", "-c", REMOVE, "sh", *places], timeout_seconds=TIMEOUT_SECONDS)
    await _forget_key(host)


async def paths(hosts: Sequence[Host], network: Network) -> Paths:
    """Return the class of each ordered pair as the clients report it.

    A client knows for 45 s by which path it sent; a peer that it has not sent to is pinged.
    """
    at_once = asyncio.Semaphore(PINGS_AT_ONCE)

    async def one(
        source: Host, target: Host, known: Mapping[str, PathClass | Relayed]
    ) -> PathClass | Relayed:
        given = network.addresses[target.name]
        if given in known:
            return known[given]
        async with at_once:
            answer = await ask(source, "ping", f"--c={PINGS}", "--timeout=2s", given)
        return read_pongs(answer.stdout.decode())

    known = [read_paths(peers) for peers in await asyncio.gather(*map(_peers, hosts))]
    pairs = [
        (a, b, k) for a, k in zip(hosts, known, strict=True) for b in hosts if a.name != b.name
    ]
    classes = await asyncio.gather(*(one(a, b, k) for a, b, k in pairs))
    return {(a.name, b.name): c for (a, b, _), c in zip(pairs, classes, strict=True)}


def read_paths(peers: Sequence[Mapping[str, Any]]) -> dict[str, PathClass | Relayed]:
    """Return the path to each address that a client sends to now, by its own status; pure."""
    found: dict[str, PathClass | Relayed] = {}
    for peer in peers:
        if peer["Active"] and not peer["LastHandshake"].startswith(NEVER):
            relay = peer.get("PeerRelay") or peer["Relay"]
            path: PathClass | Relayed = "direct" if peer["CurAddr"] else Relayed(by=relay)
            found.update(dict.fromkeys(peer["TailscaleIPs"] or [], path))
    return found


def read_pongs(said: str) -> PathClass | Relayed:
    """Return the path that a ping found, by its last answer; pure."""
    pongs = [line for line in said.splitlines() if line.startswith("pong")]
    if not pongs:
        return "none"
    relay = RELAY.search(pongs[-1])
    return Relayed(by=relay["by"]) if relay else "direct"


async def ask(host: Host, *arguments: str, timeout_seconds: float = TIMEOUT_SECONDS) -> Completed:
    """Return what a command of the client answers."""
    argv = [*_program(host), *arguments]
    return await host.access.run(argv, timeout_seconds=timeout_seconds)


def _program(host: Host) -> tuple[str, str]:
    return f"{host.tools}/tailscale", f"--socket={SOCKET}"
