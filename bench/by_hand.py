"""The overlays' own tools between two hosts, set up as their manuals do it: no E3, nothing tuned.

Each is a context that yields the overlay address of the second host. Addresses are of ranges that
no overlay of E3 takes.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from e3.interfaces import PARTY_PORT, File, Host

FOLDER = "/run/by-hand"
LIMIT_SECONDS = 30.0
ADDRESSES = ("10.200.0.1", "10.200.0.2")

PUBLISH_SECONDS = 120.0
TOR_NETWORK = "^(TestingTorNetwork|FetchDirInfoEarly|DirAuthority|UseEntry|Vanguards|PathsNeeded)"

TOR_CONTROLS = ("/var/lib/e3/tor/control", f"{FOLDER}/control")
"""Where the Tor of E3 and the one by hand take commands."""

ByHand = Callable[[Sequence[Host], Host], AbstractAsyncContextManager[str]]
"""With the two hosts goes one of the overlay that E3 has made in the same lab."""


async def tell(host: Host, script: str, *, seconds: float = LIMIT_SECONDS) -> str:
    """Return what a shell on the host prints, which must succeed."""
    done = await host.access.run(["sh", "-euc", script], timeout_seconds=seconds)
    if done.exit:
        raise SystemExit(f"{host.name}: {script!r}: {done.stderr.decode()}")
    return done.stdout.decode()


async def write(host: Host, **files: str) -> None:
    """Write files of these names with _ for a dot; they are gone with the host."""
    made = [
        File(path=f"{FOLDER}/{name.replace('_', '.')}", content=text.encode(), mode=0o600)
        for name, text in files.items()
    ]
    await host.access.put(made, timeout_seconds=LIMIT_SECONDS)


async def reached(host: Host, address: str) -> None:
    """Return once ``host`` has an answer from ``address``."""
    await tell(host, f"until ping -c 1 -W 1 {address} >/dev/null 2>&1; do sleep 0.1; done")


@asynccontextmanager
async def nebula(hosts: Sequence[Host], _: Host) -> AsyncIterator[str]:
    """Run Nebula with what its quick start has; the first host is the lighthouse."""
    program = f"{hosts[0].tools}/nebula"
    with tempfile.TemporaryDirectory() as folder:
        await _local(f"{program}-cert", "ca", "-name", "by hand", cwd=folder)
        for host, address in zip(hosts, ADDRESSES, strict=True):
            sign = ["sign", "-name", host.name, "-networks", f"{address}/24"]
            await _local(f"{program}-cert", *sign, cwd=folder)
            first = address == ADDRESSES[0]
            anything = [{"port": "any", "proto": "any", "host": "any"}]
            configuration = {
                "pki": {n: f"{FOLDER}/{n}" for n in ("ca", "cert", "key")},
                "static_host_map": {ADDRESSES[0]: [f"{hosts[0].underlay}:4299"]},
                "lighthouse": {"am_lighthouse": first, "hosts": [] if first else [ADDRESSES[0]]},
                "listen": {"host": "0.0.0.0", "port": 4299},  # noqa: S104 - in a namespace
                "tun": {"dev": "hand0"},
                "firewall": {"outbound": anything, "inbound": anything},
            }
            files = {"ca": "ca.crt", "cert": f"{host.name}.crt", "key": f"{host.name}.key"}
            texts = {name: _read(folder, file) for name, file in files.items()}
            await write(host, config_yml=json.dumps(configuration), **texts)
    async with AsyncExitStack() as stack:
        for host in hosts:
            argv = [program, "-config", f"{FOLDER}/config.yml"]
            await stack.enter_async_context(host.access.attach(argv))
        await reached(hosts[1], ADDRESSES[0])
        yield ADDRESSES[1]


@asynccontextmanager
async def tor(hosts: Sequence[Host], member: Host) -> AsyncIterator[str]:
    """Run a hidden service on the second host, and on the first Tor's transparent proxy to it.

    Both use the private network that E3 has built on another host of this lab; of its settings
    they take what makes a network of four relays usable, and none that makes it fast.
    """
    network = await tell(member, f"grep -E '{TOR_NETWORK}' /run/e3/tor/torrc")
    services = f"HiddenServiceDir {FOLDER}/service\nHiddenServicePort {PARTY_PORT}\n"
    async with AsyncExitStack() as stack:
        await _run_tor(stack, hosts[1], f"{network}SocksPort 0\n{services}")
        waited = f"cd {FOLDER}/service; until [ -s hostname ]; do sleep 0.1; done; cat hostname"
        onion = (await tell(hosts[1], waited)).strip()
        proxy = (
            f"{network}SocksPort 0\nTransPort 9040\nMapAddress {ADDRESSES[1]} {onion}\n"
            f"ControlSocket {TOR_CONTROLS[1]}\nCookieAuthentication 0\n"
        )
        await _run_tor(stack, hosts[0], proxy)
        rule = f"ip daddr {ADDRESSES[1]} meta l4proto tcp redirect to :9040"
        await tell(
            hosts[0],
            "nft add table ip hand; nft add chain ip hand out "
            f"'{{ type nat hook output priority -100; }}'; nft add rule ip hand out {rule}",
        )
        async with hosts[1].access.attach(["iperf3", "-s", "-p", str(PARTY_PORT)]):
            ask = f"iperf3 -c {ADDRESSES[1]} -p {PARTY_PORT} -n 1 >/dev/null 2>&1"
            await tell(hosts[0], f"until {ask}; do sleep 1; done", seconds=PUBLISH_SECONDS)
        yield ADDRESSES[1]


async def take_another_circuit(host: Host) -> None:
    """Make the Tor of a host, E3's or the one by hand, use new circuits, at most every 10 s."""
    script = "; ".join(
        (
            "import socket, sys, os",
            f"control = next(filter(os.path.exists, {TOR_CONTROLS!r}))",
            "tor = socket.socket(socket.AF_UNIX)",
            "tor.connect(control)",
            "said = tor.makefile('rw', newline='\\r\\n')",
            "said.write('AUTHENTICATE\\nSETEVENTS SIGNAL\\nSIGNAL NEWNYM\\n')",
            "said.flush()",
            "any('650 SIGNAL NEWNYM' in line for line in said)",
        )
    )
    await tell(host, f'{host.python} -I -c "{script}"')


async def _run_tor(stack: AsyncExitStack, host: Host, settings: str) -> None:
    torrc = f"DataDirectory {FOLDER}/tor\nLog notice file {FOLDER}/log\n{settings}"
    await write(host, torrc=torrc)
    await tell(host, f"chmod 700 {FOLDER}; mkdir -p -m 700 {FOLDER}/tor")
    await stack.enter_async_context(host.access.attach(["tor", "-f", f"{FOLDER}/torrc"]))
    await tell(
        host,
        f"until grep -q 'Bootstrapped 100%' {FOLDER}/log; do sleep 0.1; done",
        seconds=PUBLISH_SECONDS,
    )


@asynccontextmanager
async def wireguard(hosts: Sequence[Host], _: Host) -> AsyncIterator[str]:
    """Run the wireguard-go that E3 builds, with one peer each."""
    keys = [await tell(host, "umask 077; wg genkey") for host in hosts]
    public = [await tell(hosts[0], f"echo {key.strip()} | wg pubkey") for key in keys]
    async with AsyncExitStack() as stack:
        for i, host in enumerate(hosts):
            peer = hosts[1 - i]
            lines = ["[Interface]", f"PrivateKey = {keys[i].strip()}", "ListenPort = 51899"]
            lines += ["[Peer]", f"PublicKey = {public[1 - i].strip()}"]
            lines += [f"AllowedIPs = {ADDRESSES[1 - i]}/32", f"Endpoint = {peer.underlay}:51899"]
            await write(host, wg_conf="\n".join([*lines, ""]))
            argv = ["env", "WG_PROCESS_FOREGROUND=1", f"{host.tools}/wireguard-go", "-f", "hand0"]
            await stack.enter_async_context(host.access.attach(argv))
            await tell(
                host,
                "until grep -q ' 00010000 .*/hand0[.]sock$' /proc/net/unix; do sleep 0.05; done; "
                f"wg setconf hand0 {FOLDER}/wg.conf; ip address add {ADDRESSES[i]}/24 dev hand0; "
                "ip link set hand0 mtu 1420 up",
            )
        await reached(hosts[1], ADDRESSES[0])
        yield ADDRESSES[1]


@asynccontextmanager
async def headscale(hosts: Sequence[Host], _: Host) -> AsyncIterator[str]:
    """Run Headscale with its own relay on the first host, and Tailscale's client on both."""
    server, place = hosts[0], f"{FOLDER}/headscale"
    address, port = server.underlay, 8443
    configuration = {
        "server_url": f"https://{address}:{port}",
        "listen_addr": f"0.0.0.0:{port}",
        "noise": {"private_key_path": f"{place}/noise.key"},
        "tls_cert_path": f"{FOLDER}/server.crt",
        "tls_key_path": f"{FOLDER}/server.key",
        "prefixes": {"v4": "100.64.0.0/10", "allocation": "sequential"},
        "derp": {
            "server": {
                "enabled": True,
                "region_id": 999,
                "region_code": "hand",
                "region_name": "by hand",
                "private_key_path": f"{place}/relay.key",
                "stun_listen_addr": "0.0.0.0:3479",
            },
            "urls": [],
        },
        "disable_check_updates": True,
        "database": {"type": "sqlite", "sqlite": {"path": f"{place}/db.sqlite"}},
        "dns": {"magic_dns": False, "override_local_dns": False, "base_domain": "hand.internal"},
        "unix_socket": f"{FOLDER}/headscale.sock",
    }
    await write(server, config_json=json.dumps(configuration))
    await tell(
        server,
        f"cd {FOLDER}; mkdir -p headscale; openssl req -x509 -newkey ec -nodes -days 9 "
        f"-subj /CN=hand -pkeyopt ec_paramgen_curve:P-256 -addext subjectAltName=IP:{address} "
        "-keyout server.key -out server.crt 2>&1",
    )
    certificate = await tell(server, f"cat {FOLDER}/server.crt")
    program = f"{server.tools}/headscale -c {FOLDER}/config.json"
    socket = f"--socket={FOLDER}/tailscaled.sock"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server.access.attach([*program.split(), "serve"]))
        await tell(server, f"until [ -S {FOLDER}/headscale.sock ]; do sleep 0.1; done")
        await tell(server, f"{program} users create hand")
        for host in hosts:
            await write(host, trusted_crt=certificate)
            argv = ["env", f"SSL_CERT_FILE={FOLDER}/trusted.crt", f"{host.tools}/tailscaled"]
            argv += [
                "--no-logs-no-support",
                "--tun=hand0",
                f"--statedir={FOLDER}/tailscale",
                socket,
            ]
            await stack.enter_async_context(host.access.attach(argv))
            key = await tell(server, f"{program} preauthkeys create --user 1")
            await tell(
                host,
                f"until [ -S {FOLDER}/tailscaled.sock ]; do sleep 0.1; done; "
                f"{host.tools}/tailscale {socket} up --login-server=https://{address}:{port} "
                f"--auth-key={key.split()[-1]} --accept-dns=false",
            )
        found = [await tell(h, f"{h.tools}/tailscale {socket} ip -4") for h in hosts]
        first, second = (text.strip() for text in found)
        await tell(hosts[1], f"{hosts[1].tools}/tailscale {socket} ping --until-direct {first}")
        yield second


@asynccontextmanager
async def tinc(hosts: Sequence[Host], _: Host) -> AsyncIterator[str]:
    """Run tinc with the ciphers that E3 takes: its own default, Blowfish, OpenSSL 3 refuses."""
    keys = []
    for i, host in enumerate(hosts):
        options = [f"Name = hand{i}", "Interface = hand0", "Cipher = aes-256-cbc"]
        options += ["Digest = sha256", *(["ConnectTo = hand0"] if i else [])]
        up = f"#!/bin/sh\nip address add {ADDRESSES[i]}/24 dev hand0; ip link set hand0 up\n"
        await write(host, **{"tinc_conf": "\n".join([*options, ""]), "tinc-up": up})
        make = "chmod 700 tinc-up; mkdir -p hosts; tincd -c . -K 2048 </dev/null >/dev/null 2>&1"
        keys.append(await tell(host, f"cd {FOLDER}; {make}; cat hosts/hand{i}"))
    async with AsyncExitStack() as stack:
        for host in hosts:
            for j, key in enumerate(keys):
                text = f"Address = {hosts[j].underlay}\nPort = 699\nSubnet = {ADDRESSES[j]}/32\n"
                await write(host, **{f"hosts/hand{j}": f"{text}{key}"})
            argv = ["tincd", "-D", "-c", FOLDER, f"--pidfile={FOLDER}/pid"]
            await stack.enter_async_context(host.access.attach([*argv, f"--logfile={FOLDER}/log"]))
            await tell(host, "until ip -o link show up dev hand0 | grep -q .; do sleep 0.1; done")
        await reached(hosts[1], ADDRESSES[0])
        await asyncio.sleep(5)  # until it knows the size of packets that pass: then it uses UDP
        yield ADDRESSES[1]


@asynccontextmanager
async def openvpn(hosts: Sequence[Host], _: Host) -> AsyncIterator[str]:
    """Run OpenVPN between two hosts that know each other's certificate, as its manual has it.

    See the example with ``peer-fingerprint`` in doc/man-sections/example-fingerprint.rst.
    """
    request = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=hand "
        "-keyout host.key -out host.crt 2>/dev/null"
    )
    show = "openssl x509 -in host.crt -noout -sha256 -fingerprint"
    shown = [
        await tell(host, f"mkdir -p {FOLDER}; cd {FOLDER}; {request}; {show}") for host in hosts
    ]
    async with AsyncExitStack() as stack:
        for i, host in enumerate(hosts):
            peer = shown[1 - i].strip().rpartition("=")[2]
            own = ["--ifconfig", ADDRESSES[i], ADDRESSES[1 - i], "--peer-fingerprint", peer]
            ends = ["--remote", hosts[0].underlay] if i else ["--dh", "none"]
            argv = ["openvpn", "--dev", "hand0", "--dev-type", "tun", "--port", "1199", *own, *ends]
            argv += ["--tls-client" if i else "--tls-server", "--cipher", "AES-256-GCM"]
            argv += ["--cert", f"{FOLDER}/host.crt", "--key", f"{FOLDER}/host.key"]
            await stack.enter_async_context(host.access.attach(argv))
        await reached(hosts[1], ADDRESSES[0])
        yield ADDRESSES[1]


def libp2p(hosts: Sequence[Host], _: Host) -> AbstractAsyncContextManager[str]:
    """Run the forwarder of E3's overlay between two hosts, with settings written by hand."""

    def own(host: Host) -> dict[str, object]:
        return {
            "listen": ["/ip4/0.0.0.0/tcp/4099"],
            "announce": [f"/ip4/{host.underlay}/tcp/4099"],
            "security": "tls",
            "discovery": "list",
            "hidden": False,
            "relays": False,
        }

    def peer(host: Host) -> dict[str, object]:
        at = [f"/ip4/{host.underlay}/tcp/4099"]
        return {"addresses": at, "relays": False, "punches": False}

    return _forwarding(hosts, "libp2p", f"{FOLDER}/key", own, peer)


def iroh(hosts: Sequence[Host], _: Host) -> AbstractAsyncContextManager[str]:
    """Run the forwarder of E3's overlay between two hosts, with settings written by hand."""

    def own(_: Host) -> dict[str, object]:
        return {"port": 4499, "relay": None, "relays": []}

    def peer(host: Host) -> dict[str, object]:
        return {"addresses": [f"{host.underlay}:4499"]}

    return _forwarding(hosts, "iroh", FOLDER, own, peer)


@asynccontextmanager
async def _forwarding(
    hosts: Sequence[Host],
    name: str,
    keys: str,
    own: Callable[[Host], dict[str, object]],
    peer: Callable[[Host], dict[str, object]],
) -> AsyncIterator[str]:
    """Run e3-``name`` on two hosts; settings have ``own`` of their host, ``peer`` of the other."""
    program, given = f"{hosts[0].tools}/e3-{name}", ("127.200.0.1", "127.200.0.2")
    ids = [(await tell(host, f"{program} key {FOLDER}/key")).strip() for host in hosts]
    async with AsyncExitStack() as stack:
        for i, host in enumerate(hosts):
            j = 1 - i
            other = {"name": hosts[j].name, "id": ids[j], "address": given[j], "dials": i == 0}
            settings = {
                "address": given[i],
                "ports": [PARTY_PORT],
                **own(host),
                "peers": [{**other, **peer(hosts[j])}],
            }
            await write(host, settings_json=json.dumps(settings))
            await stack.enter_async_context(host.access.attach([program, "serve", FOLDER, keys]))
        direct = f"{program} paths {FOLDER} 2>/dev/null | grep -q direct"
        await tell(hosts[0], f"until {direct}; do sleep 0.1; done")
        yield given[1]


def _read(folder: str, name: str) -> str:
    return Path(folder, name).read_text()


async def _local(*argv: str, cwd: str) -> None:
    process = await asyncio.create_subprocess_exec(*argv, cwd=cwd)
    if await process.wait():
        raise SystemExit(f"{argv[0]} failed")


BY_HAND: dict[str, ByHand] = {
    "didcomm": wireguard,
    "headscale": headscale,
    "iroh": iroh,
    "libp2p": libp2p,
    "nebula": nebula,
    "openvpn": openvpn,
    "tinc": tinc,
    "tor": tor,
    "wireguard": wireguard,
}
