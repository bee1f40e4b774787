"""Tailscale: WireGuard tunnels between hosts that a control server introduces to each other.

The functions are the part of every client, whoever runs its control server:
e3/overlays/headscale.py brings one of its own.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from e3 import tailnet
from e3.errors import ConfigurationError, OverlayError
from e3.interfaces import (
    Authority,
    Completed,
    File,
    Host,
    Ingress,
    Needs,
    Network,
    PathClass,
    Paths,
    Relayed,
    Service,
)

SERVICE = "tailscaled"
CONFIGURATION = "/run/e3/tailscale"
SECRETS = "/var/lib/e3/tailscale"
SOCKET = f"{CONFIGURATION}/tailscaled.sock"
TRUSTED = f"{CONFIGURATION}/control.crt"
AUTH_KEY = "/run/keys/tailnet"
TIMEOUT_SECONDS = 30.0
LOGIN_SECONDS = 30
LOGOUT_SECONDS = 10.0
LONGEST_KEY_MINUTES = 90 * 24 * 60  # of a Tailscale auth key
REMOVE = '[ ! -d "$1" ] || TS_LOGS_DIR="$1" "$3" --cleanup; rm -rf "$1" "$2"'
FORGET = 'rm -f "$1"; rmdir "${1%/*}" 2>/dev/null || true'
RELAY = re.compile(r" via (?:DERP|peer-relay)\((?P<by>.*?)\) in ")
NEVER = "0001-"  # the zero of time in Go
PINGS = 3
PINGS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Tailscale:
    """Tailscale with a control server that is not ours: the commercial one, or any by its URL.

    The control server decides who belongs: it hands out public keys and access rules, and
    learns who talks to whom; so do its relays (DERP), which carry what they cannot read. The
    tailnet's own access rules apply; they must let the hosts reach each other.

    Hosts log in with the key of ``auth_key_file``. Without one the stack makes its own, for
    ``key_minutes`` and ``tag``, hands it over as ``auth_key``, and removes devices by their ids.
    """

    needs: ClassVar[Needs] = Needs(
        tools=("tailscale",),
        punches=True,
        tun=True,
        sources="proven",
        account="a tailnet, and an auth key of it or credentials of its API",
        control_server=True,
        credential="tailnet",
        port_443_suffices=True,
    )

    control_url: str = ""
    control_certificate: str = ""
    auth_key_file: str = ""
    tag: str = "tag:e3"
    key_minutes: int = 60
    policy: Literal["leave", "own"] = "leave"
    port: int = 41_641
    auth_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Reject values that the hosts would refuse."""
        check_ports({"port": self.port})
        if self.control_url and not self.control_url.startswith("https://"):
            raise ConfigurationError(
                f"e3:overlay-options: control-url is {self.control_url!r}; write an https:// "
                "address, or leave it out for Tailscale's own server"
            )
        if not re.fullmatch(r"tag:[a-zA-Z][a-zA-Z0-9-]*", self.tag):
            raise ConfigurationError(
                f"e3:overlay-options: tag is {self.tag!r}; write tag: and then letters, digits and "
                "hyphens, as in tag:e3"
            )
        if not 1 <= self.key_minutes <= LONGEST_KEY_MINUTES:
            raise ConfigurationError(
                f"e3:overlay-options: key-minutes is {self.key_minutes}; write a number from 1 to "
                f"{LONGEST_KEY_MINUTES}, which are 90 days"
            )

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return nothing: the control server gives the addresses. Say so if hosts get no key."""
        del names, previous
        self._certificate()
        if self.auth_key:
            raise ConfigurationError(
                "e3:overlay-options: auth-key would be readable in the configuration; write the "
                "key into a file, and its name into auth-key-file"
            )
        if self.auth_key_file:
            self._auth_key()
        else:
            tailnet.account()
        return {}

    def ingress(self) -> Sequence[Ingress]:
        """Return the port at which Tailscale speaks UDP."""
        return (Ingress(protocol="udp", first=self.port, last=self.port),)

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Have each host run Tailscale and log in where it is not logged in yet."""
        del authority, previous
        certificate = self._certificate()

        async def one(host: Host) -> tuple[str, str]:
            await run_client(host, port=self.port, certificate=certificate)
            if not logged_in(await status(host)):
                await self._admit(host)
            said = await status(host)
            return address(said), str(said["Self"]["ID"])

        found = await asyncio.gather(*map(one, hosts))
        given = {host.name: each[0] for host, each in zip(hosts, found, strict=True)}
        await introduced(hosts, given)
        devices = {host.name: each[1] for host, each in zip(hosts, found, strict=True)}
        return Network(addresses=given, memory={"devices": devices})

    async def paths(self, hosts: Sequence[Host], network: Network) -> Paths:
        """Ask each client for the present path to each other host."""
        return await paths(hosts, network)

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Log out, then remove client and keys, and the device at the control server by its id.

        The id is what counts: a host that is gone has not logged out, and the one that takes its
        name would be called ``NAME-1``.
        """
        known = network.memory.get("devices")
        devices = known if isinstance(known, dict) and not self.auth_key_file else {}

        async def one(host: Host) -> None:
            try:
                await self._log_out(host)
            finally:
                if host.name in devices:
                    await asyncio.to_thread(tailnet.account().remove_device, devices[host.name])

        await asyncio.gather(*map(one, hosts))

    async def _admit(self, host: Host) -> None:
        try:
            await log_in(host, control_url=self.control_url, auth_key=self._auth_key())
        except OverlayError as error:
            if self.auth_key_file:
                raise
            raise OverlayError(
                f"{error}; if the key has expired, `pulumi refresh` and `pulumi up` make another"
            ) from error

    async def _log_out(self, host: Host) -> None:
        # What cannot reach the control server any more leaves without it.
        try:
            await _tailscale(host, "logout", timeout_seconds=LOGOUT_SECONDS)
        except TimeoutError:
            pass
        finally:
            await remove_client(host)

    def _certificate(self) -> str:
        """Return the certificate of a control server that no public authority vouches for."""
        if not self.control_certificate:
            return ""
        try:
            return Path(self.control_certificate).expanduser().read_text()
        except OSError as error:
            raise ConfigurationError(
                f"e3:overlay-options: control-certificate is {self.control_certificate!r}: "
                f"{error.strerror}; write the path of a PEM file on this machine"
            ) from error

    def _auth_key(self) -> str:
        """Return the key; of one in a file only the place stands in configuration and state."""
        if not self.auth_key_file:
            if not self.auth_key:
                raise OverlayError("a host is to log in to the tailnet, but there is no key for it")
            return self.auth_key
        try:
            key = Path(self.auth_key_file).expanduser().read_text().strip()
        except OSError as error:
            raise ConfigurationError(
                f"e3:overlay-options: auth-key-file is {self.auth_key_file!r}: {error.strerror}; "
                "make an ephemeral, reusable auth key in the admin console of your tailnet and "
                "write it into that file, or choose e3:overlay: headscale, which needs no account"
            ) from error
        if not key:
            raise ConfigurationError(
                f"e3:overlay-options: auth-key-file is {self.auth_key_file!r}, which is empty"
            )
        return key


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
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            answer = await _tailscale(host, "status", "--json", "--peers=false")
            if answer.exit == 0:
                said: dict[str, Any] = json.loads(answer.stdout)
                if said["BackendState"] != "NoState":
                    return said
            await asyncio.sleep(0.05)


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
    """Have the control server admit the host by ``auth_key``; returns once it is connected."""
    key = File(path=AUTH_KEY, content=auth_key.encode(), mode=0o600)
    await host.access.put([key], timeout_seconds=TIMEOUT_SECONDS)
    try:
        done = await _tailscale(
            host,
            "up",
            "--reset",
            *([f"--login-server={control_url}"] if control_url else []),
            f"--auth-key=file:{AUTH_KEY}",
            f"--hostname={host.name}",
            "--accept-dns=false",
            "--netfilter-mode=off",  # the host's own firewall stays as it is
            f"--timeout={LOGIN_SECONDS}s",
            timeout_seconds=LOGIN_SECONDS + TIMEOUT_SECONDS,
        )
    finally:
        await host.access.run(["sh", "-c", FORGET, "sh", AUTH_KEY], timeout_seconds=TIMEOUT_SECONDS)
    if done.exit:
        reason = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise OverlayError(
            f"host {host.name} could not log in at {control_url or 'Tailscale'}: {reason}"
        )


async def introduced(hosts: Sequence[Host], addresses: Mapping[str, str]) -> None:
    """Return once each client knows where each other one can be reached.

    A first packet before that moment is lost, and WireGuard tries again only 5 s later.
    """
    await asyncio.gather(*(_introduced(host, addresses) for host in hosts))


async def _introduced(host: Host, addresses: Mapping[str, str]) -> None:
    missing = others = {given for name, given in addresses.items() if name != host.name}
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                missing = others - _reachable(await _peers(host))
                if not missing:
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise OverlayError(
            f"the control server has not introduced {', '.join(sorted(missing))} to host "
            f"{host.name} within {TIMEOUT_SECONDS:g} s"
        ) from None


def _reachable(peers: Sequence[Mapping[str, Any]]) -> set[str]:
    known = [peer for peer in peers if peer["Relay"] or peer["CurAddr"]]
    return {given for peer in known for given in peer["TailscaleIPs"] or []}


async def _peers(host: Host) -> list[dict[str, Any]]:
    """Return what the client says of the others."""
    answer = await _tailscale(host, "status", "--json")
    return list((json.loads(answer.stdout or b"{}").get("Peer") or {}).values())


async def remove_client(host: Host) -> None:
    """Stop the client and remove its files, its keys, and what it told the kernel."""
    access = host.access
    await access.stop(SERVICE, timeout_seconds=TIMEOUT_SECONDS)
    places = (CONFIGURATION, SECRETS, f"{host.tools}/tailscaled")
    await access.run(["sh", "-c", REMOVE, "sh", *places], timeout_seconds=TIMEOUT_SECONDS)


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
            answer = await _tailscale(source, "ping", f"--c={PINGS}", "--timeout=2s", given)
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


async def _tailscale(
    host: Host, *arguments: str, timeout_seconds: float = TIMEOUT_SECONDS
) -> Completed:
    argv = [f"{host.tools}/tailscale", f"--socket={SOCKET}", *arguments]
    return await host.access.run(argv, timeout_seconds=timeout_seconds)
