"""An SSH key pair as a resource: made once; its private half is a secret of the state."""

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

from e3 import private


class KeyPairProvider(ResourceProvider):
    """Makes a pair, and keeps the file with the private key if there is a path."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make a pair (Ed25519), and write its file."""
        key, public = _make()
        outs = {**props, "private": key, "public": public}
        _write(outs)
        return CreateResult(public.split()[1][-16:], outs)

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Write the file again; the pair stays."""
        del id
        outs = {**news, "private": olds["private"], "public": olds["public"]}
        _write(outs)
        return UpdateResult(outs)

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Compare the path, and check that the file exists."""
        del id
        return DiffResult(changes=olds["path"] != news["path"] or not _written(olds))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Keep what the state has: the next `up` writes a file that is missing."""
        return ReadResult(id_, props)

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002 - Pulumi's name
        """Remove the file."""
        del id
        if props["path"]:
            Path(props["path"]).unlink(missing_ok=True)


def _make() -> tuple[str, str]:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return secret.decode(), public.decode()


def _write(props: dict[str, Any]) -> None:
    if props["path"]:
        path = Path(props["path"])
        private.folder(path.parent)
        private.write(path, props["private"])


def _written(props: dict[str, Any]) -> bool:
    path = Path(props["path"])
    return not props["path"] or (path.exists() and path.read_text() == props["private"])


class KeyPair(Resource, module="e3", name="KeyPair"):
    """A pair; ``public`` is a line as in authorized_keys, ``private`` OpenSSH's format, secret.

    With a ``path``, the private half lies there too, for its owner alone.
    """

    path: Output[str]
    public: Output[str]
    private: Output[str]

    def __init__(self, name: str, *, path: str = "", opts: ResourceOptions | None = None) -> None:
        """Declare the pair."""
        super().__init__(
            KeyPairProvider(),
            name,
            {"path": path, "public": None, "private": None},
            ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["private"])),
        )
