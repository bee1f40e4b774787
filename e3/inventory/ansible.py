"""What E3 uses of an inventory that Ansible has read (`e3.inventory.ansible_inventory`)."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from e3.errors import ConfigurationError
from e3.inventory import ansible_inventory
from e3.inventory.report import ImportReport
from e3.remote.text import printable

MOST_HOSTS = 10_000

VARIABLES = {
    "ansible_host": "address",
    "ansible_ssh_host": "address",
    "ansible_port": "port",
    "ansible_ssh_port": "port",
    "ansible_user": "user",
    "ansible_ssh_user": "user",
    "ansible_private_key_file": "key",
    "ansible_ssh_private_key_file": "key",
}
"""Variables of ansible.builtin.ssh that say how a machine is reached; later ones override."""

ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
KNOWN = re.compile(r"\{\{\s*inventory_hostname(_short)?\s*\}\}")
"""The only expressions with a value that needs no evaluation: the machine's own name."""

OVER_SSH = frozenset({"ssh", "smart", "paramiko", "paramiko_ssh"})
EVERYONE = frozenset({"all", "ungrouped"})
YES, NO = (
    frozenset({"yes", "true", "1", "on", "y", "t"}),
    frozenset({"no", "false", "0", "off", "n", "f"}),
)
ASKING = {
    "ansible_password": "E3 logs in by keys alone",
    "ansible_ssh_pass": "E3 logs in by keys alone",
    "ansible_ssh_password": "E3 logs in by keys alone",
    "ansible_become_pass": "E3 needs sudo without a password",
    "ansible_become_password": "E3 needs sudo without a password",
    "ansible_sudo_pass": "E3 needs sudo without a password",
}
"""Variables with secrets, which E3 never reads."""

QUIET_OPTIONS = frozenset(
    {
        *("addkeystoagent", "batchmode", "compression", "connectionattempts", "connecttimeout"),
        *("controlmaster", "controlpath", "controlpersist", "forwardagent", "identitiesonly"),
        *("kbdinteractiveauthentication", "loglevel", "passwordauthentication", "requesttty"),
        *("preferredauthentications", "pubkeyauthentication", "sendenv", "setenv", "tcpkeepalive"),
        *("serveralivecountmax", "serveraliveinterval", "visualhostkey"),
    }
)
"""Options of ssh that decide neither which host is reached nor which is trusted."""

QUIET_FLAGS = frozenset("46AaCfGgKkNnqTtVvXxYy")
WITH_VALUE = frozenset("BbcDEeFIiJLlmOopQRSWw")
OF_FIELDS = {"l": "user", "p": "port", "i": "key"}
OF_OPTIONS = {"user": "user", "port": "port", "identityfile": "key", "hostname": "address"}


def read(report: ImportReport, path: Path, plugin: str) -> None:
    """Add the machines of a file that Ansible reads by its inventory plugin of that name."""
    take(report, ansible_inventory.run(report, path, plugin))


def take(report: ImportReport, answer: Mapping[str, Any]) -> None:
    """Add the machines of an answer of ``ansible-inventory --list``, or of an inventory script.

    Raises `ConfigurationError` if it is no such answer.
    """
    groups = _groups(report, answer)
    variables = _variables(report, answer)
    hosts = list(dict.fromkeys(h for group in _ordered(groups) for h in groups[group].hosts))
    hosts += [name for name in variables if name not in set(hosts)]
    if len(hosts) > MOST_HOSTS:
        raise ConfigurationError(f"{report.source} lists more than {MOST_HOSTS} machines; split it")
    depths = _depths(groups)
    for host in hosts:
        of = [
            name for name, group in groups.items() if host in group.members and name not in EVERYONE
        ]
        tags = sorted(of, key=lambda name: (depths.get(name, 0), name), reverse=True)
        own = variables.get(host) or {}
        if not isinstance(own, dict):
            report.leave_out(str(host), report.place(str(host)), "its variables are no mapping")
            continue
        _Host(report, str(host), {**_inherited(groups, tags), **own}).add(tags)


def _variables(report: ImportReport, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of each host, which may have none."""
    try:
        meta = msgspec.convert(answer.get("_meta") or {}, dict[str, Any])
        return msgspec.convert(meta.get("hostvars") or {}, dict[str, Any])
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"{report.place('_meta')}: _meta is not as `ansible-inventory --list` prints it: "
            f"{printable(error)}"
        ) from None


@dataclass
class _Group:
    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    vars: Mapping[str, Any] = field(default_factory=dict)
    members: frozenset[str] = frozenset()


def _groups(report: ImportReport, answer: Mapping[str, Any]) -> dict[str, _Group]:
    """Return the groups of an answer; a group may be a mapping, or a list of hosts alone."""
    groups: dict[str, _Group] = {}
    for name, group in answer.items():
        if name == "_meta":
            continue
        raw = {"hosts": group} if isinstance(group, list) else group
        try:
            made = msgspec.convert(raw, _Group)
        except msgspec.ValidationError as error:
            raise ConfigurationError(
                f"{report.place(name)}: group {printable(name)} is not as `ansible-inventory "
                f"--list` prints it: {printable(error)}"
            ) from None
        made.members = frozenset(made.hosts)
        groups[name] = made
    return groups


def _ordered(groups: Mapping[str, _Group]) -> list[str]:
    """Return the groups in the order in which their parents name them."""
    found: list[str] = []
    todo = ["all", *groups]
    while todo:
        name = todo.pop(0)
        if name in groups and name not in found:
            found.append(name)
            todo[:0] = groups[name].children
    return found


def _depths(groups: Mapping[str, _Group]) -> dict[str, int]:
    """Return how deep each group is below ``all``, by its longest path, as Ansible counts."""
    depths = dict.fromkeys(groups, 0)
    for _ in groups:
        changed = False
        for name, group in groups.items():
            for child in group.children:
                if depths.get(child, 0) < depths[name] + 1 <= len(groups):
                    depths[child] = depths[name] + 1
                    changed = True
        if not changed:
            break
    return depths


def _inherited(groups: Mapping[str, _Group], deepest_first: Sequence[str]) -> dict[str, Any]:
    """Return the variables of groups: scripts print them, ansible-inventory does not."""
    values: dict[str, Any] = {}
    for name in ["all", *reversed(deepest_first)]:
        values |= groups[name].vars if name in groups else {}
    return values


@dataclass
class _Host:
    """One machine of an answer while it is being read."""

    report: ImportReport
    name: str
    variables: Mapping[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    why_not: str = ""
    because: str = ""
    here: bool = False

    def add(self, tags: Sequence[str]) -> None:
        """Add it to the report, or leave it out."""
        self.values["host"] = self.name
        self._reached()
        self._rights()
        for variable in ARGUMENTS:
            self._arguments(variable)
        for variable, said in ASKING.items():
            if variable in self.variables:
                self.report.note(self._place(variable), f"{variable} is not taken: {said}")
        if self.here:
            said = "is this machine to Ansible, and no host over SSH; it is not taken"
            self.report.note(self._place("ansible_connection"), f"{printable(self.name)} {said}")
            return
        if self.why_not:
            self.report.leave_out(self.name, self._place(self.because), self.why_not)
            return
        if "ssh_config" in self.values:  # its address is that of the alias
            self.values["host"] = self.values.pop("address", self.name)
        self.report.add(self.values, tags, self._place(self.name))

    def _place(self, variable: str) -> str:
        return self.report.place(variable, self.name)

    def _refuse(self, variable: str, said: str) -> None:
        self.because, self.why_not = self.because or variable, self.why_not or said

    def _text(self, variable: str) -> str | None:
        """Return a variable's text, or None; raise `ValueError` if it has no plain text."""
        value = self.variables.get(variable)
        if isinstance(value, dict) and set(value) == {"__ansible_unsafe"}:
            return str(value["__ansible_unsafe"])
        if value is None or value == "":
            return None
        if isinstance(value, dict) and "__ansible_vault" in value:
            raise ValueError(f"{variable} is encrypted by ansible-vault")
        if not isinstance(value, (str, int, float)):
            raise ValueError(f"{variable} must be a string")  # noqa: TRY004 -- a value in a file, not an argument
        value = KNOWN.sub(
            lambda found: self.name.partition("." if found[1] else " ")[0], str(value)
        )
        if re.search(r"\{[{%#]", value):
            raise ValueError(
                f"{variable} is {printable(value)!r}, an expression, and none is evaluated here; "
                "write out what is meant"
            )
        return value

    def _reached(self) -> None:
        try:
            way = (self._text("ansible_connection") or "ssh").removeprefix("ansible.builtin.")
        except ValueError as error:
            return self._refuse("ansible_connection", str(error))
        if way == "local":
            self.here = True
        elif way not in OVER_SSH:
            self._refuse("ansible_connection", f"it is reached by {printable(way)}, not by SSH")
        for variable, name in VARIABLES.items():
            try:
                text = self._text(variable)
            except ValueError as error:
                self._refuse(variable, str(error))
                continue
            if text is not None:
                self.values[name] = text
        return None

    def _rights(self) -> None:
        for variable, name in (
            ("ansible_become", "sudo"),
            ("ansible_python_interpreter", "python"),
        ):
            try:
                text = self._text(variable)
            except ValueError as error:
                self.report.note(self._place(variable), f"{error}; it is not taken")
                continue
            if text is None:
                continue
            if name == "python" and not text.startswith("auto"):
                self.values[name] = text
            elif name == "sudo" and text.lower() in YES | NO:
                self.values[name] = text.lower() in YES
        for variable, usual in (("ansible_become_method", "sudo"), ("ansible_become_user", "root")):
            value = self.variables.get(variable, usual)
            if str(value).removeprefix("ansible.builtin.") != usual:
                self.report.note(
                    self._place(variable),
                    f"{variable} is not taken: E3 becomes root, by sudo alone",
                )

    def _arguments(self, variable: str) -> None:
        try:
            text = self._text(variable)
            pairs = list(_options(shlex.split(text or "")))
        except ValueError as error:
            return self._refuse(variable, str(error))
        for flag, value in pairs:
            self._argument(variable, flag, value)
        return None

    def _argument(self, variable: str, flag: str, value: str) -> None:
        """Apply one argument of ssh: a one-letter flag, or ``o`` with an option and its value."""
        option, _, setting = (
            (part.strip() for part in _split(value)) if flag == "o" else ("", "", "")
        )
        key = option.lower()
        if flag == "F":
            place = Path(value).expanduser()
            here = Path(self.report.source).parent
            self.values["ssh_config"] = str(place if place.is_absolute() else here / place)
        elif flag in OF_FIELDS:
            self.values.setdefault(OF_FIELDS[flag], value)
        elif key in OF_OPTIONS:
            self.values.setdefault(OF_OPTIONS[key], setting)
        elif flag in {"J", "W"} or key in {"proxyjump", "proxycommand"}:
            self._refuse(
                variable,
                f"it is reached through others ({printable(setting or value)}); write that into a "
                "configuration of OpenSSH, and name that as ssh-config",
            )
        elif key == "stricthostkeychecking" and setting.lower() not in {"yes", "true"}:
            self.report.note(
                self._place(variable), f"{option} is not taken: host keys are always checked"
            )
        elif flag not in QUIET_FLAGS and key not in QUIET_OPTIONS | {"stricthostkeychecking"}:
            said = f"-{flag} {value}".strip()
            self.report.note(self._place(variable), f"{printable(said)} of {variable} is not taken")


def _split(setting: str) -> tuple[str, str, str]:
    """Return option and value of ``Option=value`` or ``Option value``."""
    match = re.match(r"\s*(\w+)\s*(?:=|\s)\s*(.*)", setting, re.DOTALL)
    return (match[1], "=", match[2]) if match else (setting, "", "")


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the flags of a command line of ssh, each with its value, as getopt(3) reads them."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            raise ValueError(f"{printable(word)!r} is no option of ssh")
        letters = word[1:]
        while letters:
            flag, letters = letters[0], letters[1:]
            if flag not in WITH_VALUE:
                yield flag, ""
                continue
            if not letters and not rest:
                raise ValueError(f"-{flag} lacks its value")
            yield flag, letters or rest.pop(0)
            letters = ""
