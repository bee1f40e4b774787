"""A holder's part in making shares: of a new key, or of the same key for the next epoch.

The steps are `begin`, `deal`, `receive` and `commit`. All dealers promise what they publish,
publish it, and give each receiver its value; each receiver checks every value, stores its share,
and says what it saw; each holder uses its share once all of them say the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from msgspec import MsgspecError
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from e3.authority.joint import channel, sharing
from e3.authority.joint.channel import digest, seal, speak, unseal, verify
from e3.authority.joint.ed25519 import (
    ORDER,
    GroupError,
    Point,
    Scalar,
    random_scalar,
    scalar,
)
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.messages import (
    Begin,
    CeremonyTerms,
    Commit,
    Deal,
    Dealt,
    DealtValue,
    Envelope,
    Hello,
    Prepared,
    Promise,
    Receive,
    Spoken,
    decode,
    encode,
)
from e3.authority.joint.sharing import (
    NOT_DEALT,
    Dealing,
    Proof,
    Published,
    Shares,
    SharingError,
    accuse,
    check_shares,
    checked_key,
    checked_total,
    contribution,
    deal,
    receive,
)
from e3.authority.joint.store import Held, Store
from e3.authority.joint.terms import (
    DealingError,
    check_terms,
    context_of,
    header_of,
    keys_of,
    shares_in,
)

B = TypeVar("B", Promise, Dealt)

HELLO = b"hello"


class DisputeError(CeremonyError):
    """A dealer's value is wrong; ``evidence`` is the value as the dealer signed it, if it did."""

    def __init__(self, reason: str, dealer: int, evidence: Envelope | None = None) -> None:
        """Keep what convicts the dealer."""
        super().__init__(reason, [dealer])
        self.evidence = evidence


def hello_context(purpose: str) -> bytes:
    """Return the context of what a holder says before the terms are known."""
    return digest(HELLO, purpose.encode())


class Entrance:
    """What a holder made as it entered a ceremony; the secret part is in memory only."""

    def __init__(self, key: SigningKey, purpose: str, nonce: bytes, own: bytes | None) -> None:
        """Enter a ceremony of this purpose; ``own`` is the key that the host made for itself."""
        self.key = key
        self.sealing = PrivateKey.generate()
        hello = Hello(
            purpose=purpose,
            key=bytes(key.verify_key),
            sealing=bytes(self.sealing.public_key),
            nonce=nonce,
            own=own,
        )
        self.hello = speak(key, 1, hello_context(purpose), hello)


class ShareMaking:
    """One ceremony as one holder sees it."""

    def __init__(self, entrance: Entrance, asked: Begin, held: Held | None) -> None:
        """Check the terms, and that everybody who takes part said hello."""
        self._key, self._sealing = entrance.key, entrance.sealing
        self._me, self._terms = asked.identifier, asked.terms
        self._keys = keys_of(asked.terms)
        self._hellos = self._heard(asked.hellos)
        mine = self._keys.get(self._me)
        if mine is None or mine.key != bytes(entrance.key.verify_key):
            raise DealingError("the terms have another key in place of this host's")
        if asked.hellos[self._me] != entrance.hello:
            raise DealingError("the terms have another hello in place of this host's")
        check_terms(asked.terms, self._me, held)
        self._context = context_of(asked.terms, asked.hellos)
        self._dealing: Dealing | None = None
        self._dealt: Dealt | None = None
        self._promises: Sequence[Envelope] | None = None
        self._heard_promises: dict[int, Promise] = {}
        self._received = False
        if self._me in asked.terms.dealers:
            self._prepare_dealing(held)

    def _heard(self, hellos: Mapping[int, Envelope]) -> dict[int, Hello]:
        if set(hellos) != set(self._keys):
            raise DealingError("the hellos are not those of all who take part")
        context = hello_context(self._terms.purpose)
        heard = {}
        for number, said in hellos.items():
            try:
                heard[number] = verify(said, self._keys[number].key, context, Hello)
            except channel.ChannelError as error:
                raise DealingError(str(error), [number]) from None
            if heard[number].purpose != self._terms.purpose:
                raise DealingError("a hello is for another purpose", [number])
        return heard

    def _prepare_dealing(self, held: Held | None) -> None:
        secret = random_scalar()
        if self._terms.base is not None:
            if held is None:
                raise DealingError("this host has no share to deal from")
            secret = contribution(self._me, self._terms.dealers, Scalar(held.share))
        self._dealing = self._deal(secret)
        published = self._dealing.published
        self._dealt = Dealt(
            coefficients=list(published.coefficients),
            commitment=published.proof.commitment,
            response=published.proof.response,
        )

    def _deal(self, secret: Scalar) -> Dealing:
        receivers = sorted(self._terms.holders)
        return deal(self._me, secret, self._terms.threshold, receivers, self._context)

    def promise(self) -> Spoken | None:
        """Return the promise of what this holder is going to publish; None if it deals nothing."""
        if self._dealt is None:
            return None
        said = Promise(digest=promise_of(self._context, encode(self._dealt)))
        return Spoken(envelope=self._speak(said))

    def deal(self, asked: Deal) -> Spoken:
        """Publish what was promised, once all have promised; seal each receiver's value."""
        heard = self._promised(asked.promises)
        if self._dealing is None or self._dealt is None:
            raise DealingError("this host deals nothing in this ceremony")
        if self._promises is not None:
            raise DealingError("this host has published its polynomial before")
        self._promises, self._heard_promises = asked.promises, heard
        values = {one: self._sealed(one, value) for one, value in self._dealing.values.items()}
        return Spoken(envelope=self._speak(self._dealt), values=values)

    def _sealed(self, receiver: int, value: Scalar) -> bytes:
        given = DealtValue(receiver=receiver, value=value)
        return seal(self._speak(given), self._sealing, self._hellos[receiver].sealing, receiver)

    def receive(self, asked: Receive, store: Store) -> Spoken:
        """Check all that was dealt, and store the share that it makes; once in a ceremony."""
        if self._me not in self._terms.holders:
            raise DealingError("this host gets no share in this ceremony")
        if self._received:  # else it would say of two results that all holders have the same
            raise DealingError("this host has received its share before")
        self._received = True
        if self._dealing is not None and asked.promises != self._promises:
            raise DealingError("these are not the promises after which this host published")
        # a dealer has checked them before it published
        promised = self._heard_promises or self._promised(asked.promises)
        dealt = self._from_all(asked.dealt, Dealt)
        for each in asked.dealt:
            if promise_of(self._context, each.body) != promised[each.sender].digest:
                reason = "a dealer published something else than it promised"
                raise DealingError(reason, [each.sender])
        published = [published_of(dealer, said) for dealer, said in dealt.items()]
        share, known = self._share(published, asked)
        saw = channel.view(self._context, [*asked.promises, *asked.dealt])
        header = header_of(self._terms, known, saw)
        held = Held(
            header=header, identifier=self._me, share=share, context=self._context, view=saw
        )
        store.prepare(held)
        prepared = Prepared(view=saw, header=digest(encode(header)))
        return Spoken(envelope=self._speak(prepared))

    def _share(self, published: Sequence[Published], asked: Receive) -> tuple[Scalar, Shares]:
        known = self._public_side(published, asked)
        given = {one.dealer: self._opened(one.dealer, asked.values) for one in published}
        return self._sum(published, given, known.public_shares[self._me]), known

    def _public_side(self, published: Sequence[Published], asked: Receive) -> Shares:
        """Return the key that was dealt, and the public shares, which are shares of it.

        They are the coordinator's claim. Each holder compares its own with the sum of the values
        dealt to it; so it is not needed to add up all that dealers published.
        """
        if set(asked.public_shares) != set(self._terms.holders):
            raise DealingError("the public shares are not those of all holders")
        claimed = {one: Point(each) for one, each in sorted(asked.public_shares.items())}
        with _naming_dealers(self._terms, published):
            known = Shares(
                public_key=_key_dealt(self._terms, published, self._context),
                threshold=self._terms.threshold,
                public_shares=claimed,
            )
            try:
                check_shares(known)
            except SharingError:
                raise SharingError(NOT_DEALT) from None
        return known

    def _opened(self, dealer: int, sealed: Mapping[int, bytes]) -> Envelope:
        """Return what a dealer gave us, with its signature."""
        theirs = self._hellos[dealer].sealing
        try:
            return unseal(sealed.get(dealer, b""), self._sealing, theirs, dealer)
        except channel.ChannelError as error:
            raise DisputeError(str(error), dealer) from None

    def _sum(
        self, published: Sequence[Published], given: Mapping[int, Envelope], public: Point
    ) -> Scalar:
        """Return the share; raise `DisputeError` for a value that its dealer did not publish.

        The sum of what all published allows one share alone, and only a dealer or this holder can
        have sealed what was opened. So where the sum fits, whatever the parts are, it is that
        share: nobody has to be convicted, and no signature is looked at.
        """
        with suppress(MsgspecError, GroupError, SharingError):
            unsigned = {
                dealer: scalar(decode(each.body, DealtValue).value)
                for dealer, each in given.items()
            }
            return receive(self._me, published, unsigned, public)
        values = {one.dealer: self._value(one.dealer, given[one.dealer]) for one in published}
        try:
            scalars = {one: Scalar(each.value) for one, each in values.items()}
            return receive(self._me, published, scalars, public)
        except SharingError as error:
            if not error.culprits:
                raise
            dealer = error.culprits[0]
            raise DisputeError(str(error), dealer, given[dealer]) from None

    def _value(self, dealer: int, said: Envelope) -> DealtValue:
        try:
            value = verify(said, self._keys[dealer].key, self._context, DealtValue)
        except channel.ChannelError as error:
            raise DisputeError(str(error), dealer) from None
        reduced = int.from_bytes(value.value, "little") < ORDER
        if said.sender != dealer or value.receiver != self._me or not reduced:
            raise DisputeError("a dealer sent a value that it did not publish", dealer, said)
        return value

    def _promised(self, said: Sequence[Envelope]) -> dict[int, Promise]:
        return self._from_all(said, Promise)

    def _from_all(self, said: Sequence[Envelope], kind: type[B]) -> dict[int, B]:
        """Return what each dealer said; raise if one is missing, or said it twice."""
        heard = {
            each.sender: verify(each, self._keys[each.sender].key, self._context, kind)
            for each in said
            if each.sender in self._keys
        }
        if sorted(each.sender for each in said) != sorted(self._terms.dealers):
            missing = sorted(set(self._terms.dealers) - set(heard))
            raise DealingError(f"the {kind.__name__} of a dealer is missing", missing)
        return heard

    def _speak(self, body: Promise | Dealt | DealtValue | Prepared) -> Envelope:
        return speak(self._key, self._me, self._context, body)


def promise_of(context: bytes, body: bytes) -> bytes:
    """Return the digest by which a dealer promises what it is going to publish."""
    return digest(context, body)


def published_of(dealer: int, said: Dealt) -> Published:
    """Return what a dealer published; `total_dealt` and receivers check it."""
    try:
        response = scalar(said.response)
    except GroupError as error:
        raise DealingError(f"a dealer published what is no proof: {error}", [dealer]) from None
    return Published(
        dealer=dealer,
        coefficients=tuple(map(Point, said.coefficients)),
        proof=Proof(commitment=Point(said.commitment), response=response),
    )


def total_dealt(
    terms: CeremonyTerms, published: Sequence[Published], context: bytes
) -> list[Point]:
    """Return the sum of all that was dealt; raise `SharingError` with the dealer who cheated."""
    with _naming_dealers(terms, published):
        _key_dealt(terms, published, context)
        return checked_total(published)


def _key_dealt(terms: CeremonyTerms, published: Sequence[Published], context: bytes) -> Point:
    key = None if terms.base is None else Point(terms.base.public_key)
    return checked_key(published, terms.threshold, context, key)


@contextmanager
def _naming_dealers(terms: CeremonyTerms, published: Sequence[Published]) -> Iterator[None]:
    """Name in an error the dealer who made the sum of all wrong, if there is one."""
    try:
        yield
    except SharingError as error:
        if not error.culprits:
            accuse(published, None if terms.base is None else shares_in(terms.base))
        raise


def value_fits(given: DealtValue, receiver: int, published: Published) -> bool:
    """Whether a value for ``receiver`` is the one that its dealer published in the exponent."""
    try:
        value = scalar(given.value)
    except GroupError:
        return False
    return given.receiver == receiver and sharing.value_fits(value, receiver, published)


def commit(asked: Commit, store: Store) -> Held:
    """Use the share that is prepared, if all holders have prepared theirs of the same key."""
    held = store.pending(asked.purpose)
    if held is None:
        raise DealingError("no share is prepared here")
    check_prepared(held, asked.prepared)
    whole = Held(
        header=held.header,
        identifier=held.identifier,
        share=held.share,
        context=held.context,
        view=held.view,
        prepared=list(asked.prepared),
    )
    store.commit(whole)
    return whole


def check_prepared(held: Held, prepared: Sequence[Envelope]) -> None:
    """Raise `DealingError` unless every holder says that it saw, and stored, the same."""
    holders = held.header.holders
    if sorted(each.sender for each in prepared) != sorted(holders):
        raise DealingError("a holder has not prepared its share")
    expected = Prepared(view=held.view, header=digest(encode(held.header)))
    differ = [
        each.sender
        for each in prepared
        if verify(each, holders[each.sender].key, held.context, Prepared) != expected
    ]
    if differ:
        raise DealingError("holders have seen different things in this ceremony", differ)
