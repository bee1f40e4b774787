"""The file with which ssh, scp, rsync and pssh reach every host."""

from pathlib import Path
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from e3 import private


class SshConfigProvider(ResourceProvider):
    """Keeps one text file beside the stack's other files."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Write the file; its path is the id."""
        path = Path(props["path"])
        private.folder(path.parent)
        private.write(path, "\n".join(props["blocks"]))
        return CreateResult(props["path"], dict(props))

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002
        """Write the file again."""
        del id, olds
        return UpdateResult(self.create(news).outs)

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002
        """Compare path and text."""
        del id
        return DiffResult(
            changes=olds["path"] != news["path"] or olds["blocks"] != news["blocks"],
            replaces=["path"] if olds["path"] != news["path"] else [],
        )

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Check whether the file still exists."""
        return ReadResult(id_ if Path(props["path"]).exists() else None, props)

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002
        """Remove the file."""
        del id
        Path(props["path"]).unlink(missing_ok=True)


class SshConfig(Resource, module="e3", name="SshConfig"):
    """An OpenSSH client configuration with one ``Host`` block a host; ``path`` is relative."""

    path: Output[str]

    def __init__(
        self,
        name: str,
        *,
        path: str,
        blocks: Input[list[Input[str]]],
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the file."""
        super().__init__(SshConfigProvider(), name, {"path": path, "blocks": blocks}, opts)
