"""Machines with SSH for tests: lab hosts behind a real OpenSSH server.

A `Machine` listens on a port of loopback as inetd would: each connection is handed to ``sshd -i``
on the host. So clients meet a real TCP connection and a real server, and the host needs no way
to this machine. Users are made by covering the host's own /etc/passwd and its kin.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e3.access.namespace import NamespaceAccess
from e3.access.ssh import SshAccess
from e3.interfaces import File
from e3.lab import ssh as lab_ssh
from e3.lab.host import SSH_FOLDER

USER, USER_ID = "pi", 4711
HOME = f"/run/home/{USER}"
COMMAND_SECONDS = 60.0
COVERED = "/run/etc"
AUTHORIZED = f"AuthorizedKeysFile .ssh/authorized_keys {SSH_FOLDER}/{lab_ssh.CLIENT_KEY}.pub"
MEMBERS = {
    "passwd": f"{USER}:x:{USER_ID}:{USER_ID}::{HOME}:/bin/bash\n",
    "group": f"{USER}:x:{USER_ID}:\n",
    "shadow": f"{USER}:*:19000:0:99999:7:::\n",
    "sudoers": f"Defaults env_reset\nroot ALL=(ALL) ALL\n{USER} ALL=(ALL) NOPASSWD: ALL\n",
}


@dataclass
class Machine:
    """A lab host whose SSH is at ``port`` of loopback while the context `opened` lasts."""

    inside: NamespaceAccess
    server: socket.socket
    prefix: Sequence[str] = ()
    served: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def port(self) -> int:
        port: int = self.server.getsockname()[1]
        return port

    def server_command(self) -> Sequence[str]:
        """Return the command that serves one connection."""
        return [*self.prefix, *lab_ssh.proxy_command(self.inside), "-o", AUTHORIZED]

    def serve(self) -> None:
        """Hand each connection to a server of its own, until the socket is shut down."""
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection:
                self.served.append(
                    subprocess.Popen(
                        self.server_command(),
                        stdin=connection.fileno(),
                        stdout=connection.fileno(),
                        stderr=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                )

    def cut(self) -> None:
        """Kill the servers of all connections, as a crash of the machine's sshd would."""
        for process in self.served:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.served.clear()

    def do(self, *argv: str) -> str:
        """Return what a command prints that runs on the host itself; it must succeed."""
        command = [*self.inside.nsenter(), "--", *argv]
        done = subprocess.run(command, capture_output=True, check=False, timeout=COMMAND_SECONDS)
        assert done.returncode == 0, (argv, done)
        return done.stdout.decode()

    def processes(self) -> list[str]:
        """Return the command lines of all that runs there, zombies and SSH's own apart."""
        listed = self.do("ps", "-eo", "stat=,args=").splitlines()
        known = [line.split(None, 1) for line in listed]
        own = ("ps -eo", "sshd", "s6-svscan")
        return sorted(a for state, a in known if state[0] != "Z" and not a.startswith(own))


@contextmanager
def opened(
    inside: NamespaceAccess,
    *prefix: str,
    address: str = "127.0.0.1",
    kind: Callable[..., Machine] = Machine,
) -> Iterator[Machine]:
    """Start an SSH server at a lab host, by ``prefix``; it ends with the context."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.create_server((address, 0), family=family)
    machine = kind(inside, server, prefix)
    thread = threading.Thread(target=machine.serve)
    thread.start()
    try:
        yield machine
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        machine.cut()


def add_user(inside: NamespaceAccess, lab: Path, *, sudo: bool) -> None:
    """Make the user ``pi`` on a host, with a home folder; the client's key logs in."""
    covers = {name: text for name, text in MEMBERS.items() if name != "sudoers"}
    files = [
        File(path=f"{COVERED}/{name}", content=(Path("/etc") / name).read_bytes() + text.encode())
        for name, text in covers.items()
    ]
    public = (lab / "ssh" / f"{lab_ssh.CLIENT_KEY}.pub").read_bytes()
    files.append(File(path=f"{HOME}/.ssh/authorized_keys", content=public))
    if sudo:
        text = MEMBERS["sudoers"].encode()
        files.append(File(path=f"{COVERED}/sudoers", content=text, mode=0o440))
    mounts = [
        f"mount --bind {file.path} /etc/{Path(file.path).name}"
        for file in files
        if file.path.startswith(COVERED)
    ]
    home = f"chown -R {USER_ID}:{USER_ID} {HOME}"

    async def go() -> None:
        await inside.put(files, timeout_seconds=COMMAND_SECONDS)
        script = "; ".join(["set -e", home, *mounts])
        done = await inside.run(["sh", "-c", script], timeout_seconds=COMMAND_SECONDS)
        assert done.exit == 0, done

    asyncio.run(go())


def keys(lab: Path) -> lab_ssh.SshFiles:
    """Write keys and the server's configuration into the folder that the lab's hosts see."""
    return lab_ssh.prepare(lab)


def host_key(lab: Path) -> str:
    """Return the public key with which the lab's hosts answer."""
    return " ".join((lab / "ssh" / f"{lab_ssh.HOST_KEY}.pub").read_text().split()[:2])


ACCESSES: Sequence[str] = ("root", "user", "sudo")
"""Ways to log in at a machine that has the user ``pi``: as root, as that user, or that by sudo."""


def access(machine: Machine, lab: Path, way: str) -> SshAccess:
    """Return the access to a machine of the lab in folder ``lab`` by one of `ACCESSES`."""
    return SshAccess(
        host=machine.inside.host,
        address="127.0.0.1",
        port=machine.port,
        user="root" if way == "root" else USER,
        key=str(lab / "ssh" / lab_ssh.CLIENT_KEY),
        host_key=host_key(lab),
        sudo=way == "sudo",
        own=f"{HOME}/.e3" if way == "user" else "",
    )
