"""Convert existing lists of machines to E3's: Ansible, OpenSSH, Colmena, parallel-ssh.

Each is read by the tool that owns the format, if it has a reader (ADR 30). What is not understood
is reported with its line, and nothing is guessed. What such a list does not say (NATs, host keys)
is left out; the keys are then checked against the user's own known_hosts.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from e3.errors import ConfigurationError
from e3.inventory import aliases, ansible, foreign
from e3.inventory.machines import Machine
from e3.inventory.report import ImportReport
from e3.remote.text import printable

BESIDE = ("group_vars", "host_vars")
NOT_MACHINES = frozenset({"meta", "defaults", "network"})
"""Of a Colmena hive (its manual, reference/meta.md); the last is an older name of the first."""

MARK = "\N{BYTE ORDER MARK}"
OWNERS = {"ansible-ini": "Ansible", "ssh": "OpenSSH"}
ENTRY = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<place>\S+)")
SECTION = re.compile(r"^\s*\[[\w. -]+(?::\w+)?\]\s*(?:[#;].*)?$", re.MULTILINE)
DIRECTIVE = re.compile(r"^\s*(?:Host|Match|Include)(?:\s*=\s*|\s+)\S", re.MULTILINE | re.IGNORECASE)
ASSIGNMENT = re.compile(r"^[^#;\n]*\s[A-Za-z_]\w*=", re.MULTILINE)

RANGED = re.compile(r"^[^#;\n]*\[\w+:\w+(?::\d+)?\]", re.MULTILINE)


def read(path: Path, kind: str | None = None) -> ImportReport:
    """Return what a file lists; without a ``kind`` it is guessed.

    Raises `ConfigurationError` if it lists no machine, or cannot be read as that kind.
    """
    path = path.absolute()
    text = foreign.read_text(path, strict=False)
    plain = text.removeprefix(MARK)
    given, kind = kind, kind or guess(plain, path)
    if plain != text and kind in OWNERS:
        raise ConfigurationError(
            f"{path}, line 1: a byte order mark, which {OWNERS[kind]} does not read; remove it "
            "(sed -i '1s/^\\xEF\\xBB\\xBF//')"
        )
    report = ImportReport(str(path), plain)
    try:
        KINDS[kind](report, path)
    except (ConfigurationError, ValueError) as error:
        others = ", ".join(sorted(set(KINDS) - {kind}))
        said = str(error).removeprefix(f"{path}, ").removeprefix(f"{path}: ")
        raise ConfigurationError(
            f"{path} cannot be read as {kind}: {said}; correct that, or name another --format: "
            f"{others}"
        ) from None
    # in any text some lines look like hosts
    if not report.machines or (given is None and kind == "pssh" and report.left_out):
        said = "".join(f"\n  {note}" for note in report.notes)
        raise ConfigurationError(
            f"{path} is no list of machines that {kind} would know; correct it, or name its "
            f"--format{said}"
        )
    return report


def guess(text: str, path: Path = Path("list")) -> str:
    """Return which kind of list a text most likely is."""
    if text.startswith("#!"):
        raise ConfigurationError(
            f"{path} is a program, and none of an inventory is run here; run `ansible-inventory -i "
            f"{path.name} --list > list.json` yourself, and import that"
        )
    if text.startswith("$ANSIBLE_VAULT"):
        raise ConfigurationError(
            f"{path} is encrypted by ansible-vault; import what `ansible-vault view` prints of it"
        )
    if path.suffix == ".nix":
        raise ConfigurationError(
            f"{path} is an expression of Nix; import what `colmena eval` prints of its nodes"
        )
    keys = _top(text)
    if keys is not None and set(keys) <= {"hosts", "defaults"}:
        raise ConfigurationError(f"{path} is a list of E3's own; name it in e3:fleet-options")
    if keys is not None:
        kind = _kind_of_mapping(keys)
        lists = kind == "ansible-list" and not text.lstrip().startswith("{")
        return "ansible-yaml" if lists else kind
    if path.suffix in {".yml", ".yaml", ".json"} or text.startswith("---"):
        return "ansible-yaml"
    if SECTION.search(text):
        return "ansible-ini"
    if DIRECTIVE.search(text) and not re.search(r"\sansible_\w+\s*=", text):
        return "ssh"
    return "ansible-ini" if ASSIGNMENT.search(text) or RANGED.search(text) else "pssh"


def render(found: Sequence[Machine]) -> str:
    """Return the file that lists these machines."""
    hosts = [machine.to_properties() for machine in found]
    return yaml.safe_dump({"hosts": hosts}, sort_keys=False, width=100)


def ansible_ini(report: ImportReport, path: Path) -> None:
    """Read an inventory in INI, with group_vars and host_vars beside it."""
    _beside(report, path)
    ansible.read(report, path, "ini")


def ansible_yaml(report: ImportReport, path: Path) -> None:
    """Read an inventory in YAML, with group_vars and host_vars beside it."""
    if re.search(r"^plugin:", report.text, re.MULTILINE):
        raise ConfigurationError(
            f"{report.place('plugin')}: this configures a plugin, and none of an inventory is run; "
            f"run `ansible-inventory -i {path.name} --list > list.json` yourself, and import that"
        )
    _beside(report, path)
    ansible.read(report, path, "yaml")


def ansible_list(report: ImportReport, path: Path) -> None:
    """Read what ``ansible-inventory --list`` or an inventory script printed, as JSON."""
    ansible.take(report, _mapping(report, path))


def ssh_config(report: ImportReport, path: Path) -> None:
    """Read an OpenSSH configuration: each alias without a pattern is a machine."""
    aliases.read(report, path)


def colmena(report: ImportReport, path: Path) -> None:
    """Read the nodes of a Colmena hive: ``{NAME: {deployment: {targetHost: ...}}}``.

    Defaults as in Colmena's manual, reference/deployment.md.
    """
    table = _mapping(report, path)
    usual = {"targetUser": "root", **_part(report, "defaults", table.get("defaults"), "deployment")}
    for name, node in table.items():
        if name in NOT_MACHINES:
            continue
        place = report.place(name, f'"{name}"')
        where = {**usual, **_part(report, name, node, "deployment")}
        address = where.get("targetHost", name)
        if address is None:
            said = "has targetHost null, as it is deployed on itself alone; it is not taken"
            report.note(place, f"{printable(name)} {said}")
        elif where.get("sshOptions"):
            report.leave_out(name, place, "its sshOptions say how it is reached; use ssh-config")
        else:
            values = {
                "host": name,
                "address": "" if address == name else address,
                "port": where.get("targetPort"),
                "user": where.get("targetUser"),
                "system": _part(report, name, node, "nixpkgs").get("system"),
            }
            tags = where.get("tags") or []
            report.add(values, tags if isinstance(tags, list) else [tags], place)


def pssh(report: ImportReport, path: Path) -> None:
    """Read a host file of parallel-ssh: ``[user@]host[:port] [user]`` a line."""
    del path
    for number, line in enumerate(report.text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        place = f"{report.source}, line {number}"
        match = ENTRY.fullmatch(words[0])
        if match is None or len(words) > 2 or (match["user"] and len(words) > 1):  # noqa: PLR2004
            report.leave_out(words[0], place, "the form is [user@]host[:port], or host[:port] user")
            continue
        host, port = _address(match["place"])
        user = words[1] if len(words) > 1 else match["user"]
        report.add({"host": host, "port": port or None, "user": user}, (), place)


KINDS: Mapping[str, Callable[[ImportReport, Path], None]] = {
    "ansible-ini": ansible_ini,
    "ansible-list": ansible_list,
    "ansible-yaml": ansible_yaml,
    "colmena": colmena,
    "pssh": pssh,
    "ssh": ssh_config,
}


def _address(place: str) -> tuple[str, str]:
    """Return host and port of ``host[:port]``; an IPv6 address with a port needs brackets."""
    if match := re.fullmatch(r"\[([^\]]*)\](?::(\d*))?", place):
        return match[1], match[2] or ""
    try:
        return str(ipaddress.IPv6Address(place)), ""
    except ValueError:
        host, _, port = place.partition(":")
        return host, port


def _mapping(report: ImportReport, path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON or YAML file."""
    try:
        table = msgspec.json.decode(report.text)
    except (msgspec.DecodeError, RecursionError):
        table = foreign.read_yaml(report.text, str(path))
    if not isinstance(table, dict):
        raise ConfigurationError("it maps no names to anything")
    return {str(key): value for key, value in table.items()}


def _part(report: ImportReport, name: str, node: object, key: str) -> dict[str, Any]:
    """Return a part of a node; raise `ConfigurationError` if it is no mapping."""
    part = (node if node is not None else {}) if isinstance(node, dict | None) else 0
    part = (part.get(key) or {}) if isinstance(part, dict) else 0
    if not isinstance(part, dict):
        raise ConfigurationError(f"{report.place(name)}: {printable(name)} has no mapping {key}")
    return part


def _beside(report: ImportReport, path: Path) -> None:
    """Add the files of variables to those in which lines are looked up."""
    for folder in BESIDE:
        for file in sorted((path.parent / folder).rglob("*"))[:100]:
            if file.is_file() and file.stat().st_size < foreign.MOST_BYTES:
                report.others[str(file)] = file.read_text(errors="replace")


def _top(text: str) -> dict[str, yaml.Node] | None:
    """Return the keys of a mapping in YAML or JSON with their nodes, or None for other texts."""
    try:
        node = foreign.check_yaml(text)
    except yaml.YAMLError:
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    return {str(key.value): value for key, value in node.value}


def _kind_of_mapping(keys: Mapping[str, yaml.Node]) -> str:
    if "plugin" in keys:
        return "ansible-yaml"
    inner = [
        (str(key.value), value)
        for node in keys.values()
        if isinstance(node, yaml.MappingNode)
        for key, value in node.value
    ]
    lists = any(key == "hosts" and isinstance(value, yaml.SequenceNode) for key, value in inner)
    if "_meta" in keys or lists or any(isinstance(n, yaml.SequenceNode) for n in keys.values()):
        return "ansible-list"
    return "colmena" if any(key == "deployment" for key, _ in inner) else "ansible-yaml"
