"""The test vectors of DIDComm Messaging v2.1, appendix C, pass."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from e3.didcomm.did import Document, document
from e3.didcomm.envelope import PrivateKey, decrypt, verify
from e3.didcomm.keys import JWK_CURVES, unbase64

pytestmark = pytest.mark.unit

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "cases/vectors.json").read_text())
ENCRYPTED, SIGNED = VECTORS["encrypted"], VECTORS["signed"]


def resolve(did: str) -> Document:
    content = next(each for each in VECTORS["documents"] if each["id"] == did)
    return document(did, json.dumps(content).encode())


def secrets() -> dict[str, PrivateKey]:
    found: dict[str, PrivateKey] = {}
    for jwk in VECTORS["secrets"]:
        if jwk["crv"] == "X25519":
            found[jwk["kid"]] = X25519PrivateKey.from_private_bytes(unbase64(jwk["d"]))
        elif jwk["kty"] == "EC":
            number = int.from_bytes(unbase64(jwk["d"]))
            found[jwk["kid"]] = ec.derive_private_key(number, JWK_CURVES[jwk["crv"]])
    return found


def innermost(message: bytes) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(message)
    if "ciphertext" in read:
        return innermost(decrypt(message, secrets(), resolve).content)
    if "payload" in read:
        return innermost(verify(message, resolve).content)
    return read


@pytest.mark.parametrize("number", range(len(ENCRYPTED)))
def test_each_encrypted_message_has_the_plaintext(number: int) -> None:
    found = innermost(json.dumps(ENCRYPTED[number]).encode())
    assert found["body"] == VECTORS["plaintext"]["body"]


@pytest.mark.parametrize("number", range(len(SIGNED)))
def test_each_signed_message_has_the_plaintext(number: int) -> None:
    found = innermost(json.dumps(SIGNED[number]).encode())
    assert found["body"] == VECTORS["plaintext"]["body"]


def test_there_are_as_many_as_the_specification_has() -> None:
    assert (len(ENCRYPTED), len(SIGNED)) == (6, 3)
