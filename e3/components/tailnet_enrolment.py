"""How the key of a service reaches machines that Pulumi's own way reaches, too: over plain SSH."""

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
"""pulumi-command tries once more than the limit says: 30 s for a host that is not there."""

IGNORE = "cat > /dev/null"  # a command that does not read what it is sent fails
RECEIVE = shlex.join(["sh", "-c", script(SCRIPT), SCRIPT, "receive"])


class Enrolment(ComponentResource):
    """The key on each host, as a file that only root can read, until the host has logged in.

    One ``remote.Command`` a host: it receives the key on its standard input when the host is
    new; another key changes nothing there. It has no command for its deletion: that would fail,
    and `pulumi destroy` with it, where a host is gone (ADR 22). Logging out is the
    overlay's. ``done`` is the text ``""`` once all hosts have the key.
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
