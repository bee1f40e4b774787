"""The plugin ``command``: runs what it is told, here and over SSH, as the real one does.

https://github.com/pulumi/pulumi-command, files named at each kind. SSH is spoken by asyncssh.
"""

import asyncio
import os
import secrets
import subprocess
from collections.abc import Mapping
from typing import Any

import asyncssh

from tests.cloud.plugin import UNKNOWN, Kind, Plugin, Properties, RefusedError, serve

DIALS, DIAL_SECONDS = 10, 15
PAUSE_SECONDS, LONGER, LONGEST_SECONDS = 0.1, 1.5, 5.0
"""sdk/go/common/util/retry: the pause after a dial, what makes it longer, and how long it gets."""


class Command:
    """A resource that is its commands: one of create, update and delete at a time."""

    replaces = frozenset({"triggers"})

    def check(self, inputs: Properties) -> dict[str, str]:
        """See `Kind`."""
        del inputs
        return {}

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        """See `Kind`."""
        return secrets.token_hex(4), {**inputs, **self._run(inputs.get("create"), inputs)}

    def read(self, id_: str, outputs: Properties) -> Properties | None:
        """See `Kind`: nothing is ever read."""
        del id_
        return outputs

    def update(self, id_: str, outputs: Properties, inputs: Properties) -> Properties:
        """See `Kind`: without a command for it, the one of the creation runs again."""
        del id_
        said = {name: outputs[name] for name in ("stdout", "stderr") if name in outputs}
        command = inputs.get("update", inputs.get("create"))
        known: Properties = inputs | said
        return known | self._run(command, known)

    def delete(self, id_: str, outputs: Properties) -> None:
        """See `Kind`: a command that fails, or a host that does not answer, fails this."""
        del id_
        self._run(outputs.get("delete"), outputs)

    def _run(self, command: str | None, values: Mapping[str, Any]) -> Properties:
        if not command or command == UNKNOWN:
            return {"stdout": "", "stderr": ""}
        status, stdout, stderr = self.carry_out(command, values)
        if status:
            raise RefusedError(f"exit status {status}: running {command!r}:\n{stdout}{stderr}")
        return {"stdout": stdout.removesuffix("\n"), "stderr": stderr.removesuffix("\n")}

    def carry_out(self, command: str, values: Mapping[str, Any]) -> tuple[int, str, str]:
        """Return status and output of a command."""
        raise NotImplementedError


class Local(Command):
    """provider/pkg/provider/local/commandOutputs.go."""

    def carry_out(self, command: str, values: Mapping[str, Any]) -> tuple[int, str, str]:
        """See `Command`."""
        done = subprocess.run(
            [*values.get("interpreter", ["/bin/sh", "-c"]), command],
            cwd=values.get("dir"),
            env={**os.environ, **values.get("environment", {}), **_previous(values)},
            input=values.get("stdin", ""),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


class Remote(Command):
    """provider/pkg/provider/remote: connection.go, commandOutputs.go."""

    def carry_out(self, command: str, values: Mapping[str, Any]) -> tuple[int, str, str]:
        """See `Command`."""
        return asyncio.run(_over_ssh(command, values))


def _previous(values: Mapping[str, Any]) -> dict[str, str]:
    if not values.get("addPreviousOutputInEnv", True):
        return {}
    names = {"stdout": "PULUMI_COMMAND_STDOUT", "stderr": "PULUMI_COMMAND_STDERR"}
    return {variable: values[name] for name, variable in names.items() if values.get(name)}


async def _over_ssh(command: str, values: Mapping[str, Any]) -> tuple[int, str, str]:
    stdin = values.get("stdin")
    connection = await _dial(values["connection"])
    try:
        done = await connection.run(
            command,
            input=stdin,
            env=values.get("environment", {}),
            stdin=asyncssh.PIPE if stdin else asyncssh.DEVNULL,
        )
    finally:
        connection.close()
        await connection.wait_closed()
    return done.returncode or 0, str(done.stdout or ""), str(done.stderr or "")


async def _dial(to: Mapping[str, Any]) -> asyncssh.SSHClientConnection:
    """Connect; a dial that failed is repeated until there were as many as the limit, and one more.

    Only the dial is bounded in time, not the handshake after it (ssh.ClientConfig.Timeout).
    """
    limit, seconds = to.get("dialErrorLimit", DIALS), to.get("perDialTimeout", DIAL_SECONDS)
    known = to.get("hostKey")
    options: dict[str, Any] = {
        "username": to.get("user", "root"),
        "client_keys": [asyncssh.import_private_key(to["privateKey"])],
        "known_hosts": ([asyncssh.import_public_key(known)], [], []) if known else None,
        "config": None,
        "agent_path": None,
    }
    pause, failed = PAUSE_SECONDS, 0
    while True:
        try:
            dialled = asyncio.open_connection(to["host"], int(to.get("port", 22)))
            _, writer = await asyncio.wait_for(dialled, seconds or None)
            writer.close()
            return await asyncssh.connect(to["host"], int(to.get("port", 22)), **options)
        except (OSError, asyncssh.Error, TimeoutError) as error:
            failed += 1
            if limit != -1 and failed > limit:
                raise RefusedError(f"after {failed - 1} failed attempts: {error!r}") from error
        await asyncio.sleep(pause)
        pause = min(pause * LONGER, LONGEST_SECONDS)


KINDS: Mapping[str, Kind] = {"command:local:Command": Local(), "command:remote:Command": Remote()}


if __name__ == "__main__":
    serve(Plugin(KINDS))
