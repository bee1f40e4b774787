"""Lists of machines that people have, as E3's: Ansible, OpenSSH, Colmena, parallel-ssh.

What such a list does not say (what stands before a machine, host keys) is left out; the user's
own known_hosts then vouch for the keys.
"""

import glob
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from e3.errors import ConfigurationError
from e3.inventory import machines
from e3.inventory.machines import Machine

VARIABLES = {
    "ansible_host": "address",
    "ansible_ssh_host": "address",
    "ansible_port": "port",
    "ansible_ssh_port": "port",
    "ansible_user": "user",
    "ansible_ssh_user": "user",
    "ansible_ssh_private_key_file": "key",
    "ansible_private_key_file": "key",
    "ansible_become": "sudo",
    "ansible_python_interpreter": "python",
}
"""Fields by Ansible's variables (ansible.builtin.ssh)."""

EVERYONE = frozenset({"all", "ungrouped"})


def read(path: Path, kind: str | None = None) -> list[Machine]:
    """Return the machines that a file of that kind lists; without one, the kind is found out.

    Raises `ConfigurationError` when it lists none, or cannot be read as that.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    kind = kind or guess(text)
    try:
        found = KINDS[kind](text, path)
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as {kind}: {error}; name another --format, one of "
            f"{', '.join(sorted(KINDS))}"
        ) from None
    if not found:
        raise ConfigurationError(f"{path} lists no machines that {kind} would know")
    return found


def guess(text: str) -> str:
    """Return which kind of list a text most likely is."""
    try:
        table = yaml.safe_load(text)
    except yaml.YAMLError:
        table = None
    if isinstance(table, dict):
        values = [value for value in table.values() if isinstance(value, dict)]
        return "colmena" if any("deployment" in value for value in values) else "ansible-yaml"
    if re.search(r"^\s*Host[\s=]", text, re.MULTILINE | re.IGNORECASE):
        return "ssh"
    return "ansible-ini" if re.search(r"^\[|\s\w+=", text, re.MULTILINE) else "pssh"


def render(found: Sequence[Machine]) -> str:
    """Return the file that lists these machines."""
    hosts = [machine.to_properties() for machine in found]
    return yaml.safe_dump({"hosts": hosts}, sort_keys=False, width=100)


def ansible_yaml(text: str, path: Path) -> list[Machine]:
    """Read an inventory in YAML; a machine's region is the group that it stands in."""
    hosts: dict[str, dict[str, Any]] = {}
    for name, group in yaml.safe_load(text).items():
        _walk(name, group or {}, {}, hosts)
    return [_of_ansible(name, values, path) for name, values in hosts.items()]


def ansible_ini(text: str, path: Path) -> list[Machine]:
    """Read an inventory in INI; groups of groups and variables of groups count."""
    groups: dict[str, dict[str, Any]] = {}
    section = "ungrouped"
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if re.fullmatch(r"\[.+\]", words[0]):
            section = words[0][1:-1]
            continue
        name, _, part = section.partition(":")
        group = groups.setdefault(name, {})
        if part == "vars":
            key, _, value = " ".join(words).partition("=")
            group.setdefault("vars", {})[key.strip()] = value.strip()
        elif part == "children":
            group.setdefault("children", []).append(words[0])
        else:
            values = dict(word.split("=", 1) for word in words[1:])
            group.setdefault("hosts", {}).update(dict.fromkeys(expand(words[0]), values))
    hosts: dict[str, dict[str, Any]] = {}
    nested = {child for group in groups.values() for child in group.get("children", [])}
    everyone = groups.pop("all", {})
    for name in [name for name in groups if name not in nested]:
        _walk(name, _nest(groups, name, ()), everyone.get("vars", {}), hosts)
    _walk("all", {"hosts": everyone.get("hosts", {})}, everyone.get("vars", {}), hosts)
    return [_of_ansible(name, values, path) for name, values in hosts.items()]


def ssh_config(text: str, path: Path) -> list[Machine]:
    """Read an OpenSSH configuration: each alias without a pattern is a machine."""
    names = dict.fromkeys(_aliases(text, path, 0))
    return [Machine(host=name, ssh_config=str(path)) for name in names]


def colmena(text: str, path: Path) -> list[Machine]:
    """Read the nodes of a Colmena hive as JSON: ``{NAME: {deployment: {targetHost: ...}}}``."""
    del path
    found = []
    for name, node in yaml.safe_load(text).items():
        where = node.get("deployment", {})
        values = {
            "host": name,
            "address": where.get("targetHost") or "",
            "port": where.get("targetPort"),
            "user": where.get("targetUser"),
            "system": (node.get("nixpkgs") or {}).get("system"),
        }
        found.append(_machine(values, where.get("tags", [])))
    return found


def pssh(text: str, path: Path) -> list[Machine]:
    """Read a host file of parallel-ssh: ``[user@]host[:port] [user]`` a line."""
    del path
    found = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words:
            user, _, place = words[0].rpartition("@")
            host, _, port = place.partition(":")
            user = words[1] if len(words) > 1 else user
            found.append(_machine({"host": host, "port": port or None, "user": user or None}))
    return found


KINDS: Mapping[str, Callable[[str, Path], list[Machine]]] = {
    "ansible-ini": ansible_ini,
    "ansible-yaml": ansible_yaml,
    "colmena": colmena,
    "pssh": pssh,
    "ssh": ssh_config,
}


def expand(name: str) -> Iterator[str]:
    """Yield the hosts that Ansible means by ``web[01:03].lan`` or ``db-[a:c]``."""
    match = re.search(r"\[(\w+):(\w+)(?::(\d+))?\]", name)
    if match is None:
        yield name
        return
    first, last, step = match[1], match[2], int(match[3] or 1)
    if first.isdigit():
        parts = [str(i).zfill(len(first)) for i in range(int(first), int(last) + 1, step)]
    else:
        parts = [chr(i) for i in range(ord(first), ord(last) + 1, step)]
    for part in parts:
        yield from expand(f"{name[: match.start()]}{part}{name[match.end() :]}")


def _nest(groups: Mapping[str, Any], name: str, above: tuple[str, ...]) -> dict[str, Any]:
    """Return a group of the INI form as the YAML form has it."""
    if name in above:
        raise ValueError(f"group {name} is its own child")
    group = groups.get(name, {})
    children = {child: _nest(groups, child, (*above, name)) for child in group.get("children", [])}
    return {**group, "children": children}


def _walk(
    name: str,
    group: Mapping[str, Any],
    inherited: Mapping[str, Any],
    hosts: dict[str, dict[str, Any]],
) -> None:
    """Collect a group's hosts with their variables; those of an inner group go before."""
    variables = {**inherited, **(group.get("vars") or {})}
    region = {} if name in EVERYONE else {"region": name}
    for pattern, own in (group.get("hosts") or {}).items():
        for host in expand(pattern):
            known = hosts.setdefault(host, {})
            known.update({**variables, **known, **(own or {}), **region})
    for child, inner in (group.get("children") or {}).items():
        _walk(child, inner or {}, variables, hosts)


def _of_ansible(name: str, variables: Mapping[str, Any], path: Path) -> Machine:
    values: dict[str, Any] = {"host": name}
    for variable, field in VARIABLES.items():
        if (value := variables.get(variable)) is not None:
            values[field] = value
    if isinstance(values.get("sudo"), str):
        values["sudo"] = values["sudo"].lower() in {"yes", "true", "1"}
    if str(values.get("python", "")).startswith("auto"):
        del values["python"]
    jump = re.search(r"-F\s*(\S+)", str(variables.get("ansible_ssh_common_args", "")))
    if jump:  # its own configuration says how to reach it
        values["ssh_config"] = str(path.parent / Path(jump[1].strip("'\"")).expanduser())
        values.pop("address", None)
    return _machine(values, [str(variables["region"])] if "region" in variables else [])


def _machine(values: Mapping[str, Any], tags: Sequence[str] = ()) -> Machine:
    """Return a machine; its region is made of the first tag, if there is one."""
    region = re.sub(r"[^a-z0-9]", "", tags[0].lower()).lstrip("0123456789") if tags else ""
    known = {key: value for key, value in values.items() if value not in {None, ""}}
    return machines.from_properties({**known, **({"region": region} if region else {})})


def _aliases(text: str, path: Path, depth: int) -> Iterator[str]:
    for line in text.splitlines():
        words = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        if len(words) < 2:  # noqa: PLR2004 -- a keyword and what follows
            continue
        keyword, rest = words[0].lower(), shlex.split(words[1], comments=True)
        if keyword == "host":
            yield from (name for name in rest if not set(name) & set("*?!"))
        elif keyword == "include" and depth < 16:  # noqa: PLR2004 -- as in ssh_config(5)
            for pattern in rest:
                place = Path(pattern).expanduser()
                place = place if place.is_absolute() else path.parent / place
                for name in sorted(glob.glob(str(place))):  # noqa: PTH207 -- a pattern of any depth
                    yield from _aliases(Path(name).read_text(), Path(name), depth + 1)
