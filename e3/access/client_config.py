"""How OpenSSH's own client reaches what `SshAccess` reaches: an entry of a configuration."""

import getpass
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from e3.access.ssh import SshAccess

SINGLE = ("Port", "ProxyJump", "ProxyCommand", "HostKeyAlias")


def block(access: SshAccess) -> str:
    """Return the entry of a host, by its name in the experiment.

    What the user's own configuration says of an alias is taken over.
    """
    lines = _by_alias(access) if access.ssh_config else _by_address(access)
    return "".join([f"Host {access.host}\n", *(f"  {line}\n" for line in lines)])


def on_the_way(accesses: Iterable[SshAccess]) -> str:
    """Return what stands after all entries: where those find the hosts on the way to theirs."""
    paths = dict.fromkeys(access.ssh_config for access in accesses if access.ssh_config)
    lines = [f"  Include {_quoted(str(Path(path).expanduser()))}\n" for path in paths]
    return "".join(["Host *\n", *lines]) if lines else ""


def _by_address(access: SshAccess) -> list[str]:
    lines = [f"HostName {access.address}", f"Port {access.port}", f"User {access.user}"]
    lines += _key(access)
    if access.host_key:
        known = f"/bin/echo {access.host} {access.host_key}"
        lines += [
            f"HostKeyAlias {access.host}",
            "UserKnownHostsFile none",
            "GlobalKnownHostsFile none",
            f"KnownHostsCommand {known}",
        ]
    return [*lines, "StrictHostKeyChecking yes"]


def _by_alias(access: SshAccess) -> list[str]:
    from asyncssh.config import SSHClientConfig  # noqa: PLC0415 -- slow to load; labs need none

    path = str(Path(access.ssh_config).expanduser())
    flags = (False, False, False)  # neither reloaded, nor canonical, nor final
    config = SSHClientConfig.load(None, [path], *flags, getpass.getuser(), (), access.address, ())
    name = config.get("Hostname", access.address)
    lines = [f"HostName {name}", f"User {access.user}", *_key(access)]
    single = {name: config.get(name) for name in SINGLE}
    lines += [f"{name} {value}" for name, value in single.items() if value is not None]
    for option in ("IdentityFile", "UserKnownHostsFile"):
        values = cast("list[str]", config.get(option) or [])
        lines += [f"{option} {_quoted(value)}" for value in values]
    return [*lines, "StrictHostKeyChecking yes"]


def _key(access: SshAccess) -> list[str]:
    if not access.key:
        return []
    return [f"IdentityFile {_quoted(str(Path(access.key).expanduser()))}", "IdentitiesOnly yes"]


def _quoted(path: str) -> str:
    return f'"{path}"'
