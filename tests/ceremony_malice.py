"""Holders who cheat: real ones whose words are changed, and then signed with their own key."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

from e3.authority.joint.channel import speak
from e3.authority.joint.ed25519 import Scalar, plus
from e3.authority.joint.messages import (
    AnyAnswer,
    Ask,
    Begin,
    Body,
    Committed,
    Deal,
    Dealt,
    Draw,
    Prepared,
    Promise,
    Receive,
    Sign,
    Signed,
    Spoken,
    decode,
)
from e3.authority.joint.signing import context_of as context_of_signing
from e3.authority.joint.store import Store
from e3.authority.joint.terms import context_of as context_of_shares
from tests.ceremonies import LocalVoice

SAID: dict[type[Ask], type[Body]] = {
    Begin: Promise,
    Deal: Dealt,
    Receive: Prepared,
    Draw: Committed,
    Sign: Signed,
}
"""What a holder says when it is asked something."""

ONE = Scalar(b"\x01" + bytes(31))


def cheat(voice: LocalVoice, step: type[Ask], change: Callable[[Any], Body]) -> None:
    """Let a holder say something else at one step, signed as if it were its own word."""
    contexts: list[bytes] = []

    def alter(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        if isinstance(asked, Begin):
            contexts.append(context_of_shares(asked.terms, asked.hellos))
        if isinstance(asked, Draw):
            contexts.append(context_of_signing(asked))
        if not isinstance(asked, step) or not isinstance(said, Spoken):
            return said
        sender = said.envelope.sender
        body = change(decode(said.envelope.body, SAID[step]))
        key = Store(voice.folder).identity()
        return Spoken(envelope=speak(key, sender, contexts[-1], body), values=said.values)

    voice.alters = alter


def deal_wrong_value(voice: LocalVoice, receiver: int, by: Scalar = ONE) -> None:
    """Let a dealer give one receiver another value than it publishes, which differs ``by`` that."""

    def hear(asked: Ask) -> Ask:
        if isinstance(asked, Deal):
            values: Any = voice.holder._making._dealing.values  # type: ignore[union-attr]  # noqa: SLF001
            values[receiver] = plus(values[receiver], by)
        return asked

    voice.hears = hear


def deal_another_secret(voice: LocalVoice, secret: Scalar) -> None:
    """Let a dealer promise, publish and prove something else than what its share contributes."""

    def alter(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        making: Any = voice.holder._making  # noqa: SLF001
        if not isinstance(asked, Begin) or making is None or making._dealing is None:  # noqa: SLF001
            return said
        making._dealing = making._deal(secret)  # noqa: SLF001
        published = making._dealing.published  # noqa: SLF001
        making._dealt = Dealt(  # noqa: SLF001
            coefficients=list(published.coefficients),
            commitment=published.proof.commitment,
            response=published.proof.response,
        )
        promise: AnyAnswer = making.promise()
        return promise

    voice.alters = alter


def spellings(secret: bytes) -> Sequence[bytes]:
    """Return how a secret may be written: as bytes, in hexadecimal, in base64, as a number.

    Of base64, also of base64, what stands at any place of a longer text.
    """
    number = str(int.from_bytes(secret, "little")).encode()
    once = _in_base64(secret)
    twice = [each for inner in once for each in _in_base64(inner)]
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), number, *once, *twice]


def _in_base64(data: bytes) -> list[bytes]:
    """Return what a longer text in base64 has of ``data``, wherever it stands there."""
    return [base64.b64encode(bytes(shift) + data)[4 if shift else 0 : -4] for shift in range(3)]
