"""Credentials read by libraries of JavaScript: `jose`, and Digital Bazaar's for status lists."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e3.authority.credentials import asked, issue, publish
from e3.authority.joint.requests import Status
from e3.authority.joint.requests.credential import LIST_BITS
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

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "tests/node/credentials"
INSTALL_SECONDS = 120
REVOKED = (0, 7, 77, LIST_BITS - 1)

Read = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def read() -> Read:
    """Install the libraries in .tools, where they stay, and return a reader by them."""
    if shutil.which("npm") is None:
        pytest.skip("there is no Node here: npm is not on PATH")
    place = ROOT / ".tools/credentials-check"
    shutil.copytree(SOURCE, place, dirs_exist_ok=True)
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"jose cannot be had here: {installed.stderr[-300:]}")

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
