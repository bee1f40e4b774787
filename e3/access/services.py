"""Services of a host: folders below /run/service that the host's s6-svscan supervises.

Everything is done from outside through the host's root folder. s6's own tools reach a
supervisor through the pipes in its service folder (s6-supervise(1), "control"), without a
process on the host. s6-log keeps a service's output in /var/log/NAME, of bounded size.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import shlex
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from e3.access import rooted
from e3.access.environment import ENVIRONMENT
from e3.errors import ServiceError
from e3.interfaces import Completed, Service

SCAN_FOLDER = "/run/service"
KILL_AFTER_MS = 2000
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.005, 0.2
LAST_LINES = 20
LOG_MOMENT_SECONDS, LOG_MOMENTS, LOG_STILL = 0.02, 50, 3
RELOADS = {"HUP": "-h", "USR1": "-1", "USR2": "-2"}


@dataclass(frozen=True)
class S6Services:
    """The services of the host whose root folder is open as ``root``.

    ``check`` runs a command on the host and returns whether it exited 0; ``kill_group`` kills a
    process group there, by its number there.
    """

    host: str
    root: int
    check: Callable[[Sequence[str]], Awaitable[bool]]
    kill_group: Callable[[int], Awaitable[None]]

    async def start(self, service: Service) -> None:
        """Ensure that ``service`` runs as described; return once it is ready."""
        wanted = _Applied.of(service)
        applied = self._applied(service.name)
        deaths = b""
        if applied is None:
            await self._add(service)
        elif applied.definition != wanted.definition:
            self._write(service)
            await self._restart(service)
            deaths = self._death_tally(service.name)
        elif applied.revision != wanted.revision and service.reload_signal is None:
            await self._restart(service)
            deaths = self._death_tally(service.name)
        else:
            deaths = self._death_tally(service.name)
            if applied.revision != wanted.revision and service.reload_signal is not None:
                await self._s6("s6-svc", RELOADS[service.reload_signal], _folder(service.name))
        if applied != wanted:
            self._record(service.name, wanted)
        await self._until_ready(service, deaths)

    async def stop(self, name: str) -> None:
        """Stop the service and remove its process group, logger and folder, if it exists."""
        if not self._exists(_folder(name)):
            return
        group = await self._field(name, "pid")
        await self._s6("s6-svc", "-wD", "-T", str(2 * KILL_AFTER_MS), "-d", _folder(name))
        if group.isdigit() and int(group) > 1:  # s6-supervise makes each service a group leader
            await self.kill_group(int(group))
        gone = f"{SCAN_FOLDER}/.{name}.{secrets.token_hex(4)}"  # s6-svscan skips names with a dot
        self._rename(_folder(name), gone)
        await self._s6("s6-svscanctl", "-an", SCAN_FOLDER)
        for folder in (gone, f"{gone}/log"):
            await self._until_unsupervised(folder)
        with rooted.opened(self.root, SCAN_FOLDER) as scan:
            shutil.rmtree(PurePosixPath(gone).name, dir_fd=scan, ignore_errors=True)

    async def _add(self, service: Service) -> None:
        """Create the folder under a hidden name, then rename it: s6-svscan sees it complete."""
        aside = f"{SCAN_FOLDER}/.{service.name}.{secrets.token_hex(4)}"
        self._write(service, aside)
        self._rename(aside, _folder(service.name))
        await self._s6("s6-svscanctl", "-a", SCAN_FOLDER)

    def _write(self, service: Service, folder: str | None = None) -> None:
        folder = folder or _folder(service.name)
        logger = f"#!/bin/sh\nexec s6-log -b n2 s1000000 {shlex.quote(_log_folder(service.name))}\n"
        files = {
            f"{folder}/run": (_run_script(service), 0o700),  # the environment may hold secrets
            f"{folder}/log/run": (logger, 0o755),
            f"{folder}/timeout-kill": (f"{KILL_AFTER_MS}\n", 0o644),
        }
        rooted.make_folder(self.root, _log_folder(service.name))
        for path, (content, mode) in files.items():
            rooted.write(self.root, path, content.encode(), mode=mode, owner=None)

    async def _restart(self, service: Service) -> None:
        if await self._field(service.name, "up") == "true":
            wait = ["-wr", "-T", str(2 * KILL_AFTER_MS)]
            await self._s6("s6-svc", *wait, "-r", _folder(service.name))
        else:  # it died, or a start was interrupted before s6-svscan saw it
            await self._s6("s6-svscanctl", "-a", SCAN_FOLDER)
            await self._s6("s6-svc", "-u", _folder(service.name))

    async def _until_ready(self, service: Service, deaths: bytes) -> None:
        """Return once its check passes and the service is up; raise as soon as it has died.

        The order matters: a service that is up after the check, and has not died since ``deaths``,
        was up during the check.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            if await self.check(service.ready):
                up = await self._field(service.name, "up") == "true"
                if up and self._death_tally(service.name) == deaths:
                    return
            if self._death_tally(service.name) != deaths:
                raise ServiceError(await self._exit_report(service))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _until_unsupervised(self, folder: str) -> None:
        pause = FIRST_PAUSE_SECONDS
        while (await self._s6("s6-svok", folder)).exit == 0:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _exit_report(self, service: Service) -> str:
        tally = (await self._s6("s6-svdt", _folder(service.name))).stdout.decode().splitlines()
        end = " ".join(tally[-1].split()[1:]) if tally else "unknown"
        log = await self._settled_log(service.name)
        lines = log.decode(errors="replace").splitlines()[-LAST_LINES:]
        said = "; its last lines:\n" + "\n".join(lines) if lines else "; it wrote nothing"
        return f"service {service.name} on host {self.host} died ({end}){said}"

    async def _settled_log(self, name: str) -> bytes:
        """Return the log once its writer, which reads a pipe, has written nothing for a moment."""
        log, same = b"", 0
        for _ in range(LOG_MOMENTS):
            await asyncio.sleep(LOG_MOMENT_SECONDS)
            with contextlib.suppress(OSError):
                before, log = log, rooted.read(self.root, f"{_log_folder(name)}/current")
                same = same + 1 if log and log == before else 0
            if same == LOG_STILL:
                break
        return log

    def _death_tally(self, name: str) -> bytes:
        """Return s6-supervise's tally of deaths, which changes with each death."""
        try:
            return rooted.read(self.root, f"{_folder(name)}/supervise/death_tally")
        except FileNotFoundError:  # s6-svscan has not come to it yet
            return b""

    async def _field(self, name: str, field: str) -> str:
        status = await self._s6("s6-svstat", "-o", field, _folder(name))
        return status.stdout.decode().strip()

    def _applied(self, name: str) -> "_Applied | None":
        try:
            values = json.loads(rooted.read(self.root, f"{_folder(name)}/data/applied"))
        except FileNotFoundError:
            return _Applied("", "") if self._exists(_folder(name)) else None
        return _Applied(values["definition"], values["revision"])

    def _record(self, name: str, applied: "_Applied") -> None:
        content = json.dumps({"definition": applied.definition, "revision": applied.revision})
        path = f"{_folder(name)}/data/applied"
        rooted.write(self.root, path, content.encode(), mode=0o644, owner=None)

    def _exists(self, path: str) -> bool:
        try:
            with rooted.opened(self.root, path):
                return True
        except FileNotFoundError:
            return False

    def _rename(self, source: str, target: str) -> None:
        with rooted.opened(self.root, SCAN_FOLDER) as scan:
            os.rename(
                PurePosixPath(source).name,
                PurePosixPath(target).name,
                src_dir_fd=scan,
                dst_dir_fd=scan,
            )

    async def _s6(self, tool: str, *arguments: str) -> Completed:
        """Run one of s6's tools on a folder of the host, the last of ``arguments``."""
        *options, folder = arguments
        try:
            with rooted.opened(self.root, folder) as descriptor:
                process = await asyncio.create_subprocess_exec(
                    tool,
                    *options,
                    f"/proc/self/fd/{descriptor}",
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env=ENVIRONMENT,
                    pass_fds=(descriptor,),
                )
                stdout, stderr = await process.communicate()
        except FileNotFoundError:
            return Completed(exit=111, stdout=b"", stderr=b"no such folder")  # as s6 says it
        return Completed(exit=process.returncode or 0, stdout=stdout, stderr=stderr)


@dataclass(frozen=True)
class _Applied:
    """Which definition and which revision of its files a running service has."""

    definition: str
    revision: str

    @classmethod
    def of(cls, service: Service) -> "_Applied":
        definition = _run_script(service) + service.restart_on
        return cls(hashlib.sha256(definition.encode()).hexdigest(), service.revision)


def _run_script(service: Service) -> str:
    # exported here and not given to env(1), whose command line anyone can read
    exports = [f"export {name}={shlex.quote(v)}" for name, v in service.environment.items()]
    return "\n".join(
        ["#!/bin/sh", "exec 2>&1", "cd /", *exports, f"exec {shlex.join(service.argv)}", ""]
    )


def _folder(name: str) -> str:
    return f"{SCAN_FOLDER}/{name}"


def _log_folder(name: str) -> str:
    return f"/var/log/{name}"
