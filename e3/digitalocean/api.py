"""Calls of DigitalOcean's API, version 2: https://docs.digitalocean.com/reference/api/."""

import json
import os
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from e3 import web
from e3.errors import CloudError

Row: TypeAlias = Mapping[str, Any]

URL = "https://api.digitalocean.com"
TOKEN, ENDPOINT = "DIGITALOCEAN_TOKEN", "DIGITALOCEAN_API_URL"
ANSWER_SECONDS = 30.0
PAGE = 200  # the most that a page holds
UNAUTHORIZED, FORBIDDEN = 401, 403


class Api:
    """The account of a token; every call raises `CloudError` with a sentence when it fails.

    Temporary failures are retried (`e3.web.Web`), so there is no verb that creates.
    """

    def __init__(self, token: str, url: str = URL) -> None:
        """Store the token; make no call yet."""
        self._web = web.Web(ANSWER_SECONDS)
        self._token = token
        self._url = url.rstrip("/")

    def get(self, path: str) -> Row | None:
        """Return what is at ``path``, or None if there is nothing."""
        return self._call("GET", path)

    def all(self, path: str, name: str) -> list[Row]:
        """Return the rows called ``name`` of all pages of a list."""
        rows: list[Row] = []
        mark = "&" if "?" in path else "?"
        for page in range(1, 10_000):
            answer = self.get(f"{path}{mark}page={page}&per_page={PAGE}") or {}
            rows += answer.get(name) or []
            if not (answer.get("links") or {}).get("pages", {}).get("next"):
                break
        return rows

    def delete(self, path: str) -> bool:
        """Delete what is at ``path``; return whether there was anything."""
        return self._call("DELETE", path) is not None

    def tag(self, name: str, resources: list[tuple[str, str]]) -> None:
        """Create the tag unless it exists, and tag these resources (type, id) with it."""
        self._call("POST", "tags", {"name": name})
        if resources:
            rows = [{"resource_type": kind, "resource_id": id_} for kind, id_ in resources]
            self._call("POST", f"tags/{name}/resources", {"resources": rows})

    def _call(self, method: str, path: str, row: Row | None = None) -> Row | None:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        body = None if row is None else json.dumps(row).encode()
        try:
            answer = self._web.ask(method, f"{self._url}/v2/{path}", headers=headers, body=body)
            found = answer.fields() if answer.status < web.FIRST_ERROR else {}
        except web.SilentError as error:
            raise CloudError(
                f"DigitalOcean's API at {self._url} does not answer: {error}"
            ) from error
        if answer.status == web.NOT_FOUND:
            return None
        if answer.status >= web.FIRST_ERROR:
            _fail(method, path, answer)
        return found


def account() -> Api:
    """Return the API of the account whose token is in the environment."""
    token = os.environ.get(TOKEN, "")
    if not token:
        raise CloudError(
            f"{TOKEN} is not set; make a token with read and write access at "
            f"https://cloud.digitalocean.com/account/api/tokens, then `export {TOKEN}=...`"
        )
    return Api(token, os.environ.get(ENDPOINT) or URL)


def _fail(method: str, path: str, answer: web.Answer) -> NoReturn:
    said = answer.message
    if answer.status == UNAUTHORIZED:
        raise CloudError(
            f"{TOKEN} is not accepted by DigitalOcean ({said}); it may have expired or be of "
            "another account: make a new one"
        )
    if answer.status == FORBIDDEN:
        raise CloudError(
            f"{TOKEN} may not {method} {path} ({said}); make one with read and write access"
        )
    raise CloudError(f"DigitalOcean's API answers {method} {path} with {answer.status}: {said}")
