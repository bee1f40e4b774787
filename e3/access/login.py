"""How asyncssh connects to a host as OpenSSH's client would: keys, trust, algorithms, proxy.

Options that decide which hosts E3 trusts are applied as OpenSSH does, or refused by name. Those
of a terminal or of other logins (forwarding, ControlMaster, RemoteCommand) are ignored.
"""

import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.known_hosts import SSHKnownHosts
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_certificate_algs, get_public_key_algs

from e3.access.openssh import HostEntry
from e3.errors import HostError
from e3.remote.text import printable

REFUSED = {
    "bindinterface": "BindInterface; name the interface's address as BindAddress",
    "proxyusefdpass": "ProxyUseFdpass; have the ProxyCommand pass the data on, as ssh -W does",
}
"""Options that E3 refuses unless they are off: it cannot connect in that way."""

FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
ALGORITHMS: dict[str, tuple[str, Callable[[], list[bytes]]]] = {
    "kexalgorithms": ("kex_algs", get_kex_algs),
    "ciphers": ("encryption_algs", get_encryption_algs),
    "macs": ("mac_algs", get_mac_algs),
    "hostkeyalgorithms": (
        "server_host_key_algs",
        lambda: get_certificate_algs() + get_public_key_algs(),
    ),
    "pubkeyacceptedalgorithms": ("signature_algs", get_public_key_algs),
}
"""Arguments of asyncssh by options of OpenSSH, and what asyncssh knows of them."""

SSH_PORT = 22
COMMAND_SECONDS = 10.0
OFF = frozenset({"", "no", "false", "none"})
Trusted = tuple[Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey]]


class Keys(asyncssh.SSHClient):
    """Offers the server these keys one after the other, and no others."""

    def __init__(self, keys: Iterable[asyncssh.SSHKeyPair]) -> None:
        """Offer these keys."""
        self._keys = iter(keys)

    def public_key_auth_requested(self) -> asyncssh.SSHKeyPair | None:
        """Return the next key, or None when there are no more."""
        return next(self._keys, None)


@dataclass
class Identities:
    """The keys for one login; ``agent`` holds some of them, and ``unusable`` names others."""

    pairs: list[asyncssh.SSHKeyPair] = field(default_factory=list)
    agent: asyncssh.SSHAgentClient | None = None
    unusable: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Close the connection to the agent; the login is over."""
        if self.agent is not None:
            self.agent.close()


def arguments(entry: HostEntry) -> dict[str, Any]:
    """Return arguments of `asyncssh.connect` for a host, without keys and host keys.

    Raises `HostError` for an option that asyncssh lacks and that must not be ignored.
    """
    for option, said in REFUSED.items():
        if entry.get(option).lower() not in OFF:
            raise HostError(f"the configuration of {entry.alias} has {said}")
    if entry.get("pubkeyauthentication", "yes").lower() in OFF:
        raise HostError(
            f"the configuration of {entry.alias} has PubkeyAuthentication no, and E3 logs in by "
            "keys only; permit it there"
        )
    values: dict[str, Any] = {
        "host": entry.name,
        "port": entry.port,
        "username": entry.user,
        "config": None,
        "preferred_auth": "publickey",
        "x509_trusted_certs": None,
        "client_keys": None,
        "family": FAMILIES.get(entry.get("addressfamily"), socket.AF_UNSPEC),
        **_algorithms(entry),
    }
    if address := entry.get("bindaddress"):
        values["local_addr"] = (address, 0)
    if alias := entry.get("hostkeyalias"):
        values["host_key_alias"] = alias
    command = entry.get("proxycommand")
    if command and not entry.jumps:
        shell = os.environ.get("SHELL") or "/bin/sh"
        values["proxy_command"] = [shell, "-c", f"exec {entry.expanded('ProxyCommand', command)}"]
    return values


async def identities(entry: HostEntry, key: str) -> Identities:
    """Return the keys with which to log in: ``key`` alone if it is given, a path.

    Unusable ones of OpenSSH's configuration are skipped, as by OpenSSH. Raises
    `asyncssh.KeyImportError` or `OSError` if ``key`` cannot be used.
    """
    if key:
        return Identities(list(asyncssh.load_keypairs(_home(key))))
    found = Identities()
    certificates = _certificates(entry, found)
    public: list[asyncssh.SSHKey] = []
    for path in entry.files("identityfile"):
        try:
            found.pairs += asyncssh.load_keypairs(str(path), certlist=certificates)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, OSError, ValueError) as error:
            public += _public(path)  # an agent may have the private half
            found.unusable.append(f"{path}: {printable(error)}")
    await _ask_agent(entry, found, public)
    return found


def host_keys(entry: HostEntry) -> Callable[[str, str, int | None], Trusted]:
    """Return who vouches for a host: keys, authorities and revoked keys, as asyncssh asks for them.

    Only the name counts by which the host is known, not the address that it has today. Raises
    `HostError` if a source of revoked keys cannot be used.
    """
    known = SSHKnownHosts()
    for option in ("userknownhostsfile", "globalknownhostsfile"):
        for path in entry.files(option):
            try:
                _load(known, path.read_text(errors="surrogateescape"))
            except OSError as error:
                raise HostError(f"{path} cannot be read ({error.strerror}); correct that") from None
    if command := entry.get("knownhostscommand"):
        _load(known, _said(entry, command))
    revoked = _revoked(entry)
    signers = entry.get("casignaturealgorithms").split(",")

    def vouching(host: str, address: str, port: int | None) -> Trusted:
        del address
        alias = entry.get("hostkeyalias")
        keys, authorities, bad, *_ = known.match(host.lower(), "", None if alias else port)
        fit = [each for each in authorities if _may_sign(each, signers)]
        return keys, fit, [*bad, *revoked]

    return vouching


def preferring(entry: HostEntry, values: dict[str, Any], vouching: Callable[..., Trusted]) -> None:
    """Put algorithms of known keys first, as OpenSSH does where its list was only changed."""
    allowed = values.get("server_host_key_algs")
    if not allowed:
        return
    keys, authorities, _ = vouching(entry.name, "", entry.port if entry.port != SSH_PORT else None)
    known = {name.decode() for key in keys for name in key.sig_algorithms}
    allowed.sort(key=lambda name: name not in known and not (authorities and "-cert-" in name))


def check_size(entry: HostEntry, key: asyncssh.SSHKey | None) -> None:
    """Raise `HostError` if a host's key of RSA is shorter than RequiredRSASize."""
    least = int(entry.get("requiredrsasize", "0"))
    size = getattr(getattr(key, "pyca_key", None), "key_size", None)
    if key is not None and key.get_algorithm() == "ssh-rsa" and size is not None and size < least:
        raise HostError(
            f"{entry.alias} has a host key of {size} bits, and RequiredRSASize is {least}; give it "
            "a longer one"
        )


def _home(path: str) -> str:
    return str(Path(path).expanduser())


def _algorithms(entry: HostEntry) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for option in entry.changed & set(ALGORITHMS):
        argument, known = ALGORITHMS[option]
        able = {name.decode() for name in known()}
        chosen[argument] = [name for name in entry.get(option).split(",") if name in able]
        if not chosen[argument]:
            raise HostError(
                f"the configuration of {entry.alias} has {option} {printable(entry.get(option))}, "
                f"none of which E3 can do; add one of {', '.join(sorted(able))[:400]}"
            )
    return chosen


def _certificates(entry: HostEntry, found: Identities) -> list[asyncssh.SSHCertificate]:
    certificates: list[asyncssh.SSHCertificate] = []
    for path in entry.files("certificatefile"):
        try:
            certificates += asyncssh.load_certificates(str(path))
        except (asyncssh.KeyImportError, OSError, ValueError) as error:
            found.unusable.append(f"{path}: {printable(error)}")
    return certificates


def _public(path: Path) -> list[asyncssh.SSHKey]:
    """Return the public half of a key that only an agent can use."""
    for place in (path, path.with_name(f"{path.name}.pub")):
        try:
            return [asyncssh.read_public_key(str(place))]
        except (asyncssh.KeyImportError, OSError, ValueError):
            continue
    return []


async def _ask_agent(entry: HostEntry, found: Identities, public: list[asyncssh.SSHKey]) -> None:
    """Add the keys that an agent holds; with IdentitiesOnly, only the named ones."""
    named = entry.options.get("identityagent", ("SSH_AUTH_SOCK",))[0]
    place = named
    if named == "SSH_AUTH_SOCK" or named.startswith("$"):
        place = os.environ.get(named.lstrip("$").strip("{}"), "")
    only = entry.get("identitiesonly").lower() not in OFF
    if place.lower() in OFF or (only and not public):
        return
    try:
        agent = await asyncssh.connect_agent(_home(place))
        wanted = [key.public_data for key in public] if only else None
        found.agent = agent
        found.pairs[:0] = await agent.get_keys(wanted)
    except (OSError, ValueError) as error:
        found.unusable.append(f"agent {place}: {printable(error)}")


def _load(known: SSHKnownHosts, text: str) -> None:
    """Add lines of a known_hosts file; invalid lines are skipped, as by OpenSSH."""
    for line in text.splitlines():
        try:
            known.load(line)
        except (ValueError, UnicodeError):
            continue


def _said(entry: HostEntry, command: str) -> str:
    """Return what KnownHostsCommand prints; it gets no key, as none is known yet."""
    argv = [entry.expanded("KnownHostsCommand", word) for word in shlex.split(command)]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=COMMAND_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(f"KnownHostsCommand of {entry.alias} failed: {printable(error)}") from None
    return done.stdout.decode(errors="surrogateescape")


def _revoked(entry: HostEntry) -> list[asyncssh.SSHKey]:
    text = entry.get("revokedhostkeys")
    if not text:
        return []
    path = Path(entry.expanded("RevokedHostKeys", text)).expanduser()
    try:
        lines = path.read_text().splitlines()
        return [asyncssh.import_public_key(line) for line in lines if _is_key(line)]
    except (OSError, ValueError, asyncssh.KeyImportError) as error:
        raise HostError(
            f"RevokedHostKeys of {entry.alias} is {path}, of which E3 reads public keys alone, one "
            f"a line: {printable(error)}"
        ) from None


def _is_key(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _may_sign(key: asyncssh.SSHKey, names: Sequence[str]) -> bool:
    algorithm = key.get_algorithm()
    return algorithm in names or (
        algorithm == "ssh-rsa" and any(name.startswith("rsa-sha2") for name in names)
    )
