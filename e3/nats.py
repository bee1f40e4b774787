"""NATs and firewalls before hosts, as values: named ones, and properties of one's own.

Pure. The terms are those of RFC 4787: *mapping* (4.1) says which outside endpoint stands for an
inside one, *filtering* (5) which packets from outside reach it, *hairpinning* (6) whether hosts
behind one NAT reach each other at their outside endpoints. `e3.lab.nat` makes NATs of these values;
docs/nats.md says which real networks they stand for.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from e3.errors import ConfigurationError

Reachability = Literal[
    "public",
    "full-cone",
    "address-restricted",
    "port-restricted",
    "symmetric",
    "cgnat",
    "udp-blocked",
    "tcp-443-only",
    "http-proxy",
    "ipv6-only",
]
"""What stands between a host and the others, as far as overlays judge by it.

Every host can open a connection to a ``public`` host. All others receive answers only. A
``full-cone`` host receives from anywhere at a UDP port from which it sent; an
``address-restricted`` one from any port of an address to which it sent; a ``port-restricted``
one, behind the usual home router, only from endpoints to which it sent; a ``symmetric`` one
likewise, with a new port for each destination. ``cgnat`` is a home router behind the carrier's.
Two classes are firewalls that let only TCP pass, or only port 443. From behind an ``http-proxy``
nothing but that leads out. A host that is ``ipv6-only`` has no IPv4 address, and its home router
lets no new flow in (RFC 6092).
"""

WITHOUT_UDP: Collection[Reachability] = ("udp-blocked", "tcp-443-only", "http-proxy")
"""From hosts of these classes no UDP leaves."""

Dependence = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]
Ports = Literal["preserved", "random"]
Passing = Literal["all", "tcp", "web", "tcp-443", "proxy"]
IpVersion = Literal["ipv4", "ipv6", "nat64"]

MOST_UDP_TIMEOUT_SECONDS = 86_400
LEAST_MTU_BYTES, USUAL_MTU_BYTES = 1280, 1500
"""RFC 8200, 5, asks for the first of every link; the second is Ethernet's."""

MOST_SHARING = 5
"""Hosts behind one NAT: the addresses of its network, a /29, besides its own."""

NAT64_PREFIX = "2001:2:0:64::/96"
"""By which a NAT64 embeds IPv4 addresses (RFC 6052): the well-known prefix excludes a lab's."""

SHARED = re.compile(r"[a-z][a-z0-9-]{0,14}")
EXAMPLE = "{like: home, udp-timeout-seconds: 30}"


def _in_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}; write a number from {least} to {most}")


def _firewall(ip: IpVersion, passing: set[Passing]) -> Reachability:
    if ip != "ipv4":
        return "ipv6-only"
    if "proxy" in passing:
        return "http-proxy"
    return "tcp-443-only" if passing & {"web", "tcp-443"} else "udp-blocked"


@dataclass(frozen=True, kw_only=True)
class NatBehaviour:
    """How the NAT or firewall before a host behaves; by default as the usual home router.

    With ``ports`` preserved, an outside port equals the inside one if it is free (RFC 4787, 4.2.1);
    a mapping that depends on the destination always draws its ports. A UDP mapping lives
    ``udp_timeout_seconds`` after the last packet in either direction. ``passes`` says what may
    leave: everything; only TCP; only TCP to the ports 80 and 443 and UDP to 53; only TCP to 443; or
    nothing: the router's HTTP proxy, which connects to port 443 by CONNECT, alone leads out.
    With ``port_mapping`` hosts may ask for an outside port (NAT-PMP, RFC 6886; PCP, RFC 6887).
    With ``ip`` ipv6 nothing is translated and the router only filters (RFC 6092); with nat64 it
    also leads to IPv4 addresses, embedded in `NAT64_PREFIX` (RFC 6146). Packets of more
    than ``mtu_bytes`` that must not be fragmented vanish without an ICMP error (RFC 2923, 2.1).
    Hosts of a region with the same text in ``shared`` are behind one NAT. ``carrier`` is the NAT
    of the provider, outside of this one. Raises `ValueError` for what cannot go together.
    """

    mapping: Dependence = "endpoint-independent"
    filtering: Dependence = "address-and-port-dependent"
    ports: Ports = "preserved"
    hairpinning: bool = False
    udp_timeout_seconds: int = 120
    passes: Passing = "all"
    port_mapping: bool = False
    ip: IpVersion = "ipv4"
    mtu_bytes: int = USUAL_MTU_BYTES
    shared: str = ""
    carrier: "NatBehaviour | None" = None

    def __post_init__(self) -> None:
        """Check what types cannot."""
        _in_range("udp-timeout-seconds", self.udp_timeout_seconds, 1, MOST_UDP_TIMEOUT_SECONDS)
        _in_range("mtu-bytes", self.mtu_bytes, LEAST_MTU_BYTES, USUAL_MTU_BYTES)
        if self.mapping != "endpoint-independent" and self.ports == "preserved":
            raise ValueError(f"mapping is {self.mapping}, which draws its ports; set ports: random")
        if self.shared and not SHARED.fullmatch(self.shared):
            raise ValueError(
                f"shared is {self.shared!r}; use up to 15 lower-case letters, digits and hyphens, "
                "beginning with a letter"
            )
        if self.ip != "ipv4":
            self._check_ipv6()
        if self.carrier is not None:
            self.carrier.check_carrier()

    def check_carrier(self) -> None:
        """Raise `ValueError` if a carrier has no such NAT."""
        if self.ip != "ipv4":
            raise ValueError("carrier is a firewall of IPv6; a carrier's NAT has IPv4")
        if self.carrier or self.shared or self.port_mapping or self.passes == "proxy":
            raise ValueError(
                "carrier has a carrier, is shared, maps ports or has a proxy; "
                "give it other properties"
            )

    def _check_ipv6(self) -> None:
        plain = NatBehaviour()
        for field in fields(self):
            if field.name in {"ip", "udp_timeout_seconds", "mtu_bytes"}:
                continue
            if getattr(self, field.name) != getattr(plain, field.name):
                wrong = _spell(field.name)
                raise ValueError(f"ip is {self.ip}, where no host has IPv4; leave {wrong} out")

    @property
    def layers(self) -> tuple["NatBehaviour", ...]:
        """The NATs that a packet from outside passes, one after another."""
        return (*((self.carrier,) if self.carrier else ()), self)

    @property
    def reachability(self) -> Reachability:
        """The class by which overlays judge what can reach the host; the strictest layer counts."""
        passing = {layer.passes for layer in self.layers}
        if self.ip != "ipv4" or passing != {"all"}:
            return _firewall(self.ip, passing)
        filtering = {layer.filtering for layer in self.layers}
        if filtering == {"endpoint-independent"}:
            return "full-cone"
        if any(layer.mapping != "endpoint-independent" for layer in self.layers):
            return "symmetric"
        if "address-and-port-dependent" not in filtering:
            return "address-restricted"
        return "cgnat" if self.carrier else "port-restricted"


HOME = NatBehaviour()
_DRAWING = NatBehaviour(mapping="address-and-port-dependent", ports="random")

CLASSES: Mapping[Reachability, NatBehaviour | None] = {
    "public": None,
    "full-cone": NatBehaviour(filtering="endpoint-independent", udp_timeout_seconds=300),
    "address-restricted": NatBehaviour(filtering="address-dependent"),
    "port-restricted": HOME,
    "symmetric": _DRAWING,
    "cgnat": NatBehaviour(carrier=HOME),
    "udp-blocked": NatBehaviour(passes="tcp"),
    "tcp-443-only": NatBehaviour(passes="tcp-443"),
    "http-proxy": NatBehaviour(passes="proxy"),
    "ipv6-only": NatBehaviour(ip="ipv6"),
}
"""What stands before a host of each class; nothing before a public one."""

PRESETS: Mapping[str, NatBehaviour] = {
    "home": NatBehaviour(udp_timeout_seconds=300),
    "corporate": replace(_DRAWING, passes="web"),
    "cloud-nat": replace(_DRAWING, udp_timeout_seconds=350),
    "mobile": replace(_DRAWING, udp_timeout_seconds=30),
    "hotel": replace(_DRAWING, passes="web", udp_timeout_seconds=60),
    "nat64": NatBehaviour(ip="nat64"),
    "port-mapping": NatBehaviour(port_mapping=True),
    "shared-home": NatBehaviour(shared="home"),
    "short-timeout": NatBehaviour(udp_timeout_seconds=30),
    "mtu-1280": NatBehaviour(mtu_bytes=1280),
}
"""Networks by the names that people give them."""

NAMED: Mapping[str, NatBehaviour | None] = {**dict(CLASSES.items()), **PRESETS}


def decode(place: str, value: object) -> NatBehaviour | None:
    """Return the NAT that a configuration names or describes, None for a public host.

    ``value`` is a name, or a mapping of properties, of which ``like`` names the NAT whose other
    properties it has; ``place`` says in errors where it stands. Raises `ConfigurationError`.
    """
    if isinstance(value, Mapping):
        return _described(place, value)
    if not isinstance(value, str) or value not in NAMED:
        raise ConfigurationError(
            f"{place} is {value!r}; choose one of {', '.join(NAMED)}, or write properties, as in "
            f"{EXAMPLE}"
        )
    return NAMED[value]


def to_text(behaviour: NatBehaviour | None) -> str:
    """Return its name, or its properties as JSON; `from_text` is the inverse."""
    name = _name(behaviour)
    return name or json.dumps(_properties(behaviour or HOME), separators=(",", ":"))


def from_text(place: str, text: str) -> NatBehaviour | None:
    """Return what `to_text` wrote; raise `ConfigurationError` if it is something else."""
    if not text.startswith("{"):
        return decode(place, text)
    try:
        return decode(place, json.loads(text))
    except ValueError as error:
        raise ConfigurationError(f"{place} is no JSON: {error}") from None


def _described(place: str, values: Mapping[str, object]) -> NatBehaviour:
    names = {_spell(field.name): field.name for field in fields(NatBehaviour)}
    base = decode(f"{place}: like", values.get("like", "port-restricted"))
    if base is None:
        raise ConfigurationError(
            f"{place}: like is 'public'; there is no NAT before a public host, so choose another"
        )
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key != "like" and key not in names:
            raise ConfigurationError(
                f"{place} has no property {key!r}; choose of like, {', '.join(names)}"
            )
        if key != "like":
            changes[names[key]] = _property(f"{place}: {key}", names[key], value)
    if changes.get("mapping", base.mapping) != "endpoint-independent":
        changes.setdefault("ports", "random")
    try:
        return replace(base, **changes)
    except ValueError as error:
        raise ConfigurationError(f"{place}: {error}") from None


def _property(place: str, name: str, value: object) -> object:
    """Return the value of a property; raise `ConfigurationError` if it is of the wrong type."""
    kind = _TYPES[name]
    if name == "carrier":
        return decode(place, value)
    if choices := get_args(kind):
        if value not in choices:
            raise ConfigurationError(f"{place} is {value!r}; choose one of {', '.join(choices)}")
        return value
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # in Pulumi's state each number is a float
    if type(value) is not kind:
        wanted = {int: "a whole number", bool: "true or false", str: "a text"}[kind]
        raise ConfigurationError(f"{place} is {value!r}; write {wanted}")
    return value


def _properties(behaviour: NatBehaviour) -> dict[str, object]:
    """Return what makes the NAT from a named one, as a configuration spells it."""
    named = _name(replace(behaviour, shared=""))
    if behaviour.shared and named:
        return {"like": named, "shared": behaviour.shared}
    told: dict[str, object] = {}
    for field in fields(behaviour):
        value = getattr(behaviour, field.name)
        if isinstance(value, NatBehaviour):
            value = _name(value) or _properties(value)
        if value != field.default:
            told[_spell(field.name)] = value
    return told


def _name(behaviour: NatBehaviour | None) -> str:
    return next((name for name, known in NAMED.items() if known == behaviour), "")


def _spell(name: str) -> str:
    return name.replace("_", "-")


_TYPES: Mapping[str, Any] = get_type_hints(NatBehaviour)
