"""The image of a stack: a bucket, the file in it, and the custom image imported from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi_digitalocean as do
from pulumi import ComponentResource, CustomTimeouts, Input, Output, ResourceOptions

from e3.digitalocean.upload import check_image
from e3.providers.cloud_mark import Mark
from e3.providers.cloud_object import Object
from e3.providers.nix_build import NixBuild

ABORT_DAYS = 2
SHORT = 12
IMPORT_TIMEOUT = "90m"
SYSTEM = "x86_64-linux"
"""The system of all droplets, as Nix names it."""

BUILT_SUFFIX = ".qcow2.gz"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file from which an image is made; ``name`` is known at once, and new for new content."""

    name: str
    path: Input[str]
    digest: Input[str]
    suffix: str


def of_file(path: Path) -> Source:
    """Return an existing file; raise `ConfigurationError` if it is no image."""
    digest = check_image(path)
    suffix = "".join(path.suffixes)
    return Source(name=digest[:SHORT], path=str(path), digest=digest, suffix=suffix)


def of_flake(choice: str, *, builder: str, folder: Path, opts: ResourceOptions) -> Source:
    """Declare the build of the output of a flake, see `e3.nix.choose`; return its one file."""
    build = NixBuild.image(
        "image-build",
        choice=choice,
        system=SYSTEM,
        pattern=f"*{BUILT_SUFFIX}",
        folder=str(folder),
        builder=builder,
        opts=opts,
    )
    return Source(name=build.version, path=build.file, digest=build.sha256, suffix=BUILT_SUFFIX)


class Image(ComponentResource):
    """A custom image, offered in every region of the stack; ``id`` is what droplets name.

    The object is named by the file's digest, the image by the source's name. So a new file becomes
    a new image, which is created before the old one is removed.
    """

    id: Output[str]

    def __init__(  # noqa: PLR0913 - what an image is made of
        self,
        name: str,
        *,
        source: Source,
        mark: Mark,
        regions: Sequence[str],
        bucket_region: str,
        protect: bool,
        opts: ResourceOptions,
    ) -> None:
        """Declare the image."""
        super().__init__("e3:digitalocean:Image", name, None, opts)
        kept = ResourceOptions(parent=self, protect=protect)
        bucket = do.SpacesBucket(
            "bucket",
            name=mark.label,
            region=bucket_region,
            acl="private",
            lifecycle_rules=[
                {
                    "id": "unfinished",
                    "enabled": True,
                    "abort_incomplete_multipart_upload_days": ABORT_DAYS,
                }
            ],
            opts=kept,
        )
        stored = Object(
            f"object-{source.name}",
            path=source.path,
            digest=source.digest,
            suffix=source.suffix,
            bucket=bucket.name,
            region=bucket_region,
            regions=regions,
            opts=kept,
        )
        image = do.CustomImage(
            f"image-{source.name}",
            name=mark.label.apply(lambda label: f"{label}-{source.name}"),
            url=stored.url,
            regions=stored.offered,
            tags=mark.tags,
            opts=ResourceOptions.merge(
                kept,
                ResourceOptions(
                    # only the import uses the URL, which is signed anew when it expires
                    ignore_changes=["tags", "url"],
                    custom_timeouts=CustomTimeouts(create=IMPORT_TIMEOUT),
                ),
            ),
        )
        self.id = image.id
        self.register_outputs({"id": image.id})
