"""Credentials read by libraries of JavaScript: `jose`, and Digital Bazaar's for status lists."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from e3.authority.credentials import asked, issue, publish
from e3.authority.joint.requests import Status
from e3.authority.joint.requests.credential import LIST_BITS
from tests.elsewhere import installed_by_npm
from tests.unit.authority.test_credentials import (
    CLAIMS,
    ISSUER,
    JOINT,
    SUBJECT,
    URL,
    changes,
    jwk,
    of_algorithm,
)

REVOKED = (0, 7, 77, LIST_BITS - 1)

Read = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def read() -> Read:
    """Return a reader by these libraries."""
    place = installed_by_npm("credentials")

    def by_node(credential: str, status_list: str) -> dict[str, Any]:
        given = {
            "credential": credential,
            "list": status_list,
            "jwk": jwk(JOINT),
            "issuer": ISSUER,
            "places": [0, 1, 7, 76, 77, 78, LIST_BITS - 1],
        }
        done = subprocess.run(
            ["node", "read.mjs"],
            cwd=place,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={"PATH": os.environ["PATH"]},
        )
        return dict(json.loads(done.stdout))

    return by_node


@pytest.mark.long
def test_javascript_accepts_credentials_and_lists_and_refuses_changed_ones(read: Read) -> None:
    status = Status(url=URL, index=77)
    credential = asyncio.run(issue(JOINT, asked(SUBJECT, CLAIMS, status=status)))
    status_list = asyncio.run(publish(JOINT, URL, REVOKED))
    said = read(credential, status_list)
    assert said == {"subject": SUBJECT, "length": LIST_BITS, "revoked": list(REVOKED)}
    for algorithm in ("EdDSA", "Ed25519"):
        assert read(of_algorithm(algorithm), status_list) == said
    refused = {"error": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"}
    for changed in changes(credential):
        assert read(changed, status_list) == refused
    header, payload, _ = status_list.split(".")
    assert read(credential, f"{header}.{payload}.{credential.split('.')[2]}") == refused
