"""SSH to the hosts of a root lab, without a daemon or a network: sshd talks over nsenter's pipe.

OpenSSH's client starts ``ProxyCommand nsenter ... sshd -i`` for each connection, so nothing runs
on a host while nobody is logged in. The keys belong to the lab and are removed when it stops.
"""

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from e3 import interfaces, private
from e3.access.client_config import command, entry, option
from e3.access.environment import ENVIRONMENT
from e3.access.namespace import NamespaceAccess
from e3.errors import PlatformError
from e3.lab.host import SSH_FOLDER

SFTP = "internal-sftp"
CLIENT_KEY, HOST_KEY, KNOWN_HOSTS = "client_key", "host_key", "known_hosts"
CERTIFIED_FOLDER = "/run/e3/ssh"
SERVER_CONFIG = f"""\
Include {CERTIFIED_FOLDER}/sshd.conf
HostKey {SSH_FOLDER}/{HOST_KEY}
AuthorizedKeysFile {SSH_FOLDER}/{CLIENT_KEY}.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
UseDNS no
PrintMotd no
PrintLastLog no
PidFile none
LogLevel ERROR
SetEnv PATH={ENVIRONMENT["PATH"]} LANG={ENVIRONMENT["LANG"]}
Subsystem sftp {SFTP}
"""


@dataclass(frozen=True, kw_only=True)
class SshFiles:
    """What a client needs to reach the hosts of one lab; absolute paths."""

    client_key: Path
    known_hosts: Path


def prepare(folder: Path) -> SshFiles:
    """Write keys and configuration to ``folder``/ssh, which every host of the lab mounts.

    ``folder`` is the lab's. Raises `PlatformError` without OpenSSH.
    """
    place = folder.absolute() / "ssh"
    if shutil.which("ssh-keygen") is None or shutil.which("sshd", path=ENVIRONMENT["PATH"]) is None:
        raise PlatformError("OpenSSH is missing; run `sudo apt-get install openssh-server`")
    private.folder(place)
    for name in (CLIENT_KEY, HOST_KEY):
        if not (place / name).exists():
            _make_key(place / name)
    # without PAM, sshd refuses an account whose password is locked, as root's is on Ubuntu
    pam = "yes" if _root_is_locked() else "no"
    private.write(place / "sshd_config", f"{SERVER_CONFIG}UsePAM {pam}\n")
    host_key = " ".join((place / f"{HOST_KEY}.pub").read_text().split()[:2])
    private.write(place / KNOWN_HOSTS, f"* {host_key}\n")
    return SshFiles(client_key=place / CLIENT_KEY, known_hosts=place / KNOWN_HOSTS)


def certifiable(folder: Path) -> interfaces.SshFiles:
    """Return the files by which an authority certifies the hosts and the client of a lab."""
    return interfaces.SshFiles(
        host_key=f"{SSH_FOLDER}/{HOST_KEY}.pub",
        folder=CERTIFIED_FOLDER,
        client_key=str(folder.absolute() / "ssh" / CLIENT_KEY),
    )


def proxy_command(access: NamespaceAccess) -> list[str]:
    """Return the argv of the ``ProxyCommand`` that logs in to a host of a root lab.

    Raises `PlatformError` for a host of a lab in a user namespace: sshd needs more users.
    """
    if access.in_user_namespace:
        raise PlatformError(
            f"host {access.host} is in a user namespace, where sshd cannot log anybody in;"
            " run the lab as root for SSH"
        )
    sshd = shutil.which("sshd", path=ENVIRONMENT["PATH"]) or "/usr/sbin/sshd"
    return [*access.nsenter(), "--", sshd, "-i", "-f", f"{SSH_FOLDER}/sshd_config"]


def client_config(files: SshFiles, accesses: Iterable[NamespaceAccess]) -> str:
    """Return the OpenSSH client configuration with which ``ssh -F`` reaches each host by name."""
    return "".join(
        entry(
            access.host,
            [
                "User root",
                option("IdentityFile", str(files.client_key)),
                "IdentitiesOnly yes",
                option("UserKnownHostsFile", str(files.known_hosts)),
                "GlobalKnownHostsFile none",
                "StrictHostKeyChecking yes",
                command("ProxyCommand", proxy_command(access)),
            ],
        )
        for access in accesses
    )


def _make_key(path: Path) -> None:
    """Make a key pair under another name, then rename it: an interruption leaves no half of one."""
    aside = path.with_name(f"{path.name}.new")
    for stale in (aside, Path(f"{aside}.pub")):
        stale.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "e3-lab", "-f", str(aside)],
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=30,
    )
    Path(f"{aside}.pub").chmod(private.FILE_MODE)
    Path(f"{aside}.pub").rename(f"{path}.pub")
    aside.rename(path)


def _root_is_locked() -> bool:
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("root:!") for line in lines)
