"""A user's own SSH key, which must be in the account."""

import base64
import hashlib
from pathlib import Path

from e3.digitalocean.api import Api
from e3.errors import ConfigurationError


def public_half(key: Path) -> str:
    """Return the public half of a private key, from the file beside it; raise if there is none."""
    beside = key.with_name(f"{key.name}.pub")
    if not key.is_file() or not beside.is_file():
        raise ConfigurationError(
            f"e3:fleet-options: key is {str(key)!r}, but {key if beside.is_file() else beside} "
            "does not exist; give the path of a private key with its .pub beside it, or none"
        )
    return beside.read_text().strip()


def fingerprint(public: str) -> str:
    """Return the fingerprint by which DigitalOcean knows a public key: the MD5 of its blob."""
    blob = base64.b64decode(public.split()[1])
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def check(api: Api, key: Path) -> None:
    """Raise `ConfigurationError` unless the key is in the account."""
    wanted = fingerprint(public_half(key))
    if all(row["fingerprint"] != wanted for row in api.all("account/keys", "ssh_keys")):
        raise ConfigurationError(
            f"e3:fleet-options: key {key} is not known to this account; add its public half at "
            "https://cloud.digitalocean.com/account/security, or give none"
        )
