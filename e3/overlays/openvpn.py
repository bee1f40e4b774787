"""OpenVPN: one hub that all packets pass, the traditional way to join machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from ipaddress import IPv4Network
from typing import Annotated, ClassVar, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from e3.errors import OverlayError
from e3.handshakes import Marks
from e3.interfaces import Authority, File, Host, Ingress, Needs, Network
from e3.overlays import addresses, topology
from e3.overlays.unit import (
    TIMEOUT_SECONDS,
    Members,
    Unit,
    apply,
    on_each_host,
    run_program,
    run_script,
    script,
    text_files,
)
from e3.paths import PathClass, Relayed
from e3.remote.tasks import each_to_its_end

SERVICE = "openvpn"
SCRIPT = "openvpn.sh"
DEVICE = "e3-openvpn"
CONFIGURATION = "/run/e3/openvpn"
SECRETS = "/var/lib/e3/openvpn"
PLACES = (CONFIGURATION, SECRETS)
"""The first arguments of the script."""

SOCKET = f"{CONFIGURATION}/management"
HUB = (files("e3.remote") / "openvpn_hub.py").read_text()


class Identity(NamedTuple):
    """What a host's certificate says: its subject, and its SHA-256 as OpenVPN writes it."""

    subject: str
    fingerprint: str
    certificate: str


@dataclass(frozen=True, kw_only=True)
class OpenVpn:
    """A hub, the oldest public host, and tunnels of all others to it, by keys made on the hosts.

    Every packet passes the hub, which decrypts and encrypts it. So the hub can read and forge what
    others send one another, and when it is down, nobody reaches anybody.
    """

    needs: ClassVar[Needs] = Needs(
        packages=("openvpn", "openssl"), udp=True, public_host=True, ipv6=True, tun=True
    )
    handshake: ClassVar[str] = "openvpn"

    range: IPv4Network = IPv4Network("10.80.0.0/16")
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1194
    mtu: Annotated[int, msgspec.Meta(ge=576, le=1500)] = 1420
    keepalive: Annotated[int, msgspec.Meta(ge=1, le=60)] = 2

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return an address of `range` for each host."""
        return addresses.assign(names, self.range, previous)

    def ingress(self) -> Sequence[Ingress]:
        """Return the port at which the hub speaks UDP."""
        return (Ingress(protocol="udp", first=self.port, last=self.port),)

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Let each host make its key and certificate; admit all of them at the hub."""
        del authority
        given = self.assign([host.name for host in hosts], previous)
        made = await on_each_host(
            run_script(host, SCRIPT, *PLACES, "make_keys", host.name) for host in hosts
        )
        public = {h.name: identity(h.name, pem) for h, pem in zip(hosts, made, strict=True)}
        members = Members[Identity, None](hosts=hosts, addresses=given, public=public, memory=None)
        hub = _hub(hosts, given)
        await self._serve(hub, members)
        others = [host for host in hosts if host != hub]
        await on_each_host(apply(host, self.plan(host, members)) for host in others)
        return Network(addresses=given, memory={"subjects": _subjects(public)})

    async def paths(
        self, hosts: Sequence[Host], network: Network
    ) -> Mapping[tuple[str, str], PathClass | Relayed]:
        """Ask the hub who is connected: a path between two others is relayed by it."""
        hub = _hub(hosts, network.addresses)
        subjects = msgspec.convert(network.memory["subjects"], dict[str, str])
        connected = (await _members(hub)).keys()
        alive = {h.name for h in hosts if h == hub or subjects.get(h.name) in connected}
        found: dict[tuple[str, str], PathClass | Relayed] = {}
        for a, b in ((a, b) for a in hosts for b in hosts if a != b):
            met: PathClass | Relayed = "direct" if hub in {a, b} else Relayed(by=hub.name)
            found[a.name, b.name] = met if alive.issuperset((a.name, b.name)) else "none"
        return found

    async def handshakes(self, hosts: Sequence[Host], network: Network) -> Marks:
        """Ask the hub which connection each member has."""
        hub = _hub(hosts, network.addresses)
        subjects = msgspec.convert(network.memory["subjects"], dict[str, str])
        names = {subject: name for name, subject in subjects.items()}
        found = await _members(hub)
        return {(hub.name, names[it]): mark for it, mark in found.items() if it in names}

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop OpenVPN and remove its files and keys."""
        del network

        async def one(host: Host) -> None:
            await host.access.stop(SERVICE, timeout_seconds=TIMEOUT_SECONDS)
            await run_script(host, SCRIPT, *PLACES, "clean", DEVICE)

        await each_to_its_end(map(one, hosts))

    def plan(self, host: Host, members: Members[Identity, None]) -> Sequence[Unit]:
        """Return OpenVPN as ``host`` runs it. Pure: the key is the path of a file."""
        hub = _hub(members.hosts, members.addresses)
        told = self._hub_files(members, hub) if host == hub else []
        settings = [*self._common(members.addresses[host.name])]
        settings += self._hub_settings(hub) if host == hub else self._settings(host, hub, members)
        text = "\n".join([*settings, ""])
        address = f"{members.addresses[host.name]}/{self.range.prefixlen}"
        device = (DEVICE, address, str(self.mtu))
        return [
            Unit(
                name=SERVICE,
                files=[
                    *text_files(CONFIGURATION, {"openvpn.conf": text, SCRIPT: script(SCRIPT)}),
                    *told,
                ],
                argv=("sh", f"{CONFIGURATION}/{SCRIPT}", *PLACES, "serve", *device),
                ready=("test", "-S", SOCKET),
                rereads=True,  # files of members, at each connection
                restart_on=[text, device],
            )
        ]

    async def _serve(self, hub: Host, members: Members[Identity, None]) -> None:
        """Start the hub; end the connections of those who are no members any more."""
        changed = await apply(hub, self.plan(hub, members))
        subjects = [known.subject for known in members.public.values()]
        gone = (await run_script(hub, SCRIPT, *PLACES, "admit", *subjects)).split()
        if gone or changed:
            await _members(hub, *gone)

    def _common(self, address: str) -> list[str]:
        return [
            f"dev {DEVICE}",
            "dev-type tun",
            "topology subnet",
            f"ifconfig {address} {self.range.netmask}",
            "ifconfig-noexec",  # the script has done that
            f"tun-mtu {self.mtu}",
            f"cert {SECRETS}/host.pem",
            f"key {SECRETS}/host.key",
            "tls-version-min 1.3",
            "data-ciphers AES-256-GCM",
            "persist-tun",
            "persist-key",
            f"management {SOCKET} unix",
            "verb 2",
        ]

    def _hub_settings(self, hub: Host) -> list[str]:
        return [
            f"proto {'udp6' if hub.underlay6 else 'udp4'}",
            f"port {self.port}",
            "mode server",
            "tls-server",
            "dh none",
            f"capath {CONFIGURATION}/trusted",
            "remote-cert-tls client",
            f"client-config-dir {CONFIGURATION}/members",
            "ccd-exclusive",
            "client-to-client",
            f"keepalive {self.keepalive} {3 * self.keepalive}",
            'push "topology subnet"',
        ]

    def _hub_files(self, members: Members[Identity, None], hub: Host) -> list[File]:
        """Return what admits each member: its certificate, and its address."""
        others = [host for host in members.hosts if host != hub]
        texts = {}
        for host in others:
            known, address = members.public[host.name], members.addresses[host.name]
            texts[f"trusted/{known.subject}.pem"] = known.certificate
            texts[f"members/{known.subject}"] = f"ifconfig-push {address} {self.range.netmask}\n"
        return text_files(CONFIGURATION, texts)

    def _settings(self, host: Host, hub: Host, members: Members[Identity, None]) -> list[str]:
        at = hub.seen_from(host)
        return [
            f"proto {'udp6' if ':' in at else 'udp4'}",
            f"remote {at} {self.port}",
            "nobind",
            "tls-client",
            "pull",
            # its own addresses and routes are no business of the hub's
            'pull-filter ignore "ifconfig"',
            'pull-filter ignore "route"',
            'pull-filter ignore "dhcp-option"',
            'pull-filter ignore "redirect-"',
            f"peer-fingerprint {members.public[hub.name].fingerprint}",
            "remote-cert-tls server",
            "connect-retry 1 2",
            "connect-timeout 5",
        ]


def identity(name: str, pem: str) -> Identity:
    """Return what a host's certificate says. Pure.

    Raises `OverlayError` unless the certificate is for that host and for the key in it.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        (common_name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        key = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (ValueError, TypeError) as error:
        raise OverlayError(f"host {name} did not send a certificate of its own") from error
    hashed = hashes.Hash(hashes.SHA256())
    hashed.update(key)
    subject = f"{name}-{hashed.finalize().hex()[:16]}"
    if common_name.value != subject:
        raise OverlayError(f"the certificate of host {name} is not for that host and its key")
    return Identity(
        subject=subject,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
    )


def _hub(hosts: Sequence[Host], given: Mapping[str, str]) -> Host:
    return topology.hub(hosts, given, of="OpenVPN")


def _subjects(public: Mapping[str, Identity]) -> dict[str, str]:
    return {name: known.subject for name, known in public.items()}


async def _members(hub: Host, *dropped: str) -> Mapping[str, str]:
    """Return who is connected to the hub, once ``dropped`` are not any more.

    By subject; the values are other ones after another connection.
    """
    argv = [hub.python, "-I", "-S", "-c", HUB, SOCKET, *dropped]
    answer = await run_program(hub, argv, "asking OpenVPN")
    try:
        return msgspec.json.decode(answer, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise OverlayError(f"host {hub.name} does not tell who is connected to it") from error
