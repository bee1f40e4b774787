"""The hosts of a stack in the formats of other tools. Pure.

Only ``ssh_config`` says how a host is reached; a host's name is an alias there. Ports, users,
keys and jump hosts are written once, and each of these formats only names the host.
Texts are without their last newline, as `pulumi stack output` adds one.
"""

import ipaddress
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import yaml

from e3.errors import HostError
from e3.interfaces import Endpoint, Host, party_port
from e3.remote.text import printable

TTL_SECONDS = 300
ADDRESS = re.compile(r"[\w.:%-]*")
PATH_MORE = ("by", "class_after", "by_after")
PATH = re.compile(r"(?:(?!\{[{%#]).)*")
"""The allowed form of an address or name, and of a path: no template of Ansible begins in it."""


@dataclass(frozen=True, kw_only=True)
class HostOutput:
    """A host, its overlay address, and the index of its party if it runs one."""

    host: Host
    overlay: str
    pid: int | None

    def __post_init__(self) -> None:
        """Reject values that a format would read as its syntax, since hosts report some of them."""
        for value, form in (
            (self.host.name, ADDRESS),
            (self.host.region, ADDRESS),
            (self.host.underlay, ADDRESS),
            (self.overlay, ADDRESS),
            (self.host.python, PATH),
        ):
            if not (value.isprintable() and form.fullmatch(value)):
                raise HostError(
                    f"host {printable(self.host.name)}: {printable(value)!r} cannot be written "
                    "into the lists of hosts; give it a plain name, address or path"
                )


def describe(members: Sequence[HostOutput]) -> list[dict[str, Any]]:
    """Return the output ``hosts``; ``pid`` is None for a host that runs no party."""
    return [
        {
            "name": member.host.name,
            "region": member.host.region,
            "underlay": member.host.underlay,
            "overlay": member.overlay,
            "pid": member.pid,
        }
        for member in members
    ]


def dns(members: Sequence[HostOutput]) -> str:
    """Return records of a zone file (RFC 1035, 5): each host, and ``HOST.overlay``."""
    names = [(member.host.name, member.host.underlay) for member in members]
    names += [(f"{member.host.name}.overlay", member.overlay) for member in members]
    return "\n".join(f"{name} {TTL_SECONDS} IN {_record(target)}" for name, target in names)


def mpyc(members: Sequence[HostOutput]) -> str:
    """Return a line for each party by pid: its host, its endpoint, and the Python that has MPyC."""
    lines = {}
    for member in members:
        if member.pid is not None:
            port = party_port(member.pid, len(members))
            at = Endpoint(address=member.overlay, port=port)
            lines[member.pid] = f"{member.host.name} {at} {member.host.python}"
    return "\n".join(lines[pid] for pid in sorted(lines))


def pssh(members: Sequence[HostOutput], ssh_config: str) -> str:
    """Return a host file of parallel-ssh(1): a host a line; give it ``-x '-F SSH_CONFIG'``."""
    del ssh_config
    return "\n".join(member.host.name for member in members)


def colmena(members: Sequence[HostOutput], ssh_config: str) -> dict[str, Any]:
    """Return a NixOS module for each node of a Colmena hive; give it ``SSH_CONFIG_FILE``.

    Options as in Colmena's manual, reference/deployment.md; without a user, SSH's own is taken.
    """
    del ssh_config
    return {
        member.host.name: {
            "deployment": {
                "targetHost": member.host.name,
                "targetUser": None,
                "tags": [member.host.region],
            },
            "networking": {"hostName": member.host.name},
            "nixpkgs": {"system": member.host.system},
        }
        for member in members
    }


def ansible(members: Sequence[HostOutput], ssh_config: str) -> str:
    """Return an inventory of Ansible in YAML, with a group for each region.

    Format of the inventory plugin ansible.builtin.yaml; connection variables of
    ansible.builtin.ssh.
    """
    regions: dict[str, dict[str, dict[str, Any]]] = {}
    for member in members:
        regions.setdefault(member.host.region, {"hosts": {}})["hosts"][member.host.name] = {
            "e3_underlay": member.host.underlay,
            "e3_overlay": member.overlay,
            "e3_python": member.host.python,
            **({} if member.pid is None else {"e3_pid": member.pid}),
        }
    arguments = shlex.join(["-F", ssh_config])
    inventory = {"all": {"vars": {"ansible_ssh_common_args": arguments}, "children": regions}}
    return yaml.safe_dump(inventory, sort_keys=False).rstrip()


def session(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the output ``session``: the result of a session with its paths as one line.

    Of a list, `pulumi up` would show four lines a path. Each path is ``FROM TO CLASS RTT_MS``,
    then ``by=HOST``, ``class_after=CLASS`` and ``by_after=HOST`` where they are known; ``; `` is
    between paths. `read_paths` is the inverse.
    """
    return {**result, "paths": "; ".join(map(_path, result.get("paths", ())))}


def read_paths(line: str) -> list[dict[str, Any]]:
    """Return the paths of the output ``session`` as a result has them; raise `ValueError`."""
    return [_read_path(path) for path in line.split("; ") if path]


def _path(path: Mapping[str, Any]) -> str:
    # `by` may be a relay's name of an overlay's own
    more = [f"{key}={quote(path[key])}" for key in PATH_MORE if path.get(key)]
    return " ".join([path["from"], path["to"], path["class"], str(path["rtt_ms"]), *more])


def _read_path(text: str) -> dict[str, Any]:
    source, target, path_class, rtt_ms, *more = text.split(" ")
    known = {"from": source, "to": target, "class": path_class, "rtt_ms": float(rtt_ms)}
    values = dict(word.split("=", 1) for word in more)
    return {**known, **{key: unquote(values[key]) for key in PATH_MORE if key in values}}


ANYWHERE: Mapping[str, Callable[[Sequence[HostOutput]], object]] = {
    "hosts": describe,
    "hosts-dns": dns,
    "hosts-mpyc": mpyc,
}
BY_SSH: Mapping[str, Callable[[Sequence[HostOutput], str], object]] = {
    "hosts-ansible": ansible,
    "hosts-colmena": colmena,
    "hosts-pssh": pssh,
}
"""For hosts that ssh_config reaches; its path is the second argument."""


def _record(target: str) -> str:
    try:
        version = ipaddress.ip_address(target).version
    except ValueError:
        return f"CNAME {target.rstrip('.')}."
    return f"{'A' if version == 4 else 'AAAA'} {target}"  # noqa: PLR2004 - IPv4
