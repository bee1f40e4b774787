"""The stand-in of Spaces: moto's S3 server, and before it what DigitalOcean's has besides.

https://docs.digitalocean.com/reference/api/spaces/: requests are signed with a key (AWS
Signature Version 4), by header or by query; what is private needs one. A signature holds for
15 minutes around the server's clock, one in a query for as long as it says
(https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).
"""

import datetime as dt
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.wrappers import Request, Response

from tests.cloud.faults import Faults

SKEW_SECONDS = 900
REGION = "us-east-1"  # what Spaces takes any signature to be for


@dataclass
class Spaces:
    """A WSGI application; ``secrets`` gives the secret of each access key."""

    faults: Faults
    secrets: Mapping[str, str]
    taken: set[str] = field(default_factory=set)
    """Names of buckets that belong to somebody else."""
    take_next: int = 0
    """Of the next so many names that are asked for, somebody else turns out to be the owner."""
    parts: int = 0
    """How many parts of objects were taken in so far."""
    inner: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))

    def __post_init__(self) -> None:
        """Begin without buckets: moto keeps those of a process, whoever made them."""
        s3_backends.reset()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        refused = self._refuse(request)
        return refused(environ, start) if refused else self.inner(environ, start)

    def _refuse(self, request: Request) -> Response | None:
        if (wrong := self._signature(request)) is not None:
            return _error(403, wrong)
        bucket = request.path.split("/")[1]
        if request.method == "HEAD" and bucket and self.take_next:
            self.take_next -= 1
            self.taken.add(bucket)
        if bucket in self.taken:
            makes = request.method == "PUT" and request.path.count("/") == 1
            return _error(409, "BucketAlreadyExists") if makes else _error(403, "AccessDenied")
        if "partNumber" in request.args and request.method == "PUT":
            after = self.faults.upload_breaks_after
            if after is not None and self.parts >= after:
                return _error(403, "AccessDenied")
            self.parts += 1
        return None

    def _signature(self, request: Request) -> str | None:
        """Return the code of what is wrong with a request's signature, if anything is."""
        now = time.time() + self.faults.skew_seconds
        header = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", ""))
        query = request.args.get("X-Amz-Credential", "").partition("/")[0]
        if header is None and not query:
            return "AccessDenied"
        if (header[1] if header else query) not in self.secrets:
            return "InvalidAccessKeyId"
        date = request.headers["X-Amz-Date"] if header else request.args["X-Amz-Date"]
        age = now - dt.datetime.strptime(f"{date}+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
        if header and abs(age) > SKEW_SECONDS:
            return "RequestTimeTooSkewed"
        lasts = SKEW_SECONDS if header else int(request.args["X-Amz-Expires"])
        return None if -SKEW_SECONDS < age < lasts else "AccessDenied"


def client(url: str, key: str, secret: str) -> Any:  # noqa: ANN401 - boto3 has no types
    """Return a client of the stand-in, for tests; called inside of the room."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name=REGION,
    )


def _error(status: int, code: str) -> Response:
    body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return Response(body, status, content_type="application/xml")
