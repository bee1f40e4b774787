"""The file that lists machines: YAML to typed values; errors name the place of a mistake.

::

    defaults: {user: pi, key: ~/.ssh/id_ed25519}
    hosts:
      - {host: attic, address: 192.168.1.11, region: home, host-key: ssh-ed25519 AAAA...}
      - {host: office, ssh-config: ~/.ssh/config, region: work, reachability: symmetric}
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import msgspec

from e3.access.ssh import ServiceManager
from e3.errors import ConfigurationError
from e3.inventory import foreign
from e3.nats import Reachability
from e3.remote.text import printable

SYSTEMS = ("x86_64-linux", "aarch64-linux", "armv7l-linux", "armv6l-linux", "i686-linux")
"""The systems that a party runs on, as Nix names them; the last three have 32-bit words."""

MOST = 1000
"""Machines in a list; MPyC's own examples end at 300 parties."""

NAME = r"(?!-)[\w.:%+-]{1,255}"
PATH, PATHS = r"(?!-)(?:(?!\$\{)[^\"'`\\]){1,4096}", "no quotes, backslashes or ${"
FORMS: Mapping[str, tuple[str, str]] = {
    "host": (NAME, "letters, digits and . _ : % + -"),
    "address": (NAME, "letters, digits and . _ : % + -"),
    "user": (r"(?!-)[\w.@+-]{1,255}", "letters, digits and . _ @ + -"),
    "key": (PATH, PATHS),
    "host_key": (
        r"[a-z0-9@.-]{1,64} [A-Za-z0-9+/]{1,16384}={0,2}(?: [\w.@:+-]{0,255}){0,8}",
        "one public key: its type, a space and its base64 text",
    ),
    "ssh_config": (PATH, PATHS),
    "region": (r"[a-z][a-z0-9]{0,31}", "small letters and digits"),
    "underlay": (r"[0-9A-Fa-f:.]{2,45}(?:%[\w.-]{1,15})?", "an IP address"),
    "python": (r"(?!-)[\w./+~-]{1,4096}", "letters, digits and . _ / + ~ -"),
}
"""The allowed form of each text, as a pattern and in words: other tools read these texts."""

System = Literal["x86_64-linux", "aarch64-linux", "armv7l-linux", "armv6l-linux", "i686-linux"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine as the file describes it; what is None is found out on the machine itself.

    ``host`` is any name. It is also the address if there is no other, and an alias if an OpenSSH
    configuration ``ssh_config`` is given. ``underlay`` is the address that the other machines use
    if it is not ``address``. ``sudo`` runs everything as root.
    """

    host: str
    address: str = ""
    port: int | None = None
    user: str | None = None
    key: str = ""
    host_key: str = ""
    ssh_config: str = ""
    region: str = "home"
    reachability: Reachability = "public"
    underlay: str = ""
    system: System | None = None
    sudo: bool | None = None
    services: ServiceManager | None = None
    python: str = ""

    def __post_init__(self) -> None:
        """Reject values that cannot work, or that another tool would read as syntax."""
        for name, (pattern, allowed) in FORMS.items():
            value = getattr(self, name)
            if value or name in {"host", "region"}:
                _check_text(name.replace("_", "-"), value, pattern, allowed)
        if self.underlay:
            ipaddress.ip_address(self.underlay)
        if self.reachability == "ipv6-only":
            raise ValueError(
                "reachability ipv6-only is for labs, whose public hosts have addresses of both "
                "kinds; where all machines have an IPv6 underlay, port-restricted says the same"
            )
        if self.reachability == "http-proxy":
            raise ValueError(
                "reachability http-proxy is for labs, which know the proxy; where the programs of "
                "the machine use it already, tcp-443-only says the same"
            )
        if self.port is not None and not 0 < self.port < 65_536:  # noqa: PLR2004
            raise ValueError(f"port {self.port} is not between 1 and 65535")
        if self.ssh_config and self.address:
            raise ValueError("address is in ssh-config already; leave one of them out")

    def to_properties(self) -> dict[str, Any]:
        """Return what differs from the defaults, as the file spells it."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {
            k.replace("_", "-"): value for k, (value, usual) in values.items() if value != usual
        }


def _check_text(field: str, value: str | None, pattern: str, allowed: str) -> None:
    text = value or ""
    if not text.isprintable() or not re.fullmatch(pattern, text):
        raise ValueError(f"{field} {printable(text)!r} is not allowed there; use {allowed}")


def from_properties(values: Mapping[str, Any]) -> Machine:
    """Return what `Machine.to_properties` made, also if Pulumi's state made 22.0 of 22."""
    return msgspec.convert(_fields(values), Machine, strict=False)


def read(path: str | Path) -> tuple[Machine, ...]:
    """Return the machines that the file lists, in its order.

    Raises `ConfigurationError` that says where it is wrong.
    """
    path = Path(path).expanduser()
    try:
        text = foreign.read_text(path)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"e3:fleet-options: file {error}; list your machines there, or let "
            "`e3 inventory import` write it"
        ) from None
    raw = foreign.read_yaml(text, str(path))
    return parse(raw, str(path))


def parse(raw: object, source: str) -> tuple[Machine, ...]:
    """Return the machines of what a YAML file holds; ``source`` names it in errors."""
    table = {"hosts": raw} if isinstance(raw, list) else raw
    if not isinstance(table, dict) or not isinstance(table.get("hosts"), list):
        raise ConfigurationError(
            f"{source} lists no machines; write `hosts:` and an entry `- {{host: NAME}}` for each"
        )
    if unknown := set(table) - {"hosts", "defaults"}:
        raise ConfigurationError(
            f"{source}: unknown key {printable(min(map(str, unknown)))!r}; it has hosts, defaults"
        )
    defaults = table.get("defaults") or {}
    if len(table["hosts"]) > MOST:
        raise ConfigurationError(f"{source} lists more than {MOST} machines; split it")
    machines = tuple(_machine(entry, defaults, source) for entry in table["hosts"])
    if not machines:
        raise ConfigurationError(f"{source} lists no machine; add one below `hosts:`")
    for place in ("host", "address"):
        known = [(getattr(m, place), m.port) for m in machines if getattr(m, place)]
        twice = [name for i, (name, port) in enumerate(known) if (name, port) in known[:i]]
        if twice:
            raise ConfigurationError(f"{source} lists {place} {twice[0]!r} twice; remove one")
    return machines


def named(machines: Sequence[Machine]) -> Mapping[str, Machine]:
    """Return each machine by the name that it has in an experiment: ``<region>-<index>``.

    Regions are in alphabetical order, as the configuration has them, machines in the file's.
    """
    found: dict[str, Machine] = {}
    for region, count in regions(machines).items():
        of_region = [machine for machine in machines if machine.region == region]
        found.update({f"{region}-{i}": of_region[i] for i in range(count)})
    return found


def regions(machines: Sequence[Machine]) -> dict[str, int]:
    """Return the number of machines in each region, in alphabetical order."""
    names = sorted(machine.region for machine in machines)
    return {name: names.count(name) for name in names}


def _machine(entry: object, defaults: object, source: str) -> Machine:
    if not isinstance(entry, dict) or not isinstance(defaults, dict):
        raise ConfigurationError(
            f"{source}: {printable(repr(entry))} is no machine; write `{{host: NAME, ...}}`"
        )
    name = printable(entry.get("host", "?"))
    raw = {**defaults, **entry}
    known = [field.replace("_", "-") for field in Machine.__dataclass_fields__]
    for key in raw:
        if key not in known:
            raise ConfigurationError(
                f"{source}: host {name}: unknown key {printable(key)!r}; choose one of "
                f"{', '.join(known)}"
            )
    try:
        return msgspec.convert(_fields(raw), Machine)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        said, _, field = str(error).partition(" - at `$")
        place = field.strip("`.").replace("_", "-")
        reason = said.replace("`", "") + (f": {place}" if place else "")
        raise ConfigurationError(f"{source}: host {name}: {reason}") from None


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in values.items()}
