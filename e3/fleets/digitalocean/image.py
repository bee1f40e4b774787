"""The image of a stack: a bucket, the file in it, and what DigitalOcean makes of that."""

from collections.abc import Sequence
from pathlib import Path

import pulumi_digitalocean as do
from pulumi import ComponentResource, CustomTimeouts, Output, ResourceOptions

from e3.digitalocean.upload import check_image
from e3.providers.cloud_mark import Mark
from e3.providers.cloud_object import Object

ABORT_DAYS = 2
SHORT = 12
IMPORT_TIMEOUT = "90m"


class Image(ComponentResource):
    """A custom image, offered in every region of the stack; ``id`` is what droplets name.

    File, object and image are called by the file's digest: a new file is another image, which
    is there before the one before it goes.
    """

    id: Output[str]

    def __init__(  # noqa: PLR0913 - what an image is made of
        self,
        name: str,
        *,
        file: Path,
        mark: Mark,
        regions: Sequence[str],
        bucket_region: str,
        protect: bool,
        opts: ResourceOptions,
    ) -> None:
        """Declare the image."""
        super().__init__("e3:digitalocean:Image", name, None, opts)
        digest = check_image(file)
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
            f"object-{digest[:SHORT]}",
            path=str(file),
            digest=digest,
            suffix="".join(file.suffixes),
            bucket=bucket.name,
            region=bucket_region,
            regions=regions,
            opts=kept,
        )
        image = do.CustomImage(
            f"image-{digest[:SHORT]}",
            name=mark.label.apply(lambda label: f"{label}-{digest[:SHORT]}"),
            url=stored.url,
            regions=stored.offered,
            tags=mark.tags,
            opts=ResourceOptions.merge(
                kept,
                ResourceOptions(
                    # the URL is for the import alone, and another one is signed when it expires
                    ignore_changes=["tags", "url"],
                    custom_timeouts=CustomTimeouts(create=IMPORT_TIMEOUT),
                ),
            ),
        )
        self.id = image.id
        self.register_outputs({"id": image.id})
