"""Calls of Tailscale's API, version 2: https://tailscale.com/api.

Credentials are those of the Pulumi provider, by the same names in the environment
(https://www.pulumi.com/registry/packages/tailscale/installation-configuration/): an API key, or
an OAuth client with the scopes ``auth_keys`` and ``devices:core``.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

from e3 import web
from e3.errors import ConfigurationError, OverlayError

URL = "https://api.tailscale.com"
ENDPOINT = "TAILSCALE_BASE_URL"
API_KEY = "TAILSCALE_API_KEY"
CLIENT_ID, CLIENT_SECRET = "TAILSCALE_OAUTH_CLIENT_ID", "TAILSCALE_OAUTH_CLIENT_SECRET"
ANSWER_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Tailnet:
    """The tailnet that these credentials own; calls raise `OverlayError` when they fail."""

    url: str = URL
    api_key: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)

    def remove_device(self, id_: str) -> bool:
        """Remove the device with that id, a ``nodeId``; return whether there was one.

        https://tailscale.com/api#tag/devices/delete/device/{deviceId}
        """
        path = f"device/{quote(id_, safe='')}"
        headers = {"Authorization": f"Bearer {self._token()}"}
        return self._call("DELETE", path, headers, {}) is not None

    def _token(self) -> str:
        """Return the API key, or an OAuth access token, which is valid for an hour.

        https://tailscale.com/kb/1215/oauth-clients#tailscale-oauth-token-endpoint
        """
        if self.api_key:
            return self.api_key
        asked = {"client_id": self.client_id, "client_secret": self.client_secret}
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        given = self._call("POST", "oauth/token", kind, asked)
        return str((given or {}).get("access_token", ""))

    def _call(
        self, method: str, path: str, headers: Mapping[str, str], form: Mapping[str, str]
    ) -> Mapping[str, object] | None:
        try:
            answer = web.Web(ANSWER_SECONDS).ask(
                method,
                f"{self.url}/api/v2/{path}",
                headers=headers,
                body=urlencode(form).encode(),
            )
            found = answer.fields() if answer.status < web.FIRST_ERROR else {}
        except web.SilentError as error:
            raise OverlayError(f"Tailscale's API at {self.url} does not answer: {error}") from error
        if answer.status == web.NOT_FOUND:
            return None
        if answer.status >= web.FIRST_ERROR:
            raise OverlayError(
                f"Tailscale's API answers {method} {path} with {answer.status}: {answer.message}"
            )
        return found


def account() -> Tailnet:
    """Return the tailnet of the credentials in the environment; else `ConfigurationError`."""
    url = (os.environ.get(ENDPOINT) or URL).rstrip("/")
    api_key = _read(API_KEY)
    client_id, client_secret = _read(CLIENT_ID), _read(CLIENT_SECRET)
    if not api_key and not (client_id and client_secret):
        raise ConfigurationError(
            f"{API_KEY} is not set, nor are {CLIENT_ID} and {CLIENT_SECRET}; make an OAuth client "
            "with the scopes auth_keys and devices:core at "
            "https://login.tailscale.com/admin/settings/oauth, or give a key of your own with "
            "e3:overlay-options: auth-key-file"
        )
    return Tailnet(url=url, api_key=api_key, client_id=client_id, client_secret=client_secret)


def _read(name: str) -> str:
    """Return the value of a variable or, after ``file:``, the content of the file it names."""
    value = os.environ.get(name, "")
    if not value.startswith("file:"):
        return value
    place = value.removeprefix("file:")
    try:
        return Path(place).expanduser().read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{name} names the file {place!r}: {error.strerror}") from error
