"""An image in Spaces as a resource, with a URL by which DigitalOcean may fetch it for a while."""

import time
from collections.abc import Sequence
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

from e3.digitalocean import upload
from e3.digitalocean.upload import Target
from e3.providers import tell


class ObjectProvider(ResourceProvider):
    """Uploads a file; an interrupted upload is completed."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Upload the file under its digest."""
        target = _target(props)
        if not upload.exists(target):
            upload.upload(Path(props["path"]), target, props["digest"], tell)
        return CreateResult(target.key, {**_signed(props), "offered": sorted(props["regions"])})

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Store another path, or more regions: the file is the same."""
        del id
        offered = sorted({*olds["offered"], *news["regions"]})
        kept = {key: olds[key] for key in ("url", "expires")}
        return UpdateResult({**news, **kept, "offered": offered})

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Compare file and place; an expired URL needs no change."""
        del id
        replaces = [key for key in ("digest", "bucket", "region") if olds[key] != news[key]]
        return DiffResult(changes=bool(replaces) or olds["path"] != news["path"], replaces=replaces)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Check whether the object still exists, and replace an expired URL."""
        if not upload.exists(_target(props)):
            return ReadResult(None, props)
        return ReadResult(id_, props if props["expires"] > time.time() else _signed(props))

    def delete(self, id: str, props: dict[str, Any]) -> None:  # noqa: A002 - Pulumi's name
        """Remove the object."""
        del id
        upload.remove(_target(props))


def _target(props: dict[str, Any]) -> Target:
    return Target(
        region=props["region"], bucket=props["bucket"], key=f"{props['digest']}{props['suffix']}"
    )


def _signed(props: dict[str, Any]) -> dict[str, Any]:
    expires = time.time() + upload.URL_SECONDS
    return {**props, "url": upload.signed_url(_target(props)), "expires": expires}


class Object(Resource, module="e3", name="CloudObject"):
    """A file in a bucket, named by its SHA-256; ``url`` is secret, as anybody can read by it.

    ``offered`` are all regions that ever needed an image of it. DigitalOcean cannot remove an
    image from one region, so with a shorter list its plugin would import the image again.
    """

    url: Output[str]
    offered: Output[Sequence[str]]

    def __init__(  # noqa: PLR0913 - what an object is
        self,
        name: str,
        *,
        path: Input[str],
        digest: Input[str],
        suffix: str,
        bucket: Input[str],
        region: str,
        regions: Sequence[str],
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the object; ``suffix`` is the end of its name, such as ``.qcow2.gz``.

        ``region`` is where the bucket is, ``regions`` where its image is wanted.
        """
        super().__init__(
            ObjectProvider(),
            name,
            {
                "path": path,
                "digest": digest,
                "suffix": suffix,
                "bucket": bucket,
                "region": region,
                "regions": list(regions),
                "offered": None,
                "url": None,
                "expires": None,
            },
            ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["url"])),
        )
