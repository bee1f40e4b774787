"""Upload an image to Spaces in parts; resume an interrupted upload, and verify the result."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e3.digitalocean import spaces
from e3.errors import CloudError, ConfigurationError

PART_BYTES = 16 << 20
"""S3 allows 10,000 parts an object: 160 GB."""

URL_SECONDS = 6 * 3600
"""The time within which DigitalOcean must start to fetch an image."""

KINDS: Mapping[bytes, str] = {
    b"QFI\xfb": "qcow2",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"vhdxfile": "vhdx",
    b"KDMV": "vmdk",
    b"# Disk DescriptorFile": "vmdk",
    b"<<< Oracle VM VirtualBox Disk Image >>>": "vdi",
}
"""How accepted files begin (openapi, images/models/image_new_custom.yml)."""

BOOT_SECTOR, BOOT_SIGNATURE = 512, b"\x55\xaa"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The place of an object."""

    region: str
    bucket: str
    key: str


def check_image(path: Path) -> str:
    """Return the SHA-256 of an image; raise `ConfigurationError` for any other file."""
    if not path.is_file():
        raise ConfigurationError(
            f"e3:fleet-options: image is {str(path)!r}, but there is no such file; build it "
            "(docs/images.md), or name an image of DigitalOcean's such as debian-12-x64"
        )
    with path.open("rb") as file:
        begin = file.read(BOOT_SECTOR)
        known = any(begin.startswith(magic) for magic in KINDS) or begin.endswith(BOOT_SIGNATURE)
        if not known:
            raise ConfigurationError(
                f"e3:fleet-options: image {path} is not of a kind that DigitalOcean takes: raw, "
                "qcow2, vhdx, vdi or vmdk, plain or compressed by gzip or bzip2"
            )
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def upload(path: Path, target: Target, digest: str, said: Callable[[str], object]) -> None:
    """Upload the file as the object ``target``; ``digest`` is its SHA-256 from the check.

    Parts of an interrupted upload that arrived intact are not sent again.
    """
    s3 = spaces.client(target.region)
    where = {"Bucket": target.bucket, "Key": target.key}
    with spaces.explained(f"upload of {path} to bucket {target.bucket}"):
        id_, known = _resume(s3, where)
        seen, parts, sums = hashlib.sha256(), [], b""
        for number, data in _parts(path):
            seen.update(data)
            checksum = hashlib.md5(data, usedforsecurity=False)
            sums += checksum.digest()
            tag = f'"{checksum.hexdigest()}"'
            if known.get(number) != tag:
                tag = s3.upload_part(**where, UploadId=id_, PartNumber=number, Body=data)["ETag"]
            parts.append({"PartNumber": number, "ETag": tag})
            size = path.stat().st_size
            said(f"{path.name}: {min(number * PART_BYTES, size) / 1e6:.0f} of {size / 1e6:.0f} MB")
        if seen.hexdigest() != digest:
            s3.abort_multipart_upload(**where, UploadId=id_)
            raise CloudError(f"image {path} changed while it was uploaded; `pulumi up` again")
        done = s3.complete_multipart_upload(**where, UploadId=id_, MultipartUpload={"Parts": parts})
        # the ETag of an object in parts: the MD5 of the parts' digests, and their number
        whole = hashlib.md5(sums, usedforsecurity=False).hexdigest()
        if done["ETag"].strip('"') != f"{whole}-{len(parts)}":
            s3.delete_object(**where)
            raise CloudError(f"image {path} did not arrive as it is; `pulumi up` sends it again")


def exists(target: Target) -> bool:
    """Return whether the object exists."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to load

    with spaces.explained(f"bucket {target.bucket}"):
        try:
            spaces.client(target.region).head_object(Bucket=target.bucket, Key=target.key)
        except ClientError as error:
            if not spaces.is_missing(error):
                raise
            return False
        return True


def remove(target: Target) -> None:
    """Remove the object and unfinished uploads of it; do nothing if there is no bucket."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to load

    s3 = spaces.client(target.region)
    with spaces.explained(f"bucket {target.bucket}"):
        try:
            spaces.empty_bucket(s3, target.bucket, prefix=target.key)
        except ClientError as error:
            if not spaces.is_missing(error):
                raise


def signed_url(target: Target) -> str:
    """Return a URL that gives read access to the private object for ``URL_SECONDS``."""
    url: str = spaces.client(target.region).generate_presigned_url(
        "get_object",
        Params={"Bucket": target.bucket, "Key": target.key},
        ExpiresIn=URL_SECONDS,
    )
    return url


def _resume(s3: Any, where: Mapping[str, str]) -> tuple[str, dict[int, str]]:  # noqa: ANN401
    """Return the latest unfinished upload with its parts, or a new one."""
    listed = s3.list_multipart_uploads(Bucket=where["Bucket"], Prefix=where["Key"])
    mine = [row for row in listed.get("Uploads", []) if row["Key"] == where["Key"]]
    if not mine:
        return s3.create_multipart_upload(**where)["UploadId"], {}
    id_ = max(mine, key=lambda row: row["Initiated"])["UploadId"]
    pages = s3.get_paginator("list_parts").paginate(**where, UploadId=id_)
    parts = {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", [])}
    return id_, parts


def _parts(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while data := file.read(PART_BYTES):
            number += 1
            yield number, data
