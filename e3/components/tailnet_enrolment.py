"""Copy the key of a service over plain SSH to machines that pulumi-command can reach."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulumi import ComponentResource, Output, ResourceOptions

from e3.overlays.tailscale.client import SCRIPT
from e3.overlays.unit import script

DIALS = 2
DIAL_SECONDS = 10
"""pulumi-command tries once more than this limit: 30 s for a host that does not exist."""

IGNORE = "cat > /dev/null"  # a command that does not read its standard input fails
RECEIVE = shlex.join(["sh", "-c", script(SCRIPT), SCRIPT, "receive"])


class Enrolment(ComponentResource):
    """The key on each host, as a file that only root can read, until the host has logged in.

    Each host has one ``remote.Command``, which receives the key on its standard input when the
    host is new; another key changes nothing there. It has no command for its deletion: if a host
    is gone, that would fail, and `pulumi destroy` with it (ADR 22). The overlay logs hosts
    out. ``done`` is the text ``""`` once all hosts have the key.
    """

    done: Output[str]

    def __init__(
        self, name: str, *, key: Output[str], hosts: Mapping[str, Output[Mapping[str, Any]]]
    ) -> None:
        """Declare a command for each host."""
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
                update=IGNORE,
                stdin=key,
                triggers=[made["access"].apply(_identity)],
                logging=remote.Logging.NONE,
                add_previous_output_in_env=False,
                opts=ResourceOptions(parent=self),
            )
            for host, made in hosts.items()
        ]
        self.done = Output.all(*(command.stdout for command in commands)).apply(lambda _: "")
        self.register_outputs({})


def _read(path: str) -> str:
    return Path(path).expanduser().read_text()


def _identity(access: Mapping[str, Any]) -> str:
    return json.dumps([access["address"], access["host_key"]])
