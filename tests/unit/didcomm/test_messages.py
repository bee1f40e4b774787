"""Messages: those of the right sender, recipient and time are read once, all others refused."""

import json
from dataclasses import replace

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from e3.didcomm import envelope
from e3.didcomm.did import DocumentKey
from e3.didcomm.errors import DidcommError
from e3.didcomm.messages import (
    FORWARD,
    Identity,
    Message,
    Unpacker,
    forward,
    message,
    pack,
)

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0
ALICE, BOB, CAROL = Identity.make(), Identity.make(), Identity.make()
KIND = "https://example.org/greeting/1.0/hello"


def unpacker(identity: Identity = BOB, now: float = NOW) -> Unpacker:
    made = Unpacker(clock=lambda: now)
    made.add(identity)
    return made


def hello(**more: object) -> Message:
    sent = message(KIND, {"word": "hello"}, now=NOW, to=BOB.did, sender=ALICE.did)
    return msgspec.structs.replace(sent, **more)


def refused(packed: bytes, why: str, reader: Unpacker | None = None) -> None:
    with pytest.raises(DidcommError, match=why):
        (reader or unpacker()).unpack(packed)


def test_an_authenticated_message_names_its_sender() -> None:
    received = unpacker().unpack(pack(hello(), BOB.document, ALICE))
    assert (received.sender, received.signer, received.own) == (ALICE.did, None, BOB.did)
    assert json.loads(bytes(received.message.body)) == {"word": "hello"}


def test_a_signed_message_names_its_signer() -> None:
    received = unpacker().unpack(pack(hello(), BOB.document, ALICE, signed=True))
    assert (received.sender, received.signer) == (ALICE.did, ALICE.did)


def test_an_anonymous_message_has_no_sender() -> None:
    received = unpacker().unpack(pack(hello(from_=UNSET), BOB.document, None))
    assert received.sender is None


def test_an_anonymous_layer_around_an_authenticated_one_hides_its_sender_on_the_way() -> None:
    inner = pack(hello(), BOB.document, ALICE)
    outer = envelope.encrypt(inner, BOB.document.agreement)
    assert ALICE.did.encode() not in outer
    assert unpacker().unpack(outer).sender == ALICE.did


def test_a_sender_cannot_name_another_one() -> None:
    refused(pack(hello(from_=CAROL.did), BOB.document, ALICE), "not from the DID")


def test_a_sender_must_name_itself() -> None:
    refused(pack(hello(from_=UNSET), BOB.document, ALICE), "not from the DID")


def test_a_signature_of_another_one_is_refused() -> None:
    stranger = replace(ALICE, signing=CAROL.signing)
    refused(pack(hello(), BOB.document, stranger, signed=True), "signature is wrong")


def test_a_message_that_another_one_signed_is_not_from_its_sender() -> None:
    payload = msgspec.json.encode(hello())
    kid = CAROL.document.authentication[0].id
    signed = envelope.sign(payload, kid, CAROL.signing)
    packed = envelope.encrypt(signed, BOB.document.agreement, ALICE.secret)
    refused(packed, "different senders")


def test_a_message_to_another_did_is_refused() -> None:
    refused(pack(hello(to=[CAROL.did]), BOB.document, ALICE), "another DID")


def test_an_authenticated_message_says_to_whom_it_goes() -> None:
    refused(pack(hello(to=UNSET), BOB.document, ALICE), "to whom")


def test_a_message_encrypted_to_others_is_refused() -> None:
    refused(pack(hello(), CAROL.document, ALICE), "not ours")


def test_a_plaintext_is_refused() -> None:
    refused(msgspec.json.encode(hello()), "not encrypted")


@pytest.mark.parametrize(("late", "fits"), [(150, True), (200, False), (-50, True), (-70, False)])
def test_a_clock_may_be_wrong_by_a_minute(late: int, *, fits: bool) -> None:
    reader = unpacker(now=NOW + late)
    packed = pack(hello(), BOB.document, ALICE)
    if fits:
        reader.unpack(packed)
    else:
        refused(packed, "clocks", reader)


def test_a_message_lasts_an_hour_at_most() -> None:
    refused(pack(hello(expires_time=int(NOW) + 7200), BOB.document, ALICE), "more than an hour")


def test_a_message_comes_once() -> None:
    reader = unpacker()
    reader.unpack(pack(hello(id="1"), BOB.document, ALICE))
    refused(pack(hello(id="1"), BOB.document, ALICE), "twice", reader)
    reader.unpack(pack(hello(id="1", from_=CAROL.did), BOB.document, CAROL))


def test_layers_have_an_end() -> None:
    packed = pack(hello(), BOB.document, ALICE)
    for _ in range(4):
        packed = envelope.encrypt(packed, BOB.document.agreement)
    refused(packed, "layers")


def test_a_mediator_learns_the_next_did_and_no_content() -> None:
    mediator = Identity.make()
    packed = pack(hello(), BOB.document, ALICE)
    received = unpacker(mediator).unpack(forward(packed, BOB.did, mediator.document, NOW))
    assert received.message.type == FORWARD
    assert received.message.attachments is not UNSET
    assert unpacker().unpack(received.message.attachments[0].content).sender == ALICE.did


def test_words_of_different_lengths_make_messages_of_one() -> None:
    lengths = {
        len(pack(hello(body=msgspec.Raw(json.dumps({"word": word}).encode())), BOB.document, ALICE))
        for word in ("a", "b" * 100)
    }
    assert len(lengths) == 1


@given(st.data())
def test_a_changed_message_is_refused(data: st.DataObject) -> None:
    packed = bytearray(pack(hello(), BOB.document, ALICE))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 127))
    try:
        received = unpacker().unpack(bytes(packed))
    except DidcommError:
        return
    # spare bits at the end of a base64 text, or letters of a name that is not read
    assert received.sender == ALICE.did
    assert json.loads(bytes(received.message.body)) == {"word": "hello"}


@given(
    st.binary(max_size=400)
    | st.recursive(
        st.none() | st.text(max_size=20) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "protected",
                        "recipients",
                        "payload",
                        "ciphertext",
                        "iv",
                        "tag",
                        "signatures",
                        "header",
                        "kid",
                    ]
                ),
                inner,
                max_size=6,
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DidcommError):
        unpacker().unpack(data)


def test_who_also_has_a_key_of_another_curve_gets_an_answer() -> None:
    other = DocumentKey(
        id=f"{BOB.did}#other", key=ec.generate_private_key(ec.SECP256R1()).public_key()
    )
    listed = replace(BOB.document, agreement=(other, *BOB.document.agreement))
    assert unpacker().unpack(pack(hello(), listed, ALICE)).sender == ALICE.did


@pytest.mark.parametrize("wrong", [10**400, -(10**400), 1 << 53, -1])
def test_a_time_that_is_none_is_refused(wrong: int) -> None:
    refused(pack(hello(created_time=wrong), BOB.document, ALICE), "created_time")
    refused(pack(hello(expires_time=wrong), BOB.document, ALICE), "expires_time")
