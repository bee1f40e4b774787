"""Entries of an OpenSSH client configuration for the hosts that `SshAccess` reaches.

All of E3 writes words into such a file by `option`, `command`, `jump` and `whole` alone. Either
OpenSSH reads a word literally, or the word is refused (ADR 30).
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from e3.access import openssh
from e3.access.ssh import SshAccess
from e3.errors import ConfigurationError
from e3.remote.text import printable

MANY = ("IdentityFile", "CertificateFile")
SINGLE = (
    *("AddressFamily", "BindAddress", "BindInterface", "CASignatureAlgorithms", "Ciphers"),
    *("Compression", "IdentitiesOnly", "IdentityAgent", "KexAlgorithms"),
    *("MACs", "PKCS11Provider", "PubkeyAcceptedAlgorithms", "RequiredRSASize", "RevokedHostKeys"),
)
"""Options that are copied from the user's own configuration: all that decides which host is
reached, which is trusted, and by which keys and algorithms."""

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
"""Words that need no quotes: without syntax of ssh_config(5), of a shell or of glob(7)."""

GOOD_JUMP = re.compile(r"[\w.:%+][\w.:%@+-]*")


def block(access: SshAccess) -> str:
    """Return the entry of a host, by its name in the experiment.

    What the user's own configuration says about an alias is copied. Raises `ConfigurationError`
    if OpenSSH would not read a value literally.
    """
    lines = _by_alias(access) if access.ssh_config else _by_address(access)
    return entry(access.host, lines)


def entry(host: str, lines: Iterable[str]) -> str:
    """Return the entry of one name, made of lines that `option` and `command` made."""
    return "".join([f"{option('Host', host)}\n", *(f"  {line}\n" for line in lines)])


def certified(host: str, authority: str) -> str:
    """Return an entry that has OpenSSH know a host by its certificate, and by nothing else.

    ``authority`` is the key that signs such certificates, as OpenSSH writes it. The entry precedes
    the host's own: of each option OpenSSH takes the first value.
    """
    kind, key = authority.split()[:2]
    lines = [
        option("HostKeyAlias", host),
        "UserKnownHostsFile none",
        "GlobalKnownHostsFile none",
        command("KnownHostsCommand", ["/bin/echo", "@cert-authority", host, kind, key]),
        whole("HostKeyAlgorithms", f"{kind}-cert-v01@openssh.com"),
        "StrictHostKeyChecking yes",
    ]
    return entry(host, lines)


def on_the_way(accesses: Iterable[SshAccess]) -> str:
    """Return what follows all entries: the configurations that have the jump hosts."""
    paths = dict.fromkeys(_config(access) for access in accesses if access.ssh_config)
    lines = [f"  {option('Include', path)}\n" for path in paths]
    # first: jump hosts are checked as well, whatever the user's own configuration says
    return "".join(["Host *\n  StrictHostKeyChecking yes\n", *lines]) if lines else ""


def option(keyword: str, *words: str) -> str:
    """Return the line with which OpenSSH reads exactly these words for an option.

    Raises `ConfigurationError` for a word that OpenSSH would not read literally.
    """
    return " ".join([keyword, *(_word(keyword, word) for word in words)])


def command(keyword: str, argv: Sequence[str]) -> str:
    """Return the line that makes OpenSSH run these words as a command."""
    return whole(keyword, shlex.join(argv).replace("%", "%%"))


def jump(hosts: Sequence[str]) -> str:
    """Return the line for these jump hosts, each ``[user@]host[:port]`` or a URI.

    It takes no quotes. Without hosts it says that there is no jump.
    """
    parts = []
    for text in hosts:
        name, user, port = openssh.jump(text)
        if not (GOOD_JUMP.fullmatch(name) and GOOD_JUMP.fullmatch(user or "x")):
            raise _refused("ProxyJump", text, "more than a name, a user and a port")
        host = f"[{name}]" if ":" in name else name
        parts.append(f"{f'{user}@' if user else ''}{host}{f':{port}' if port else ''}")
    return f"ProxyJump {','.join(parts) or openssh.NO_FILE}"


def whole(keyword: str, line: str) -> str:
    """Return the line of an option that is not split into words: a line of shell, or a list.

    Percent signs are tokens in it.
    """
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
        *_key(access),
        *_pinned(access),
    ]
    return [*lines, "StrictHostKeyChecking yes"]


def _by_alias(access: SshAccess) -> list[str]:
    path = _config(access)
    found = openssh.entry(path, access.address, access.user, access.port)
    lines = [
        option("HostName", found.name),
        option("Port", str(found.port)),
        option("User", access.user),
        *_key(access),
    ]
    for keyword in MANY:
        if keyword.lower() in found.changed:
            lines += [option(keyword, str(path)) for path in found.paths(keyword.lower())]
    lines += _pinned(access) or _vouching(found)
    changed = [keyword for keyword in SINGLE if keyword.lower() in found.changed]
    lines += [option(keyword, found.get(keyword.lower(), "none")) for keyword in changed]
    if "hostkeyalgorithms" in found.changed:
        lines.append(whole("HostKeyAlgorithms", found.difference("hostkeyalgorithms")))
    command_line = found.get("proxycommand")
    if command_line and not found.jumps:
        # its tokens are those of the alias, and are not expanded again
        line = found.expanded("ProxyCommand", command_line).replace("%", "%%")
        lines.append(whole("ProxyCommand", line))
    else:  # also where there is none: else the user's own for all hosts would serve this name
        lines.append(jump(found.jumps))
    return [*lines, "StrictHostKeyChecking yes"]


def _vouching(found: openssh.HostEntry) -> list[str]:
    """Return the options that say where the host keys of an alias are found."""
    # without an alias OpenSSH looks for the name, and these are the same
    lines = [option(k, v) for k in ("HostKeyAlias",) if (v := found.get(k.lower()))]
    for keyword in ("UserKnownHostsFile", "GlobalKnownHostsFile"):
        if keyword.lower() in found.changed:
            paths = [str(path) for path in found.paths(keyword.lower())]
            lines.append(option(keyword, *(paths or ["none"])))
    if text := found.get("knownhostscommand"):
        lines.append(whole("KnownHostsCommand", text))
    return lines


def _pinned(access: SshAccess) -> list[str]:
    if not access.host_key:
        return []
    kind, key = access.host_key.split()[:2]
    return [
        option("HostKeyAlias", access.host),
        "UserKnownHostsFile none",
        "GlobalKnownHostsFile none",
        command("KnownHostsCommand", ["/bin/echo", access.host, kind, key]),
    ]


def _config(access: SshAccess) -> str:
    return str(Path(access.ssh_config).expanduser().absolute())


def _key(access: SshAccess) -> list[str]:
    if not access.key:
        return []
    path = str(Path(access.key).expanduser())
    return [option("IdentityFile", path), "IdentitiesOnly yes"]
