"""The lab of a stack as a resource: its daemon."""

import os
from pathlib import Path
from typing import Any

from pulumi import Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider

from e3.access.identity import identify
from e3.errors import LabError
from e3.lab import client, running, ssh


class LabProvider(ResourceProvider):
    """Starts and stops the daemon of `e3.lab`."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Start a lab; its id is unique, so that another lab replaces all resources in it."""
        folder = Path(props["folder"])
        lab = client.start(folder)
        if os.geteuid() == 0:
            ssh.prepare(folder)
        daemon = identify(lab.status()["pid"])
        if daemon is None:
            raise LabError(f"the lab died as soon as it was started; see {folder / 'lab.log'}")
        return CreateResult(running.lab_id(daemon), dict(props))

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Replace the lab if it has ended."""
        del id, news
        alive = client.Lab(Path(olds["folder"])).alive()
        return DiffResult(
            changes=not alive, replaces=[] if alive else ["folder"], delete_before_replace=True
        )

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Check whether the lab still runs."""
        return ReadResult(id_ if client.Lab(Path(props["folder"])).alive() else None, props)

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002 - Pulumi's name
        """Stop the lab, with everything in it, if it still runs."""
        del id
        client.stop(Path(props["folder"]))


class Lab(Resource, module="e3", name="Lab"):
    """A lab; ``folder`` is where its socket and log are, relative to the project."""

    folder: Output[str]

    def __init__(self, name: str, *, folder: str, opts: ResourceOptions | None = None) -> None:
        """Declare the lab."""
        super().__init__(LabProvider(), name, {"folder": folder}, opts)
