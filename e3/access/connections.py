"""SSH connections: one for each host and event loop, reused, and closed with the loop.

asyncssh speaks the protocol. OpenSSH's client reads OpenSSH's configuration
(`e3.access.openssh`), also for each jump host. Host keys are always checked: against the
pinned one, or else against the known_hosts files of that configuration. An unknown key is
refused, whatever the configuration says. A server grants ten sessions a connection
(sshd_config(5), MaxSessions), so more at once open another connection.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from e3.access import login, openssh
from e3.access.openssh import HostEntry
from e3.errors import HostError
from e3.remote.tasks import in_thread, whole
from e3.remote.text import printable

CONNECT_SECONDS = 20.0
KEEPALIVE_SECONDS, KEEPALIVES = 10, 3
CLOSE_SECONDS = 2.0
SESSIONS = 8
"""Of one connection at once; the server's limit is 10, and one that just ended may still count."""

SshProcess = asyncssh.SSHClientProcess[bytes]


@dataclass(frozen=True, kw_only=True)
class SshTarget:
    """How a host is reached; the fields are those of `e3.access.ssh.SshAccess`."""

    host: str
    address: str
    port: int
    user: str
    key: str
    host_key: str
    ssh_config: str


@dataclass
class _Connection:
    """A connection with the number of sessions that use it; closed when its monitor ends."""

    ssh: asyncssh.SSHClientConnection
    monitor: "asyncio.Task[None]"
    sessions: int = 0


@dataclass
class _Pool:
    """The connections to one host."""

    target: SshTarget
    connections: list[_Connection] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def acquire(self) -> _Connection:
        """Return a connection with a free session, and count that session as the caller's."""
        async with self.lock:
            self.connections = [it for it in self.connections if not it.monitor.done()]
            free = [it for it in self.connections if it.sessions < SESSIONS]
            connection = free[0] if free else await self._open()
            connection.sessions += 1
            return connection

    async def _open(self) -> _Connection:
        ssh = await connect(self.target)
        # runs as long as the event loop, which cancels it at its end
        monitor = asyncio.create_task(_monitor(ssh))  # noqa: TID251
        connection = _Connection(ssh, monitor)
        self.connections.append(connection)
        return connection


_pools: dict[asyncio.AbstractEventLoop, dict[SshTarget, _Pool]] = {}


@asynccontextmanager
async def open_process(target: SshTarget, command: str) -> AsyncIterator[SshProcess]:
    """Run ``command`` in a session of a connection to the host; leaving it closes the session.

    Raises `HostError` when the host cannot be reached, or when the connection is lost.
    """
    for closed in [loop for loop in list(_pools) if loop.is_closed()]:
        _pools.pop(closed, None)  # another thread may have removed it
    pool = _pools.setdefault(asyncio.get_running_loop(), {}).setdefault(target, _Pool(target))
    connection = await pool.acquire()
    try:
        with as_host_errors(target.host):
            process = await _start(connection.ssh, command)
            try:
                yield process
            finally:
                await _close(process)
    finally:
        connection.sessions -= 1


async def connect(target: SshTarget) -> asyncssh.SSHClientConnection:
    """Return a new connection; raise `HostError` with the cause and a remedy."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await _connect(target)
    except TimeoutError:
        raise HostError(
            f"host {target.host} does not answer at {_where(target)} within {CONNECT_SECONDS:g} s; "
            "is it running, and can this machine reach it?"
        ) from None


async def user_of(target: SshTarget) -> str:
    """Return the user that OpenSSH's configuration names for a host, by default ours."""
    with _naming_host(target):
        return (await in_thread(_entries, target))[-1].user


@contextlib.contextmanager
def as_host_errors(host: str) -> Iterator[None]:
    """Turn errors of a connection into a `HostError` that names the host."""
    try:
        yield
    except asyncssh.ChannelOpenError as error:
        raise HostError(f"host {host} grants no session: {_reason(error)}") from error
    except (asyncssh.Error, ConnectionError, asyncio.IncompleteReadError) as error:
        raise HostError(f"the connection to host {host} was cut: {_reason(error)}") from None


async def _connect(target: SshTarget) -> asyncssh.SSHClientConnection:
    with _naming_host(target):
        *before, last = await in_thread(_entries, target)
    jump: asyncssh.SSHClientConnection | None = None
    try:
        # asyncssh could open these by itself, but would trust any key where the file says so
        for each in before:
            jump = await _connect_hop(target, each, jump)
        return await _connect_hop(target, last, jump, key=target.key, host_key=target.host_key)
    except BaseException:
        if jump is not None:
            jump.abort()
        raise


def _entries(target: SshTarget) -> list[HostEntry]:
    """Return what OpenSSH's configuration says about the jump hosts, and about the host."""
    if not target.ssh_config:
        return [openssh.entry(openssh.NO_FILE, target.address, target.user, target.port)]
    config = str(Path(target.ssh_config).expanduser().absolute())
    return openssh.route(config, target.address, target.user, target.port)


async def _connect_hop(
    target: SshTarget,
    entry: HostEntry,
    jump: asyncssh.SSHClientConnection | None,
    *,
    key: str = "",
    host_key: str = "",
) -> asyncssh.SSHClientConnection:
    """Connect to a host, through the connection ``jump`` if given, with that key and host key."""
    with _naming_host(target):
        values = login.arguments(entry)
        known = None if host_key else await in_thread(login.host_keys, entry)
        if known:
            login.preferring(entry, values, known)
    with _explaining_failure(target, entry, key, host_key) as keys:
        keys.append(await login.identities(entry, key))
        try:
            connection = await asyncssh.connect(
                **values,
                # None would mean that any key will do
                known_hosts=known or ([asyncssh.import_public_key(host_key)], [], []),
                client_factory=lambda: login.Keys(keys[0].pairs),
                tunnel=jump or (),
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVES,
            )
        finally:
            keys[0].close()
    try:
        with _naming_host(target):
            login.check_size(entry, connection.get_server_host_key())
    except HostError:
        connection.abort()
        raise
    if jump is not None:
        connection.set_tunnel(jump)  # closed with it
    return connection


@contextlib.contextmanager
def _naming_host(target: SshTarget) -> Iterator[None]:
    """Put the host's name before the message of a `HostError`."""
    try:
        yield
    except HostError as error:
        raise HostError(f"host {target.host}: {error}") from error


@contextlib.contextmanager
def _explaining_failure(
    target: SshTarget, entry: HostEntry, key: str, host_key: str
) -> Iterator[list[login.Identities]]:
    """Turn a failure to connect into a `HostError` with a remedy; the caller fills the list."""
    keys: list[login.Identities] = []
    where = f"{entry.alias}, on the way to it,"
    if entry.alias == target.address:
        where = _where(target)
    try:
        yield keys
    except asyncssh.HostKeyNotVerifiable as error:
        raise HostError(_host_key_error(target, where, host_key, printable(error))) from error
    except asyncssh.PermissionDenied as error:
        unusable = "; ".join(keys[0].unusable) if keys else ""
        raise HostError(
            f"host {target.host} at {where} refuses to let user {entry.user} in with "
            f"{f'the key {key}' if key else 'the keys of OpenSSH'}; put its public half "
            f"into ~{entry.user}/.ssh/authorized_keys there"
            f"{f' (not usable: {unusable})' if unusable else ''}"
        ) from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise HostError(
            f"host {target.host}: the key {key or 'of the host'} cannot be used: {error}; "
            "give one without a passphrase, or have an agent hold it and give none"
        ) from error
    except (asyncssh.Error, OSError, ValueError) as error:
        if getattr(error, "filename", None):  # a key of this machine's
            reason = f"{error.filename}: {error.strerror}"  # type: ignore[union-attr]
            raise HostError(
                f"host {target.host}: cannot read {reason}; correct its path"
            ) from error
        raise HostError(
            f"host {target.host} cannot be reached at {where}: {printable(_reason(error))}"
        ) from error


async def _start(connection: asyncssh.SSHClientConnection, command: str) -> SshProcess:
    """Return the process; close it if we are cancelled meanwhile."""

    async def create() -> SshProcess:
        return await connection.create_process(command, encoding=None)

    return await whole(create(), undo=_abort, seconds=CLOSE_SECONDS)


async def _abort(process: SshProcess) -> None:
    process.channel.abort()


async def _close(process: SshProcess) -> None:
    """End the session: close the input of its command, and give that a moment to end."""
    try:
        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                process.stdin.write_eof()
                await process.wait_closed()
    finally:
        process.channel.abort()


async def _monitor(connection: asyncssh.SSHClientConnection) -> None:
    """Return when the connection is lost; close it when the event loop ends, which cancels us."""
    try:
        await connection.wait_closed()
    finally:
        connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await connection.wait_closed()
        connection.abort()


def _where(target: SshTarget) -> str:
    if target.ssh_config:
        return f"{target.address} of {target.ssh_config}"
    return f"{target.address} port {target.port}"


def _host_key_error(target: SshTarget, where: str, host_key: str, reason: str) -> str:
    if not host_key:
        return (
            f"host {target.host} at {where} shows a key that no known_hosts file vouches for "
            f"({reason}); log in once with ssh to check and keep it, or pin it as host-key"
        )
    known = asyncssh.import_public_key(host_key).get_fingerprint()
    return (
        f"host {target.host} at {where} does not have the host key that is pinned ({known}); "
        "if it was installed anew pin its new one, else somebody stands in between"
    )


def _reason(error: BaseException) -> str:
    return str(error) or getattr(error, "reason", "") or type(error).__name__
