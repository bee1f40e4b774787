"""How the key of a service reaches machines that Pulumi's own way reaches, too: over plain SSH."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulumi import ComponentResource, Output, Resource, ResourceOptions

from e3.overlays.tailscale_client import AUTH_KEY, SOCKET

DIALS = 2
DIAL_SECONDS = 10
"""pulumi-command tries once more than the limit says: 30 s for a host that is not there."""

LOGOUT_SECONDS = 10
RECEIVE = f"umask 077; mkdir -p {Path(AUTH_KEY).parent} && cat > {AUTH_KEY}"


class Enrolment(ComponentResource):
    """The key on each machine, as a file that only root can read, until it has logged in.

    One ``remote.Command`` a machine: it receives the key on its standard input when the machine
    is new; another key changes nothing there. Its deletion logs out a machine that stays; with
    a machine that goes, or has gone, it is skipped. ``done`` is the text ``""`` once all have it.
    """

    done: Output[str]

    def __init__(
        self,
        name: str,
        *,
        key: Output[str],
        hosts: Sequence[Output[Mapping[str, Any]]],
        machines: Mapping[str, Resource],
    ) -> None:
        """Declare a command for each of ``machines``, by host name in the order of ``hosts``."""
        from pulumi_command import remote  # noqa: PLC0415 - slow to load, and only needed here

        super().__init__("e3:tailnet:Enrolment", name)
        commands = [
            remote.Command(
                f"{name}-{host}",
                connection=remote.ConnectionArgs(
                    host=made["access"]["address"],
                    port=made["access"]["port"],
                    user=made["access"]["user"],
                    private_key=Output.secret(made["access"]["key"].apply(_read)),
                    host_key=made["access"]["host_key"],
                    dial_error_limit=DIALS,
                    per_dial_timeout=DIAL_SECONDS,
                ),
                create=RECEIVE,
                update="true",
                delete=made["tools"].apply(leave),
                stdin=key,
                triggers=[made["access"].apply(_identity)],
                logging=remote.Logging.NONE,
                add_previous_output_in_env=False,
                opts=ResourceOptions(parent=self, deleted_with=machine),
            )
            for (host, machine), made in zip(machines.items(), hosts, strict=True)
        ]
        self.done = Output.all(*(command.stdout for command in commands)).apply(lambda _: "")
        self.register_outputs({})


def leave(tools: str) -> str:
    """Return the command that logs a machine out and forgets the key; it never fails."""
    client = shlex.join([f"{tools}/tailscale", f"--socket={SOCKET}", "logout"])
    return f"[ ! -S {SOCKET} ] || timeout {LOGOUT_SECONDS} {client}; rm -f {AUTH_KEY}"


def _read(path: str) -> str:
    return Path(path).expanduser().read_text()


def _identity(access: Mapping[str, Any]) -> str:
    return json.dumps([access["address"], access["host_key"]])
