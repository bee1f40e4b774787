"""Identifiers and documents: what is read, and what is refused."""

import json

import base58
import did_peer_4
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from e3.didcomm.did import Service, document, key_did, peer_did, public_key, resolve
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import PublicKey, from_jwk, from_multikey, multikey, to_jwk

pytestmark = pytest.mark.unit

SPECIFIED = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
"""The first example of the did:key method 0.9."""

SIGNING, AGREEING = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
SERVICE = Service(uri="wss://mediator.example/", routing_keys=("did:key:z6Mk",))
PEER = peer_did(AGREEING.public_key(), SIGNING.public_key(), [SERVICE])


def test_did_key_has_the_keys_that_its_specification_gives() -> None:
    found = resolve(SPECIFIED)
    assert found.authentication[0].id == f"{SPECIFIED}#{SPECIFIED[8:]}"
    assert found.agreement[0].id == f"{SPECIFIED}#z6LSj72tK8brWgZja8NLRwPigth2T9QRiG1uH9oKZuKjdh9p"


def test_did_key_and_public_key_are_inverse() -> None:
    assert key_did(public_key(SPECIFIED)) == SPECIFIED


def test_did_peer_2_has_absolute_ids_of_its_keys_in_order() -> None:
    found = resolve(PEER)
    assert [each.id for each in found.agreement] == [f"{PEER}#key-1"]
    assert [each.id for each in found.authentication] == [f"{PEER}#key-2"]
    assert found.agreement[0].key == AGREEING.public_key()
    assert found.services == (SERVICE,)


@pytest.mark.parametrize(
    "services",
    [
        [Service(uri="https://x/", routing_keys=(SPECIFIED,) * 3)],
        [Service(uri=f"https://{number}/") for number in range(9)],
    ],
)
def test_a_did_with_more_ways_to_it_than_anybody_needs_is_refused(services: list[Service]) -> None:
    """Each routing key makes a message larger by a third, each place takes time."""
    did = peer_did(AGREEING.public_key(), SIGNING.public_key(), services)
    with pytest.raises(DidcommError, match=r"has over \d"):
        resolve(did)


def test_did_peer_4_has_the_document_that_it_encodes() -> None:
    key = {"id": "#k", "type": "Multikey", "publicKeyMultibase": multikey(AGREEING.public_key())}
    did = did_peer_4.encode({"verificationMethod": [key], "keyAgreement": ["#k"]})
    assert resolve(did).agreement[0].id == f"{did}#k"


def test_did_peer_4_with_another_document_than_its_hash_is_refused() -> None:
    did = did_peer_4.encode({"verificationMethod": []})
    other = did_peer_4.encode({"authentication": []})
    with pytest.raises(DidcommError, match="does not have a document"):
        resolve(did.rpartition(":")[0] + ":" + other.rpartition(":")[2])


@pytest.mark.parametrize(
    "key",
    [
        SIGNING.public_key(),
        AGREEING.public_key(),
        *(
            ec.generate_private_key(curve).public_key()
            for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1())
        ),
    ],
)
def test_a_key_is_the_same_after_each_encoding(key: PublicKey) -> None:
    assert from_multikey(multikey(key)) == key
    assert from_jwk(to_jwk(key)) == key


@pytest.mark.parametrize(
    ("did", "why"),
    [
        ("did:key:z6Mk", "point of its curve|of a kind"),
        ("did:key:" + "z" * 3000, "more than"),
        ("did:key:zQ3s\n", "no DID"),
        ("did:unheard:of", "method"),
        ("did:peer:2.Ez6LS.S!", "no DID"),
        ("did:peer:2.SeyJ0Ijp7fX0", "does not have a document"),
        ("did:peer:2.SeyJ0IjoiZG0ifQ", "cannot be read"),
        (PEER + "A" * 4096, "no DID"),
        ("", "no DID"),
    ],
)
def test_what_is_no_did_is_refused_with_the_reason(did: str, why: str) -> None:
    with pytest.raises(DidcommError, match=why):
        resolve(did)


def test_the_identity_point_has_no_key_for_agreement() -> None:
    did = "did:key:z" + base58.b58encode(b"\xed\x01\x01" + bytes(31)).decode()
    with pytest.raises(DidcommError, match="prime order"):
        resolve(did)


def test_a_document_of_another_did_is_refused() -> None:
    with pytest.raises(DidcommError, match="another DID"):
        document("did:web:a.example", b'{"id": "did:web:b.example"}')


def test_a_key_of_another_did_is_not_used() -> None:
    key = {"id": "did:web:b.example#k", "publicKeyMultibase": multikey(SIGNING.public_key())}
    content = {"id": "did:web:a.example", "authentication": [key]}
    assert document("did:web:a.example", json.dumps(content).encode()).authentication == ()


def test_a_document_with_too_many_keys_is_refused() -> None:
    content = {"id": "did:web:a.example", "authentication": ["#k"] * 40}
    with pytest.raises(DidcommError, match="over 32 keys"):
        document("did:web:a.example", json.dumps(content).encode())


@given(st.text(alphabet='EVSAz.:-_0aB{}[]"', max_size=80))
def test_any_text_after_did_peer_is_read_or_refused(text: str) -> None:
    for start in ("did:peer:2.", "did:peer:4z", "did:key:z"):
        try:
            resolve(start + text)
        except DidcommError:
            continue


@given(st.binary(max_size=300))
def test_any_bytes_are_a_document_or_refused(content: bytes) -> None:
    try:
        document("did:web:a.example", content)
    except DidcommError:
        return
