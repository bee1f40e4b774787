"""Spaces, DigitalOcean's object storage, which has the API of S3.

https://docs.digitalocean.com/reference/api/spaces/ says what it supports.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from e3.errors import CloudError

KEY, SECRET, ENDPOINT = "SPACES_ACCESS_KEY_ID", "SPACES_SECRET_ACCESS_KEY", "SPACES_ENDPOINT_URL"
SIGNING_REGION = "us-east-1"  # "the region is ignored, yet has to be valid" for AWS's SDKs

REGIONS = (
    "ams3", "atl1", "blr1", "fra1", "lon1", "nyc3", "ric1", "sfo2", "sfo3", "sgp1", "syd1", "tor1"
)  # fmt: skip
"""https://docs.digitalocean.com/platform/regional-availability/"""

SENTENCES: Mapping[str, str] = {
    "InvalidAccessKeyId": f"{KEY} is not a key of Spaces; make one at "
    "https://cloud.digitalocean.com/spaces/access_keys",
    "SignatureDoesNotMatch": f"{SECRET} does not belong to {KEY}",
    "RequestTimeTooSkewed": "this machine's clock is off by more than 15 minutes, which makes "
    "every signature invalid; set it, such as with `sudo timedatectl set-ntp true`",
    "BucketAlreadyExists": "the bucket's name was taken by somebody else meanwhile; `pulumi "
    "destroy`, then `pulumi up` makes another",
}


def check_keys() -> None:
    """Raise `CloudError` unless both halves of a key of Spaces are in the environment."""
    for name in (KEY, SECRET):
        if not os.environ.get(name):
            raise CloudError(
                f"{name} is not set; an image is uploaded to Spaces, which has keys of its own: "
                "make one at https://cloud.digitalocean.com/spaces/access_keys"
            )


def check(region: str) -> None:
    """Raise `CloudError` if Spaces refuses the key or this machine's clock; create nothing."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to load

    s3 = client(region)
    with explained(f"Spaces in {region}"):
        try:
            s3.list_buckets()
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDenied":  # a key for some buckets only
                raise


def is_free(region: str, name: str) -> bool:
    """Return whether a bucket of that name can be created: all accounts share the names."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - slow to load

    s3 = client(region)
    with explained(f"bucket {name}"):
        try:
            s3.head_bucket(Bucket=name)
        except ClientError as error:
            if is_missing(error):
                return True
            if error.response["Error"]["Code"] not in {"403", "AccessDenied"}:
                raise
        return False


def client(region: str) -> Any:  # noqa: ANN401 - boto3 has no types
    """Return a client of boto3 for the Spaces of a region."""
    import boto3  # noqa: PLC0415 - takes 0.3 s, and most stacks do not need it
    from botocore.config import Config  # noqa: PLC0415

    check_keys()
    return boto3.client(
        "s3",
        endpoint_url=os.environ.get(ENDPOINT) or f"https://{region}.digitaloceanspaces.com",
        aws_access_key_id=os.environ[KEY],
        aws_secret_access_key=os.environ[SECRET],
        region_name=SIGNING_REGION,
        config=Config(
            signature_version="s3v4",
            retries={"max_attempts": 5, "mode": "standard"},
            request_checksum_calculation="when_required",  # Spaces knows no newer ones
            response_checksum_validation="when_required",
        ),
    )


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what boto3 raises about ``what`` into a `CloudError` with a remedy."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        said = error.response["Error"].get("Message") or code
        raise CloudError(f"{what}: {SENTENCES.get(code, f'{code}: {said}')}") from error
    except BotoCoreError as error:
        raise CloudError(f"{what}: {error}") from error


def is_missing(error: Exception) -> bool:
    """Return whether an error of boto3 says that a bucket, object or upload does not exist."""
    code = getattr(error, "response", {}).get("Error", {}).get("Code")
    return code in {"404", "NoSuchBucket", "NoSuchKey", "NoSuchUpload"}


def remove_bucket(region: str, name: str) -> bool:
    """Remove the bucket with its content; return whether it existed."""
    from botocore.exceptions import ClientError  # noqa: PLC0415

    s3 = client(region)
    with explained(f"bucket {name}"):
        try:
            empty_bucket(s3, name)
            s3.delete_bucket(Bucket=name)
        except ClientError as error:
            if not is_missing(error):
                raise
            return False
    return True


def empty_bucket(s3: Any, name: str, *, prefix: str = "") -> None:  # noqa: ANN401 - boto3 has no types
    """Remove the objects and unfinished uploads of a bucket whose names start with ``prefix``."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=prefix):
        for entry in page.get("Contents", []):
            s3.delete_object(Bucket=name, Key=entry["Key"])
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=name, Prefix=prefix):
        for entry in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=name, Key=entry["Key"], UploadId=entry["UploadId"])
