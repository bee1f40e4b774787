"""How OpenSSH's own client reaches what `SshAccess` reaches: an entry of a configuration.

`option` and `command` are the only ways by which a word comes into such a file, in whatever part
of E3: OpenSSH reads each word as itself, or the word is refused (ADR 30).
"""

import getpass
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from e3.access.ssh import SshAccess
from e3.errors import ConfigurationError
from e3.party.text import printable

SINGLE = ("Port", "ProxyJump", "HostKeyAlias")
EXPANDED = frozenset(
    {
        "CertificateFile",
        "HostName",
        "IdentityAgent",
        "IdentityFile",
        "KnownHostsCommand",
        "ProxyCommand",
        "UserKnownHostsFile",
    }
)
"""Options in which OpenSSH expands percent signs (ssh_config(5), TOKENS), so that they double."""

PLAIN = re.compile(r"[A-Za-z0-9_./~:@+][A-Za-z0-9_./~:@+-]*")
"""What needs no quotes: without syntax of ssh_config(5), of a shell or of glob(7)."""


def block(access: SshAccess) -> str:
    """Return the entry of a host, by its name in the experiment.

    What the user's own configuration says of an alias is taken over. Raises `ConfigurationError`
    if a value would be read as anything else than itself.
    """
    lines = _by_alias(access) if access.ssh_config else _by_address(access)
    return entry(access.host, lines)


def entry(host: str, lines: Iterable[str]) -> str:
    """Return the entry of one name, of lines that `option` and `command` made."""
    return "".join([f"{option('Host', host)}\n", *(f"  {line}\n" for line in lines)])


def on_the_way(accesses: Iterable[SshAccess]) -> str:
    """Return what stands after all entries: where those find the hosts on the way to theirs."""
    paths = dict.fromkeys(access.ssh_config for access in accesses if access.ssh_config)
    lines = [f"  {option('Include', str(Path(path).expanduser()))}\n" for path in paths]
    return "".join(["Host *\n", *lines]) if lines else ""


def option(keyword: str, *words: str) -> str:
    """Return the line with which OpenSSH reads exactly these words for an option.

    Raises `ConfigurationError` for a word with which that cannot be.
    """
    return " ".join([keyword, *(_word(keyword, word) for word in words)])


def command(keyword: str, argv: Sequence[str]) -> str:
    """Return the line that has OpenSSH run these words as a command."""
    return shell_command(keyword, shlex.join(argv).replace("%", "%%"))


def shell_command(keyword: str, line: str) -> str:
    """Return the line that has OpenSSH run a line of shell, in which percent signs are tokens."""
    _check(keyword, line, "\\")
    if line.startswith(("=", "#", '"')):
        raise _refused(keyword, line, f"{line[0]} at its beginning")
    return f"{keyword} {line}"


def _word(keyword: str, word: str) -> str:
    _check(keyword, word, '"\\')
    if word.startswith("-"):
        raise _refused(keyword, word, "a hyphen at its beginning")
    text = word
    if "%" in word:
        if keyword not in EXPANDED:
            raise _refused(keyword, word, "a percent sign")
        text = word.replace("%", "%%")
    if "${" in word:
        raise _refused(keyword, word, "${")
    if keyword in {"Host", "Include"} and set(word) & set("*?[]!"):
        raise _refused(keyword, word, "a pattern")
    return text if PLAIN.fullmatch(text) else f'"{text}"'


def _check(keyword: str, word: str, forbidden: str) -> None:
    """Raise `ConfigurationError` if a word is empty, or not printable on one line."""
    if not word.strip():
        raise _refused(keyword, word, "nothing in it")
    for character in word:
        if character in forbidden or not character.isprintable():
            raise _refused(keyword, word, repr(character))


def _refused(keyword: str, word: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{keyword} {printable(word)!r} has {what}, with which a configuration of OpenSSH would "
        "mean something else; use another name or path"
    )


def _by_address(access: SshAccess) -> list[str]:
    lines = [
        option("HostName", access.address),
        option("Port", str(access.port)),
        option("User", access.user),
    ]
    lines += _key(access)
    if access.host_key:
        kind, key = access.host_key.split()[:2]
        lines += [
            option("HostKeyAlias", access.host),
            "UserKnownHostsFile none",
            "GlobalKnownHostsFile none",
            command("KnownHostsCommand", ["/bin/echo", access.host, kind, key]),
        ]
    return [*lines, "StrictHostKeyChecking yes"]


def _by_alias(access: SshAccess) -> list[str]:
    from asyncssh.config import SSHClientConfig  # noqa: PLC0415 -- slow to load; labs need none

    path = str(Path(access.ssh_config).expanduser())
    flags = (False, False, False)  # neither reloaded, nor canonical, nor final
    config = SSHClientConfig.load(None, [path], *flags, getpass.getuser(), (), access.address, ())
    name = str(config.get("Hostname", access.address))
    lines = [option("HostName", name), option("User", access.user), *_key(access)]
    single = {name: config.get(name) for name in SINGLE}
    lines += [option(name, str(value)) for name, value in single.items() if value is not None]
    if through := config.get("ProxyCommand"):
        lines.append(shell_command("ProxyCommand", str(through)))
    for name in ("IdentityFile", "UserKnownHostsFile"):
        values = cast("list[str]", config.get(name) or [])
        lines += [option(name, value) for value in values]
    return [*lines, "StrictHostKeyChecking yes"]


def _key(access: SshAccess) -> list[str]:
    if not access.key:
        return []
    path = str(Path(access.key).expanduser())
    return [option("IdentityFile", path), "IdentitiesOnly yes"]
