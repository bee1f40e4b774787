"""What OpenSSH's own client reads in a configuration: `ssh -G`, for a host and its jump hosts.

No other program reads that language exactly. Like each login by such a file, ``ssh -G`` runs the
commands of ``Match exec`` and, if CanonicalizeHostname is set, asks the name server. It prints one
option a line. It leaves some tokens, which are expanded here.
"""

import functools
import getpass
import hashlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from e3.errors import HostError
from e3.remote.text import printable

SECONDS = 15.0
"""For all that ``Match exec`` and the name server take."""

MOST_JUMPS = 16
NO_FILE = "none"
NAME = re.compile(r"(?!-)[^\s@/\"'`\\$;&<>|(){}]{1,255}")
"""Names that may be asked for: those of OpenSSH since 9.6, without its users and URIs."""

JUMP = re.compile(
    r"(?:(?P<user>.+)@)?(?:\[(?P<ip>[^\]]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d+))?"
)


@dataclass(frozen=True)
class HostEntry:
    """What holds for one host, named by ``alias``: each option in lower case, in its order."""

    alias: str
    options: Mapping[str, tuple[str, ...]]
    jumps: tuple[str, ...] = ()

    def get(self, option: str, default: str = "") -> str:
        """Return an option; ``none`` is the default as well."""
        value = self.options.get(option, (default,))[0]
        return default if value.lower() == NO_FILE else value

    @property
    def name(self) -> str:
        """The name or address to connect to."""
        return self.get("hostname", self.alias)

    @property
    def port(self) -> int:
        """The port to connect to."""
        return int(self.get("port", "22"))

    @property
    def user(self) -> str:
        """The user to log in as."""
        return self.get("user") or getpass.getuser()

    @property
    def changed(self) -> frozenset[str]:
        """The options that differ from those without any configuration."""
        usual = _usual()
        return frozenset(key for key, values in self.options.items() if usual.get(key) != values)

    def difference(self, option: str) -> str:
        """Return a list of algorithms as its difference (+ or -) to the usual one, if possible.

        OpenSSH prefers known keys only if its own list is changed, not replaced.
        """
        usual = _usual().get(option, ("",))[0].split(",")
        listed = self.get(option).split(",")
        if listed[: len(usual)] == usual:
            return "+" + ",".join(listed[len(usual) :])
        if listed == [name for name in usual if name in listed]:
            return "-" + ",".join(name for name in usual if name not in listed)
        return self.get(option)

    def expanded(self, option: str, text: str) -> str:
        """Return a value of an option with its tokens, variables and home folder expanded.

        Raises `HostError` if one is unknown.
        """

        def token(match: re.Match[str]) -> str:
            known = self._tokens
            if match[1] not in known:
                raise HostError(
                    f"{option} of {self.alias}: %{match[1]} is not known there; write it out"
                )
            return known[match[1]]

        def variable(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                raise HostError(f"{option} of {self.alias}: variable {match[1]} is not set")
            return os.environ[match[1]]

        return re.sub(r"%(.)", token, re.sub(r"\$\{([^}]*)\}", variable, text))

    def paths(self, option: str) -> list[Path]:
        """Return the paths that an option names, in their order."""
        values = [value for value in self.options.get(option, ()) if value != NO_FILE]
        if option.endswith("knownhostsfile"):
            values = [path for value in values for path in _paths(value)]
        return [self._path(option, value) for value in values]

    def files(self, option: str) -> list[Path]:
        """Return the files of an option that exist, in their order."""
        return [path for path in self.paths(option) if path.is_file()]

    def _path(self, option: str, text: str) -> Path:
        # some versions of ssh -G have expanded it, others have not
        plain = Path(text).expanduser()
        if plain.is_file() or not ("%" in text or "$" in text):
            return plain
        return Path(self.expanded(option, text)).expanduser()

    @property
    def _tokens(self) -> Mapping[str, str]:
        local = socket.gethostname()
        jump = ",".join(self.jumps)
        connection = f"{local}{self.name}{self.port}{self.user}{jump}"
        return {
            "%": "%",
            "C": hashlib.sha1(connection.encode(), usedforsecurity=False).hexdigest(),
            "d": str(Path.home()),
            "H": self.get("hostkeyalias", self.name),
            "h": self.name,
            "I": "HOSTNAME",
            "i": str(os.getuid()),
            "j": jump,
            "k": self.get("hostkeyalias", self.alias),
            "L": local.partition(".")[0],
            "l": local,
            "n": self.alias,
            "p": str(self.port),
            "r": self.user,
            "u": getpass.getuser(),
        }


def entry(config: str, alias: str, user: str = "", port: int = 0) -> HostEntry:
    """Return what OpenSSH's client says about a host; ``config`` is a path, or `NO_FILE`.

    ``user`` and ``port`` override those of the configuration. Raises `HostError`.
    """
    if not NAME.fullmatch(alias) or not alias.isprintable() or user.startswith("-"):
        raise HostError(f"{printable(alias)!r} cannot be a host; correct its address")
    options = _ask(config, alias, user, port)
    jump = options.get("proxyjump", ("",))[0]
    jumps = tuple(part.strip() for part in jump.split(",")) if jump not in {"", NO_FILE} else ()
    return HostEntry(alias, options, jumps)


def route(config: str, alias: str, user: str = "", port: int = 0) -> list[HostEntry]:
    """Return the hosts that a connection passes; the last is its target.

    Each jump host has its own entry. If ProxyJump names several, the ProxyJump of their own entries
    is ignored, except for the first (ssh_config(5)). Raises `HostError`.
    """
    return _route(config, (alias, user, port), None, ())


def _route(
    config: str,
    target: tuple[str, str, int],
    given: Sequence[str] | None,
    above: tuple[str, ...],
) -> list[HostEntry]:
    alias, user, port = target
    if alias in above or len(above) > MOST_JUMPS:
        chain = " -> ".join((*above, alias))
        raise HostError(f"ProxyJump leads in a circle: {printable(chain)}; except the jump from it")
    found = entry(config, alias, user, port)
    jumps = found.jumps if given is None else tuple(given)
    found = HostEntry(alias, found.options, jumps)
    if not jumps:
        return [found]
    *before, last = jumps
    return [*_route(config, jump(last), before or None, (*above, alias)), found]


def jump(text: str) -> tuple[str, str, int]:
    """Return host, user and port of ``[user@]host[:port]``, or of the same as an ssh:// URI.

    Raises `HostError` for anything else.
    """
    plain = text.removeprefix("ssh://")
    match = JUMP.fullmatch(plain.rstrip("/") if plain != text else plain)
    if match is None:
        raise HostError(f"ProxyJump {printable(text)!r} is no [user@]host[:port]; correct it")
    user = match["user"] or ""
    return (
        match["ip"] or match["name"],
        unquote(user) if plain != text else user,
        int(match["port"] or 0),
    )


def complaints(config: Path) -> str:
    """Return what OpenSSH's client finds wrong with a configuration, or "".

    No command of the file runs if it has no ``Match exec``; no name is looked up.
    """
    try:
        _ask(str(config), "localhost", "", 0, "-o", "CanonicalizeHostname=no")
    except HostError as error:
        return str(error)
    return ""


@functools.cache
def _usual() -> Mapping[str, tuple[str, ...]]:
    return _ask(NO_FILE, "localhost", "", 0)


def _ask(
    config: str, alias: str, user: str, port: int, *more: str
) -> Mapping[str, tuple[str, ...]]:
    argv = ["ssh", "-G", "-F", config, *more, *(["-l", user] if user else [])]
    argv += [*(["-p", str(port)] if port else []), "--", alias]
    said = _run(config, argv)
    options: dict[str, tuple[str, ...]] = {}
    for line in said.splitlines():
        key, _, value = line.partition(" ")
        options[key.lower()] = (*options.get(key.lower(), ()), value)
    return options


def _run(config: str, argv: Sequence[str]) -> str:
    """Return what ssh prints; kill it with all that it started if it takes too long."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise HostError("ssh is missing; run `sudo apt-get install openssh-client`") from None
    with process:
        try:
            out, err = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise HostError(
                f"{config} takes ssh more than {SECONDS:g} s to read; what does Match exec run?"
            ) from None
    if process.returncode:
        said = err.decode(errors="replace").replace(f"{config}: ", "").replace(f"{config} ", "")
        lines = [line for line in said.strip().splitlines() if not line.startswith("terminating")]
        why = (
            "; ".join(printable(line) for line in lines[:4]) or f"exit status {process.returncode}"
        )
        raise HostError(f"{config} cannot be used: ssh says {why}")
    return out.decode(errors="surrogateescape")


def _paths(value: str) -> list[str]:
    """Return the paths in a line of ssh -G, which does not quote paths with spaces."""
    paths: list[str] = []
    for word in value.split(" "):
        if paths and not word.startswith(("/", "~", "%", "$")):
            joined = f"{paths[-1]} {word}"
            paths[-1:] = [joined] if paths[-1].startswith("/") else [paths[-1], word]
        elif word and word != NO_FILE:
            paths.append(word)
    return paths
