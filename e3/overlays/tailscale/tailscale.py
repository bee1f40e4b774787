"""Tailscale: WireGuard tunnels between hosts that a control server introduces to each other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from e3.errors import ConfigurationError, OverlayError
from e3.handshakes import Marks
from e3.interfaces import Authority, Host, Ingress, Needs, Network
from e3.overlays.tailscale import api, client
from e3.overlays.unit import Members, Unit, apply
from e3.paths import Paths
from e3.remote.tasks import each_to_its_end, gather_or_cancel, in_thread

LONGEST_KEY_MINUTES = 90 * 24 * 60
"""The longest validity of a Tailscale auth key: 90 days."""


@dataclass(frozen=True, kw_only=True)
class Tailscale:
    """Tailscale with an external control server: the commercial one, or any by its URL.

    The control server decides who is a member: it distributes public keys and access rules, and
    learns who talks to whom. Its relays (DERP) learn that, too, but cannot read what they
    forward. The tailnet's own access rules apply; they must let the hosts reach each other.

    Hosts log in with the key of ``auth_key_file``. Without one the stack makes its own, for
    ``key_minutes`` and ``tag``, passes it as ``auth_key``, and removes devices by their ids.
    """

    needs: ClassVar[Needs] = Needs(
        tools=("tailscale",),
        punches=True,
        tun=True,
        address_trust="authenticated",
        account="a tailnet, and an auth key of it or credentials of its API",
        control_server=True,
        credential="tailnet",
        port_443_suffices=True,
    )
    range: ClassVar[None] = None
    handshake: ClassVar[str] = "wireguard"

    control_url: str = ""
    control_certificate: str = ""
    auth_key_file: str = ""
    tag: str = "tag:e3"
    key_minutes: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_KEY_MINUTES)] = 60
    policy: Literal["leave", "own"] = "leave"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 41_641
    auth_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Reject values that the hosts would refuse."""
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

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return nothing: the control server assigns addresses. Raise if there is no usable key."""
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
            api.account()
        return {}

    def ingress(self) -> Sequence[Ingress]:
        """Return the port at which Tailscale speaks UDP."""
        return (Ingress(protocol="udp", first=self.port, last=self.port),)

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Start Tailscale on each host, and log in those that are not logged in yet."""
        del authority, previous
        members = Members[Any, None](hosts=hosts, addresses={}, public={}, memory=None)
        newcomers: set[str] = set()

        async def one(host: Host) -> tuple[str, str]:
            await apply(host, self.plan(host, members))
            if not (await client.status(host)).logged_in:
                newcomers.add(host.name)
                await self._admit(host)
            said = await client.status(host)
            return said.address, said.own.id

        found = await gather_or_cancel(map(one, hosts))
        given = {host.name: each[0] for host, each in zip(hosts, found, strict=True)}
        await gather_or_cancel(
            client.meet(h, hosts, newcomers) for h in hosts if h.name in newcomers
        )
        devices = {host.name: each[1] for host, each in zip(hosts, found, strict=True)}
        return Network(addresses=given, memory={"devices": devices})

    async def paths(self, hosts: Sequence[Host], network: Network) -> Paths:
        """Ask each client for its current path to each other host."""
        return await client.paths(hosts, network)

    async def handshakes(self, hosts: Sequence[Host], network: Network) -> Marks:
        """Ask each client for its last handshake with each other host."""
        return await client.handshakes(hosts, network)

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Log out, then remove client and keys, and the device at the control server by its id.

        The device is removed although the host logs out: a host that is gone could not, and the
        next host of its name would be called ``NAME-1``.
        """
        known = network.memory.get("devices")
        devices = known if isinstance(known, dict) and not self.auth_key_file else {}

        async def one(host: Host) -> None:
            try:
                await client.log_out(host)
                await client.remove_client(host)
            finally:
                if host.name in devices:
                    await in_thread(api.account().remove_device, devices[host.name])

        await each_to_its_end(map(one, hosts))

    def plan(self, host: Host, members: Members[Any, None]) -> Sequence[Unit]:
        """Return the client of ``host``. Pure, except that it reads the certificate's file."""
        del members
        return [client.unit(host, port=self.port, certificate=self._certificate())]

    async def _admit(self, host: Host) -> None:
        try:
            await client.log_in(host, control_url=self.control_url, auth_key=self._auth_key())
        except OverlayError as error:
            if self.auth_key_file:
                raise
            raise OverlayError(
                f"{error}; if the key has expired, `pulumi refresh` and `pulumi up` make another"
            ) from error

    def _certificate(self) -> str:
        """Return the certificate of a control server that no public authority has signed."""
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
        """Return the key; configuration and state have only the path of a key in a file."""
        if not self.auth_key_file:
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
