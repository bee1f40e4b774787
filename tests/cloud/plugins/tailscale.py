"""The plugin ``tailscale``: what the SDK pulumi_tailscale asks, as calls of Tailscale's API.

It behaves as the real one does, which is Terraform's provider
(https://github.com/tailscale/terraform-provider-tailscale, files named at each kind).
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import urllib3

from tests.cloud.plugin import Kind, Plugin, Properties, RefusedError, serve

NOT_FOUND, CHANGED_MEANWHILE = 404, 412


def api(method: str, path: str, body: object = None, **headers: str) -> Any:  # noqa: ANN401 - JSON
    """Return the answer, None for 404; `RefusedError` for others that fail."""
    answer = urllib3.request(
        method,
        f"{os.environ['TAILSCALE_BASE_URL']}/api/v2/{path}",
        headers={"Authorization": f"Bearer {os.environ['TAILSCALE_API_KEY']}", **headers},
        body=body if isinstance(body, str) else json.dumps(body),
        timeout=600,
    )
    if answer.status == NOT_FOUND:
        return None
    said = json.loads(answer.data or b"null")
    if answer.status >= 300:
        raise RefusedError(f"{said['message']} ({answer.status})")
    return said if said is not None else {}


class TailnetKey:
    """tailscale/resource_tailnet_key.go: every input replaces it; one that is invalid, too."""

    replaces = frozenset(
        {"description", "ephemeral", "expiry", "preauthorized", "reusable", "tags", "invalid"}
    )

    def check(self, inputs: Properties) -> dict[str, str]:
        """See `Kind`."""
        long = len(str(inputs.get("description", ""))) > 50
        return {"description": "string length must be at most 50"} if long else {}

    def stale(self, outputs: Properties) -> set[str]:
        """See `Ageing`."""
        renewed = outputs.get("recreateIfInvalid") == "always" or outputs.get("reusable")
        return {"invalid"} if outputs.get("invalid") and renewed else set()

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        """See `Kind`."""
        names = ("reusable", "ephemeral", "preauthorized", "tags")
        asked = {
            "capabilities": {"devices": {"create": {name: inputs.get(name) for name in names}}},
            "expirySeconds": inputs.get("expiry"),
            "description": inputs.get("description", ""),
        }
        made = api("POST", "tailnet/-/keys", asked)
        times = {"createdAt": made["created"], "expiresAt": made["expires"]}
        return made["id"], {**inputs, **times, "key": made["key"], "invalid": False}

    def read(self, id_: str, outputs: Properties) -> Properties | None:
        """See `Kind`: a key that is not there any more stays in the state, as an invalid one."""
        found = api("GET", f"tailnet/-/keys/{id_}")
        return {**outputs, "invalid": found is None or found["invalid"]}

    def update(self, id_: str, outputs: Properties, inputs: Properties) -> Properties:
        """See `Kind`."""
        del id_
        return {**outputs, **inputs}

    def delete(self, id_: str, outputs: Properties) -> None:
        """See `Kind`: one that is gone is no error."""
        del outputs
        api("DELETE", f"tailnet/-/keys/{id_}")


class Acl:
    """tailscale/resource_acl.go: it replaces the whole policy, unless that was ever changed."""

    replaces: frozenset[str] = frozenset()

    def check(self, inputs: Properties) -> dict[str, str]:
        """See `Kind`."""
        try:
            json.loads(inputs["acl"])
        except ValueError as error:
            return {"acl": str(error)}
        return {}

    def create(self, inputs: Properties) -> tuple[str, Properties]:
        """See `Kind`."""
        kept = {} if inputs.get("overwriteExistingContent") else {"If-Match": '"ts-default"'}
        try:
            api("POST", "tailnet/-/acl", inputs["acl"], **kept)
        except RefusedError as error:
            if f"({CHANGED_MEANWHILE})" in str(error):
                raise RefusedError(
                    "You are trying to overwrite a non-default policy. Please import the ACL first "
                    "or set overwrite_existing_content = true."
                ) from error
            raise
        return "acl", inputs

    def read(self, id_: str, outputs: Properties) -> Properties | None:
        """See `Kind`."""
        del id_
        now = api("GET", "tailnet/-/acl")
        same = now == json.loads(outputs["acl"])
        return outputs if same else {**outputs, "acl": json.dumps(now)}

    def update(self, id_: str, outputs: Properties, inputs: Properties) -> Properties:
        """See `Kind`."""
        del id_
        api("POST", "tailnet/-/acl", inputs["acl"])
        return {**outputs, **inputs}

    def delete(self, id_: str, outputs: Properties) -> None:
        """See `Kind`: the policy stays, unless asked to be reset to the default."""
        del id_
        if outputs.get("resetAclOnDestroy"):
            api("POST", "tailnet/-/acl", "")


KINDS: Mapping[str, Kind] = {
    "tailscale:index/tailnetKey:TailnetKey": TailnetKey(),
    "tailscale:index/acl:Acl": Acl(),
}


if __name__ == "__main__":
    serve(Plugin(KINDS))
