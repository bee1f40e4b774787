"""The plugin ``digitalocean``: what the SDK pulumi_digitalocean asks, as calls of the API.

It waits, retries and fails where the real one does, which is Terraform's provider
(https://github.com/digitalocean/terraform-provider-digitalocean, files named at each kind);
that one asks every few seconds, this one more often.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import boto3
import urllib3
from botocore.exceptions import ClientError

from tests.cloud.plugin import Kind, PartialError, Plugin, Properties, RefusedError, serve

RETRIES = 6
POLL_SECONDS = 0.1
PATIENCE_SECONDS = float(os.environ.get("STAND_IN_PATIENCE_SECONDS", "20"))
"""How long a droplet or image may take; the real plugin waits 60 minutes."""


class Api:
    """Calls of the API; 429 and 5xx are tried again (digitalocean/config/config.go)."""

    def __init__(self) -> None:
        again = urllib3.Retry(
            RETRIES,
            status_forcelist=[429, 500, 502, 503, 504],
            allowed_methods=None,
            backoff_factor=0.05,
            raise_on_status=False,
        )
        self._pool = urllib3.PoolManager(retries=again, timeout=60)

    def __call__(self, method: str, path: str, body: Properties | None = None) -> Properties | None:
        """Return the answer, None for 404; `RefusedError` for others that fail."""
        answer = self._pool.request(
            method,
            f"{os.environ['DIGITALOCEAN_API_URL']}/v2/{path}",
            headers={"Authorization": f"Bearer {os.environ.get('DIGITALOCEAN_TOKEN', '')}"},
            json=body,
        )
        if answer.status == 404:
            return None
        if answer.status >= 300:
            said = json.loads(answer.data)
            raise RefusedError(f"{method} {path}: {answer.status} {said['message']}")
        return json.loads(answer.data) if answer.data else {}


api = Api()


class Same:
    """What kinds have in common: nothing is wrong with any input, and nothing is updated."""

    replaces: frozenset[str] = frozenset()

    def check(self, inputs: Properties) -> dict[str, str]:
        """See `Kind`."""
        del inputs
        return {}

    def update(self, id_: str, outputs: Properties, inputs: Properties) -> Properties:
        """See `Kind`."""
        del id_
        return {**outputs, **inputs}


@dataclass
class Plain(Same):
    """A resource that the API takes and gives as it is, with names in snake_case."""

    path: str
    name: str
    keys: dict[str, str]
    replaces: frozenset[str] = frozenset()
    extra: tuple[str, ...] = ()

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        """See `Kind`."""
        made = api("POST", self._path(inputs), self._body(inputs))
        if made is None:
            raise RefusedError(f"{self.name}: there is no {self._path(inputs)}")
        return str(made[self.name]["id"]), {**inputs, **self._outputs(made[self.name])}

    def read(self, id_: str, outputs: Properties) -> Properties | None:
        """See `Kind`."""
        found = api("GET", f"{self._path(outputs)}/{id_}")
        return None if found is None else {**outputs, **self._outputs(found[self.name])}

    def update(self, id_: str, outputs: Properties, inputs: Properties) -> Properties:
        """See `Kind`."""
        if api("PUT", f"{self._path(inputs)}/{id_}", self._body(inputs)) is None:
            raise RefusedError(f"{self.name} {id_} is gone")
        return {**outputs, **inputs}

    def delete(self, id_: str, outputs: Properties) -> None:
        """See `Kind`; the real one fails for a key that is gone (sshkey/resource_ssh_key.go)."""
        gone = api("DELETE", f"{self._path(outputs)}/{id_}") is None
        if gone and self.name == "ssh_key":
            raise RefusedError(f"Error deleting SSH key: 404 {id_}")

    def _path(self, values: Properties) -> str:
        return self.path.format(**values)

    def _body(self, inputs: Properties) -> Properties:
        return {name: _snake(inputs[key]) for key, name in self.keys.items() if key in inputs}

    def _outputs(self, row: Properties) -> Properties:
        return {key: row[key] for key in self.extra if key in row}


def _snake(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return firewall rules as the API names their parts."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return value
    rows = []
    for rule in value:
        row = {"protocol": rule["protocol"], "ports": rule.get("portRange", "0")}
        for end, prefix in (("sources", "source"), ("destinations", "destination")):
            given = {
                "addresses": rule.get(f"{prefix}Addresses"),
                "tags": rule.get(f"{prefix}Tags"),
                "droplet_ids": rule.get(f"{prefix}DropletIds"),
            }
            row[end] = {key: some for key, some in given.items() if some}
        rows.append(row)
    return rows


class Droplet(Same):
    """digitalocean/droplet/resource_droplet.go: created, then awaited until ``active``."""

    replaces = frozenset({"image", "region", "name", "userData", "sshKeys"})
    inputs = ("image", "name", "region", "size", "ipv6", "tags")

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        """See `Kind`."""
        image = inputs["image"]
        body = {key: inputs[key] for key in self.inputs if key in inputs}
        body |= {"image": int(image) if image.isdigit() else image}
        body |= {"ssh_keys": inputs.get("sshKeys", []), "user_data": inputs.get("userData", "")}
        made = api("POST", "droplets", body) or {}
        id_ = str(made["droplet"]["id"])
        # the real one keeps a hash alone (droplet/resource_droplet.go, "user_data": StateFunc)
        digest = hashlib.sha1(body["user_data"].encode(), usedforsecurity=False).hexdigest()
        inputs = {**inputs, "userData": digest}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            outputs = self.read(id_, inputs)
            if outputs and outputs["status"] == "active":
                return id_, outputs
            if outputs is None or time.monotonic() > deadline:
                reason = f"Error waiting for droplet ({id_}) to become ready: timeout"
                raise PartialError(reason, id_=id_, outputs=outputs or inputs)
            time.sleep(POLL_SECONDS)

    def read(self, id_: str, outputs: Properties) -> Properties | None:
        """See `Kind`."""
        found = api("GET", f"droplets/{id_}")
        if found is None:
            return None
        row = found["droplet"]
        addresses = [n["ip_address"] for n in row["networks"]["v4"] if n["type"] == "public"]
        return {
            **outputs,
            "status": row["status"],
            "tags": row["tags"],
            "priceHourly": row["size"]["price_hourly"],
            "ipv4Address": (addresses or [""])[0],
        }

    def update(self, id_: str, outputs: Properties, inputs: Properties) -> Properties:
        """See `Kind`; after a failed creation, it is what awaits the droplet once more."""
        fresh = self.read(id_, {**outputs, **inputs})
        if fresh is None or fresh["status"] != "active":
            raise PartialError(f"droplet {id_} is not active", id_=id_, outputs=fresh or outputs)
        return fresh

    def delete(self, id_: str, outputs: Properties) -> None:
        """See `Kind`; the real one waits first until it is unlocked, and fails if it is gone."""
        del outputs
        if api("GET", f"droplets/{id_}") is None:
            raise RefusedError(f"Error waiting for droplet to be unlocked for destroy ({id_}): 404")
        api("DELETE", f"droplets/{id_}")


class CustomImage(Same):
    """digitalocean/image/resource_custom_image.go: imported to one region, then transferred."""

    replaces = frozenset({"url"})

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        """See `Kind`."""
        regions = inputs["regions"]
        body = dict(inputs)
        body |= {"region": body.pop("regions")[0]}
        made = api("POST", "images", body) or {}
        id_ = str(made["image"]["id"])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            row = (api("GET", f"images/{id_}") or {})["image"]
            if row["status"] == "available":
                break
            if row["status"] == "deleted" or time.monotonic() > deadline:
                reason = f"Error waiting for image ({id_}) to become ready: {row['error_message']}"
                raise PartialError(reason, id_=id_, outputs=inputs)
            time.sleep(POLL_SECONDS)
        self._transfer(id_, regions[1:], inputs)
        return id_, self.read(id_, inputs) or inputs

    def read(self, id_: str, outputs: Properties) -> Properties | None:
        """See `Kind`."""
        found = api("GET", f"images/{id_}")
        if found is None or found["image"]["status"] == "deleted":
            return None
        row = found["image"]
        kept = {key: row[key] for key in ("status", "tags")}
        return {**outputs, **kept, "imageId": int(id_)}

    def update(self, id_: str, outputs: Properties, inputs: Properties) -> Properties:
        """See `Kind`."""
        found = api("GET", f"images/{id_}")
        if found is None or found["image"]["status"] != "available":
            raise PartialError(f"image {id_} is not available", id_=id_, outputs=outputs)
        if set(outputs["regions"]) - set(inputs["regions"]):  # CustomizeDiff: ForceNewIfChange
            raise RefusedError("the real plugin would import the image again: a region less")
        there = found["image"]["regions"]
        self._transfer(id_, [name for name in inputs["regions"] if name not in there], inputs)
        return self.read(id_, {**outputs, **inputs}) or inputs

    def delete(self, id_: str, outputs: Properties) -> None:
        """See `Kind`."""
        del outputs
        api("DELETE", f"images/{id_}")

    def _transfer(self, id_: str, regions: list[str], inputs: Properties) -> None:
        for region in regions:
            body = {"type": "transfer", "region": region}
            action = (api("POST", f"images/{id_}/actions", body) or {})["action"]
            while action["status"] == "in-progress":
                time.sleep(POLL_SECONDS)
                action = (api("GET", f"actions/{action['id']}") or {})["action"]
            if action["status"] != "completed":
                reason = f"Error distributing image ({id_}) to additional regions: {region}"
                raise PartialError(reason, id_=id_, outputs=inputs)


class SpacesBucket(Same):
    """digitalocean/spaces/resource_spaces_bucket.go, with the S3 client that Spaces speaks to."""

    replaces = frozenset({"name", "region"})

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        """See `Kind`."""
        name = inputs["name"]
        try:
            s3().create_bucket(Bucket=name, ACL=inputs.get("acl", "private"))
        except ClientError as error:
            raise RefusedError(
                f"creating Spaces bucket: {error.response['Error']['Code']}"
            ) from error
        self._rules(inputs)
        return name, inputs

    def read(self, id_: str, outputs: Properties) -> Properties | None:
        """See `Kind`."""
        try:
            s3().head_bucket(Bucket=id_)
        except ClientError:
            return None
        return outputs

    def update(self, id_: str, outputs: Properties, inputs: Properties) -> Properties:
        """See `Kind`."""
        self._rules(inputs)
        return super().update(id_, outputs, inputs)

    def delete(self, id_: str, outputs: Properties) -> None:
        """See `Kind`."""
        del outputs
        try:
            s3().delete_bucket(Bucket=id_)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            raise RefusedError(f"deleting Spaces bucket {id_}: {code}") from error

    def _rules(self, inputs: Properties) -> None:
        rules = [
            {
                "ID": rule.get("id", "rule"),
                "Status": "Enabled" if rule["enabled"] else "Disabled",
                "Filter": {"Prefix": rule.get("prefix", "")},
                "AbortIncompleteMultipartUpload": {
                    "DaysAfterInitiation": rule["abortIncompleteMultipartUploadDays"]
                },
            }
            for rule in inputs.get("lifecycleRules", [])
        ]
        if rules:
            s3().put_bucket_lifecycle_configuration(
                Bucket=inputs["name"], LifecycleConfiguration={"Rules": rules}
            )


def s3() -> Any:  # noqa: ANN401 - boto3 has no types
    """Return a client of Spaces."""
    return boto3.client(
        "s3",
        endpoint_url=os.environ["SPACES_ENDPOINT_URL"],
        aws_access_key_id=os.environ["SPACES_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["SPACES_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )


KINDS: Mapping[str, Kind] = {
    "digitalocean:index/droplet:Droplet": Droplet(),
    "digitalocean:index/customImage:CustomImage": CustomImage(),
    "digitalocean:index/spacesBucket:SpacesBucket": SpacesBucket(),
    "digitalocean:index/sshKey:SshKey": Plain(
        "account/keys",
        "ssh_key",
        {"name": "name", "publicKey": "public_key"},
        frozenset({"publicKey"}),
        ("fingerprint",),
    ),
    "digitalocean:index/firewall:Firewall": Plain(
        "firewalls",
        "firewall",
        {
            "name": "name",
            "tags": "tags",
            "dropletIds": "droplet_ids",
            "inboundRules": "inbound_rules",
            "outboundRules": "outbound_rules",
        },
        extra=("status",),
    ),
    "digitalocean:index/dnsRecord:DnsRecord": Plain(
        "domains/{domain}/records",
        "domain_record",
        {"name": "name", "type": "type", "value": "data", "ttl": "ttl"},
        frozenset({"domain", "type"}),
    ),
}


if __name__ == "__main__":
    serve(Plugin(KINDS, version=metadata.version("pulumi-digitalocean")))
