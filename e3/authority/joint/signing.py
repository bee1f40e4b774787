"""A holder's part in signing: one round of commitments, one of shares, for a batch of messages."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

from nacl.signing import SigningKey

from e3.authority.joint.channel import digest, speak, verify
from e3.authority.joint.ed25519 import GroupError, Point, Scalar, scalar
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.frost import (
    Commitment,
    Nonces,
    SigningPackage,
    aggregate,
    combined,
    commit,
    round_of,
    sign_share,
)
from e3.authority.joint.messages import (
    Committed,
    Draw,
    Envelope,
    Header,
    Sign,
    Signed,
    Spoken,
    encode,
)
from e3.authority.joint.store import Held
from e3.authority.joint.terms import shares_in

LEAST_FOR_A_THREAD = 8
"""Signatures; for fewer it would not be worth its start."""

T = TypeVar("T")
U = TypeVar("U")


class RoundError(CeremonyError):
    """A round of signing is not acceptable to this holder."""


def on_all_processors(work: Callable[[T], U], items: Sequence[T]) -> list[U]:
    """Return what ``work`` makes of each item; many are shared among threads.

    libsodium works beside Python's own lock. The first error is raised once all have ended.
    """
    threads = min(os.cpu_count() or 1, len(items) // LEAST_FOR_A_THREAD)
    if threads < 2:  # noqa: PLR2004 -- one is this one
        return list(map(work, items))
    made: dict[int, U] = {}
    errors: list[BaseException] = []

    def do(first: int) -> None:
        try:
            for number in range(first, len(items), threads):
                made[number] = work(items[number])
        except BaseException as error:  # noqa: BLE001 -- raised below
            errors.append(error)

    running = [threading.Thread(target=do, args=(first,)) for first in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    if errors:
        raise errors[0]
    return [made[number] for number in range(len(items))]


def context_of(asked: Draw) -> bytes:
    """Return the digest of a ceremony: which shares sign which requests, by whom."""
    signers = b"".join(one.to_bytes(2, "big") for one in sorted(asked.signers))
    return digest(
        b"signing", asked.purpose.encode(), asked.ceremony, asked.header, signers, *asked.requests
    )


class Signing:
    """One ceremony as one signer sees it; nonces are in memory alone, and used once."""

    def __init__(self, key: SigningKey, held: Held, asked: Draw, messages: Sequence[bytes]) -> None:
        """Draw nonces for each message; what is signed was made of the requests by this holder."""
        check_signers(held.header, asked)
        if held.identifier not in asked.signers:
            raise RoundError("this host is not among the signers")
        self.context = context_of(asked)
        self._key, self._held, self._signers = key, held, sorted(asked.signers)
        self._messages = messages
        share = Scalar(held.share)
        self._drawn: list[tuple[Nonces, Commitment]] = [commit(share) for _ in messages]

    def committed(self) -> Spoken:
        """Return the first round."""
        said: list[tuple[bytes, bytes]] = [(x.hiding, x.binding) for _, x in self._drawn]
        return Spoken(envelope=self._speak(Committed(commitments=said)))

    def sign(self, asked: Sign) -> Spoken:
        """Return the second round; the nonces are then used up, whatever comes of it."""
        drawn, self._drawn = self._drawn, []
        if not drawn:
            raise RoundError("the nonces of this ceremony have been used")
        packages = packages_of(
            self._held.header, self.context, self._signers, self._messages, asked.committed
        )
        share, me = Scalar(self._held.share), self._held.identifier
        pairs = [(nonces, each) for (nonces, _), each in zip(drawn, packages, strict=True)]
        made = on_all_processors(lambda pair: sign_share(me, share, *pair), pairs)
        said = Signed(
            shares=[part for part, _ in made], nonce_points=[nonce_point for _, nonce_point in made]
        )
        return Spoken(envelope=self._speak(said))

    def _speak(self, body: Committed | Signed) -> Envelope:
        return speak(self._key, self._held.identifier, self.context, body)


def check_signers(header: Header, asked: Draw) -> None:
    """Raise `RoundError` unless the signers are enough holders of this epoch."""
    if asked.header != digest(encode(header)):
        raise RoundError("this host has the shares of another epoch")
    signers = set(asked.signers)
    if len(signers) != len(asked.signers) or not signers <= set(header.holders):
        raise RoundError("those who are to sign do not all hold the key")
    if len(signers) < header.threshold:
        raise RoundError(f"{len(signers)} signers are fewer than {header.threshold}")


def packages_of(
    header: Header,
    context: bytes,
    signers: Sequence[int],
    messages: Sequence[bytes],
    committed: Sequence[Envelope],
) -> list[SigningPackage]:
    """Return what all signers of each message have after the first round, checked."""
    if sorted(each.sender for each in committed) != sorted(signers):
        raise RoundError("the commitments are not those of all signers")
    heard: dict[int, list[Commitment]] = {}
    for each in committed:
        said = verify(each, header.holders[each.sender].key, context, Committed)
        if len(said.commitments) != len(messages):
            raise RoundError("a signer committed to another number of messages", [each.sender])
        heard[each.sender] = [
            Commitment(hiding=Point(hiding), binding=Point(binding))
            for hiding, binding in said.commitments
        ]
    return [
        SigningPackage(
            public_key=Point(header.public_key),
            message=message,
            commitments={one: heard[one][number] for one in sorted(heard)},
        )
        for number, message in enumerate(messages)
    ]


def signatures_of(
    header: Header,
    draw: Draw,
    messages: Sequence[bytes],
    committed: Sequence[Envelope],
    signed: Sequence[Envelope],
) -> list[bytes]:
    """Return the signature of each message; raise what proves who is to blame if one is none.

    Each signature is verified. Only if one is wrong, all that was said is looked into.
    """
    context = context_of(draw)
    heard = {each.sender: _heard(each, header, context, len(messages)) for each in signed}
    packages = packages_of(header, context, draw.signers, messages, committed)
    first, *_ = (each.nonce_points for each in heard.values())
    made = []
    for number, package in enumerate(packages):
        shares = {one: Scalar(each.shares[number]) for one, each in heard.items()}
        signature = combined(package, first[number], shares)
        if signature is None:
            _blame(number, package, header, heard)
        made.append(signature)
    return made


def _heard(said: Envelope, header: Header, context: bytes, count: int) -> Signed:
    """Return what a signer said in the second round, its shares reduced."""
    heard = verify(said, header.holders[said.sender].key, context, Signed)
    if len(heard.shares) != count or len(heard.nonce_points) != count:
        raise RoundError("a signer sent another number of shares", [said.sender])
    try:
        for each in heard.shares:
            scalar(each)
    except GroupError as error:
        raise RoundError(f"a signer sent what is no share: {error}", [said.sender]) from None
    return heard


def _blame(
    number: int, package: SigningPackage, header: Header, heard: Mapping[int, Signed]
) -> NoReturn:
    """Raise the error that names each signer whose share or nonce point is wrong."""
    shares = {one: Scalar(each.shares[number]) for one, each in heard.items()}
    signature = aggregate(package, shares, shares_in(header).public_shares)
    wrong = [one for one, each in heard.items() if each.nonce_points[number] != signature[:32]]
    raise RoundError("a signer sent another nonce point than all commitments make", wrong)


def check_committed(
    header: Header, draw: Draw, messages: Sequence[bytes], committed: Sequence[Envelope]
) -> None:
    """Raise what proves that the commitments of a signer are none, if that is so."""
    for package in packages_of(header, context_of(draw), draw.signers, messages, committed):
        round_of(package)
