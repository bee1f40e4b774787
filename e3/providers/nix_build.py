"""An output of a flake as a resource: built once, and again when its sources change."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pulumi import Output, ResourceOptions
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from e3 import nix
from e3.providers import run, tell

DECIDING = ("digest", "flake", "output", "pattern")
"""The inputs that decide what is built; the others say where and how."""


SOURCES = ("flake.nix", "flake.lock", "images", "nix")
"""What decides the outputs of E3's own flake."""

VERSION_DIGITS = 12


class NixBuildProvider(ResourceProvider):
    """Builds an output and keeps it from Nix's garbage collection."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Build the output; an output that does not match what was asked for is not kept."""
        try:
            return CreateResult(props["output"], _build(props))
        except BaseException:
            nix.release(Path(props["folder"]))
            raise

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Build the output as it is now; if that fails, the one before stays."""
        del id, olds
        return UpdateResult(_build(news))

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Compare what is built; an output that is missing from the store is built again."""
        del id
        changed = any(olds.get(key) != news.get(key) for key in DECIDING)
        moved = olds["folder"] != news["folder"]
        return DiffResult(
            changes=changed or moved or not _kept(olds),
            replaces=["folder"] if moved else [],
            delete_before_replace=True,
        )

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Check whether the output is still kept."""
        return ReadResult(id_ if _kept(props) else None, props)

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002 - Pulumi's name
        """Release the output, which Nix may then collect."""
        del id
        nix.release(Path(props["folder"]))


def _build(props: dict[str, Any]) -> dict[str, Any]:
    flake = nix.Flake(folder=Path(props["flake"]), sources=tuple(props["sources"]))
    build = nix.Build(
        flake=flake,
        output=props["output"],
        folder=Path(props["folder"]),
        builder=props["builder"],
    )
    built = run(build.run(_say))
    return {
        **props,
        "path": built.path,
        "nar_hash": built.nar_hash,
        "closure_bytes": built.closure_bytes,
        **_file(built, props["pattern"]),
    }


def _file(built: nix.Built, pattern: str) -> dict[str, Any]:
    if not pattern:
        return {"file": None, "sha256": None}
    file = built.file(pattern)
    with Path(file).open("rb") as opened:
        return {"file": file, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}


def _kept(props: dict[str, Any]) -> bool:
    link = Path(props["folder"]) / nix.LINK
    return link.is_symlink() and str(link.readlink()) == props["path"] and link.exists()


def _say(text: str) -> None:
    tell(f"nix: {text}")


class NixBuild(Resource, module="e3", name="NixBuild"):
    """An output of a flake, built.

    ``path`` is where it lies in the Nix store, ``nar_hash`` the hash of its contents as Nix
    computes it, ``closure_bytes`` the size of it with all that it refers to. With a ``pattern``,
    ``file`` is the one file of it that matches, with its ``sha256``. ``version`` names the sources:
    it is known before anything is built, so that resources can be named by it.
    """

    version: str
    path: Output[str]
    file: Output[str]
    sha256: Output[str]
    nar_hash: Output[str]
    closure_bytes: Output[float]

    def __init__(  # noqa: PLR0913 - what a build is made of
        self,
        name: str,
        *,
        output: str,
        folder: str,
        flake: str = ".",
        sources: Sequence[str] = (),
        pattern: str = "",
        builder: str = "",
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the build of ``output``, an attribute path, of the flake in folder ``flake``.

        ``folder`` is where its root and log are kept; ``sources``, ``pattern`` and ``builder``
        are explained at `e3.nix`. Raises `ConfigurationError` if there is no such flake.
        """
        digest = nix.Flake(folder=Path(flake), sources=tuple(sources)).digest()
        super().__init__(
            NixBuildProvider(),
            name,
            {
                "flake": flake,
                "output": output,
                "sources": list(sources),
                "digest": digest,
                "pattern": pattern,
                "builder": builder,
                "folder": folder,
                "path": None,
                "file": None,
                "sha256": None,
                "nar_hash": None,
                "closure_bytes": None,
            },
            opts,
        )
        self.version = digest[:VERSION_DIGITS]

    @classmethod
    def image(  # noqa: PLR0913 - as above
        cls,
        name: str,
        *,
        choice: str,
        system: str,
        pattern: str,
        folder: str,
        builder: str = "",
        opts: ResourceOptions | None = None,
    ) -> "NixBuild":
        """Declare the build of an image that a stack's configuration names by ``choice``.

        That is ``OUTPUT`` of E3's own flake or ``FOLDER#OUTPUT`` of another one.
        """
        flake, output = nix.choose(choice, system)
        return cls(
            name,
            output=output,
            folder=folder,
            flake=flake,
            sources=SOURCES if flake == "." else (),
            pattern=pattern,
            builder=builder,
            opts=opts,
        )
