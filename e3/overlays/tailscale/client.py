"""Run Tailscale's client on a host, with any control server."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files

from e3.errors import ConfigurationError, OverlayError
from e3.handshakes import Marks
from e3.interfaces import Completed, File, Host, Network
from e3.overlays.tailscale.status import Greeted, Peer, Status, decode, read_paths, read_pongs
from e3.overlays.unit import TIMEOUT_SECONDS, Unit, run_program, run_script, script
from e3.paths import PathClass, Paths, Relayed
from e3.remote.tailscale_peers import NEVER
from e3.remote.tasks import gather_or_cancel

SERVICE = "tailscaled"
CONFIGURATION = "/run/e3/tailscale"
SECRETS = "/var/lib/e3/tailscale"
SOCKET = f"{CONFIGURATION}/tailscaled.sock"
TRUSTED = f"{CONFIGURATION}/control.crt"
SCRIPT = "tailscale.sh"
LOGIN_SECONDS = 60
LOGOUT_SECONDS = 10
INTRODUCED_SECONDS = 10.0
"""After this time the other host of a pair begins."""

GREETING_SECONDS = 3.0
"""A pair without a tunnel by then connects later: every pair is verified afterwards."""

LOOK = (files("e3.remote") / "tailscale_peers.py").read_text()
PINGS = 3
PINGS_AT_ONCE = 8


def check_ports(ports: Mapping[str, int]) -> None:
    """Raise `ConfigurationError` if two options are the same port."""
    if len(set(ports.values())) < len(ports):
        raise ConfigurationError(
            f"e3:overlay-options: {', '.join(ports)} must differ; they are "
            f"{', '.join(map(str, ports.values()))}"
        )


def unit(host: Host, *, port: int, certificate: str = "") -> Unit:
    """Return the unit of tailscaled, which trusts only ``certificate`` if that is given. Pure."""
    # If the folder for its log does not exist, tailscaled uses one of the distribution's.
    environment = {
        "TS_NO_LOGS_NO_SUPPORT": "true",
        "TS_LOGS_DIR": CONFIGURATION,
        "TS_FORCE_NOISE_443": "true",  # else it tries port 80 first, for half a second
    }
    if host.http_proxy:
        environment["HTTPS_PROXY"] = f"http://{host.http_proxy}"
    if certificate:
        environment["SSL_CERT_FILE"] = TRUSTED  # read by Go's crypto/x509
    return Unit(
        name=SERVICE,
        files=[File(path=TRUSTED, content=certificate.encode())],
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
    )


async def status(host: Host) -> Status:
    """Return the client's status once it knows its state."""
    # Python takes three times the processor time, so it is used only if the state is unknown.
    answer = await ask(host, "status", "--json", "--peers=false")
    said = decode(host, SERVICE, answer.stdout or b"{}", Status)
    if not said.known:
        said = (await _greet(host)).status
    if not said.known:
        raise OverlayError(
            f"tailscaled on host {host.name} does not know its state within {TIMEOUT_SECONDS:g} s"
        )
    return said


async def _greet(host: Host, *names: str, timeout_seconds: float = TIMEOUT_SECONDS) -> Greeted:
    """Return the client's status once it met hosts of ``names``, or when time is up."""
    limits = (f"{timeout_seconds:g}", f"{GREETING_SECONDS:g}")
    answer = await run_program(
        host,
        [host.python, "-I", "-S", "-c", LOOK, SOCKET, *limits, *names],
        "asking tailscaled",
        timeout_seconds=timeout_seconds + TIMEOUT_SECONDS,
    )
    return decode(host, SERVICE, answer.encode(), Greeted)


async def log_in(host: Host, *, control_url: str, auth_key: str) -> None:
    """Log the host in at the control server with ``auth_key``; return once it is connected.

    Without ``auth_key`` the key's file is on the host already. The file stays until it was used.
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
            ["sh", "-c", script(SCRIPT), SCRIPT, "log_in", "given" if auth_key else "", *up],
            stdin=auth_key.encode(),
            timeout_seconds=LOGIN_SECONDS + TIMEOUT_SECONDS,
        )
    except BaseException:
        if auth_key:
            await _forget_key(host)
        raise
    if done.exit:
        at = control_url or "Tailscale"
        raise OverlayError(f"host {host.name} could not log in at {at}: {done.complaint}")


async def log_out(host: Host) -> None:
    """Log out; a host that cannot reach the control server any more is no error."""
    # `timeout` runs on the host: a timeout on this side means that the host is gone.
    words = ("timeout", str(LOGOUT_SECONDS), f"{host.tools}/tailscale", f"--socket={SOCKET}")
    await host.access.run([*words, "logout"], timeout_seconds=TIMEOUT_SECONDS)


async def _forget_key(host: Host) -> None:
    await run_script(host, SCRIPT, "forget")


async def meet(host: Host, hosts: Sequence[Host], newcomers: Collection[str]) -> None:
    """Return once a newcomer and the other hosts, all logged in, have exchanged packets.

    A first packet before both know each other is lost, and two that cross cancel each other:
    either way WireGuard tries again only 5 s later. So one host of each pair begins.
    """
    others = [
        other.name for other in hosts if other.name not in newcomers or other.name > host.name
    ]
    met = await _greet(host, *others, timeout_seconds=INTRODUCED_SECONDS)
    silent = [other for other in hosts if other.name in met.silent]
    # When many hosts join at once, Headscale 0.28 does not tell all of them where the last ones
    # are: it loses updates that arrive while it sends earlier ones (`addToBatch`,
    # batcher_lockfree.go). The last ones know this host's address, so they begin.
    answers = await gather_or_cancel(_greet(other, host.name) for other in silent)
    strangers = [h.name for h, met in zip(silent, answers, strict=True) if met.silent]
    if strangers:
        raise OverlayError(
            f"the control server has not introduced {', '.join(strangers)} and host {host.name} "
            f"to each other within {INTRODUCED_SECONDS + TIMEOUT_SECONDS:g} s"
        )


async def _peers(host: Host) -> list[Peer]:
    """Return the other hosts as the client knows them."""
    answer = await ask(host, "status", "--json")
    said = decode(host, SERVICE, answer.stdout or b"{}", Status)
    return list((said.peers or {}).values())


async def remove_client(host: Host) -> None:
    """Stop the client and remove its files, its keys and its settings in the kernel."""
    await host.access.stop(SERVICE, timeout_seconds=TIMEOUT_SECONDS)
    places = (CONFIGURATION, SECRETS, f"{host.tools}/tailscaled")
    await run_script(host, SCRIPT, "clean", *places)
    await _forget_key(host)


async def paths(hosts: Sequence[Host], network: Network) -> Paths:
    """Return the class of each ordered pair as the clients report it.

    A client remembers for 45 s by which path it sent; other peers are pinged.
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
        return read_pongs(answer.stdout.decode(errors="replace"))

    known = [read_paths(peers) for peers in await gather_or_cancel(map(_peers, hosts))]
    pairs = [
        (a, b, k) for a, k in zip(hosts, known, strict=True) for b in hosts if a.name != b.name
    ]
    classes = await gather_or_cancel(one(a, b, k) for a, b, k in pairs)
    return {(a.name, b.name): c for (a, b, _), c in zip(pairs, classes, strict=True)}


async def handshakes(hosts: Sequence[Host], network: Network) -> Marks:
    """Return when each client had its last handshake with each other host."""
    names = {address: name for name, address in network.addresses.items()}
    known = await gather_or_cancel(map(_peers, hosts))
    return {
        (host.name, names[address]): peer.last_handshake
        for host, peers in zip(hosts, known, strict=True)
        for peer in peers
        if not peer.last_handshake.startswith(NEVER)
        for address in peer.addresses or ()
        if address in names
    }


async def ask(host: Host, *arguments: str, timeout_seconds: float = TIMEOUT_SECONDS) -> Completed:
    """Run a command of the client; return how it ended."""
    argv = [*_program(host), *arguments]
    return await host.access.run(argv, timeout_seconds=timeout_seconds)


def _program(host: Host) -> tuple[str, str]:
    return f"{host.tools}/tailscale", f"--socket={SOCKET}"
