"""The joint authority's key: made, used and renewed by holders of whom each has a share alone."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from nacl import bindings

from e3.authority.joint import ed25519, frost, sharing
from e3.authority.joint.ed25519 import GroupError, Point, Scalar
from e3.authority.joint.frost import SigningError
from e3.authority.joint.sharing import Published, Shares, SharingError
from tests.holders import CONTEXT, generate, package_of, renew, sign, verify

SMALL_ORDER = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")


def test_the_vectors_of_rfc_9591() -> None:
    """Appendix E.1: FROST(Ed25519, SHA-512), three holders, of whom 1 and 3 sign."""
    key = ed25519.point(
        bytes.fromhex("15d21ccd7ee42959562fc8aa63224c8851fb3ec85a3faf66040d380fb9738673")
    )
    shares = {
        1: "929dcc590407aae7d388761cddb0c0db6f5627aea8e217f4a033f2ec83d93509",
        3: "d3cb090a075eb154e82fdb4b3cb507f110040905468bb9c46da8bdea643a9a02",
    }
    randomness = {
        1: (
            "0fd2e39e111cdc266f6c0f4d0fd45c947761f1f5d3cb583dfcb9bbaf8d4c9fec",
            "69cd85f631d5f7f2721ed5e40519b1366f340a87c2f6856363dbdcda348a7501",
        ),
        3: (
            "86d64a260059e495d0fb4fcc17ea3da7452391baa494d4b00321098ed2a0062f",
            "13e6b25afb2eba51716a9a7d44130c0dbae0004a9ef8d7b5550c8a0e07c61775",
        ),
    }
    secret = {one: ed25519.scalar(bytes.fromhex(text)) for one, text in shares.items()}
    rounds = {
        one: frost.commit(secret[one], (bytes.fromhex(hiding), bytes.fromhex(binding)))
        for one, (hiding, binding) in randomness.items()
    }
    package = package_of(key, b"test", rounds)
    parts = {
        one: frost.sign_share(one, secret[one], nonces, package)[0]
        for one, (nonces, _) in rounds.items()
    }
    assert parts[1].hex() == "001719ab5a53ee1a12095cd088fd149702c0720ce5fd2f29dbecf24b7281b603"
    public = {one: ed25519.base_times(share) for one, share in secret.items()}
    assert frost.aggregate(package, parts, public).hex() == (
        "36282629c383bb820a88b71cae937d41f2f2adfcc3d02e55507e2fb9e2dd3cbe"
        "bd9d2b0844e49ae0f3fa935161e1419aab7b47d21a37ebeae1f17d4987b3160b"
    )


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_threshold_of_holders_signs_through_every_change_of_holders(
    data: st.DataObject,
) -> None:
    holders = sorted(data.draw(st.sets(st.integers(1, 65535), min_size=2, max_size=5)))
    threshold = data.draw(st.integers(1, len(holders)))
    known, shares = generate(holders, threshold)
    for message in (b"", b"first", b"second"):
        signers = data.draw(st.permutations(holders))[
            : data.draw(st.integers(threshold, len(holders)))
        ]
        verify(known.public_key, message, sign(known, shares, signers, message))
        to = sorted(data.draw(st.sets(st.integers(1, 65535), min_size=1, max_size=5)))
        new_threshold = data.draw(st.integers(1, len(to)))
        old_key = known.public_key
        known, shares = renew(known, shares, sorted(signers), to, new_threshold)
        assert known.public_key == old_key
        holders, threshold = to, new_threshold


def test_fewer_holders_than_the_threshold_cannot_sign() -> None:
    known, shares = generate([1, 2, 3], 2)
    for one in shares:
        with pytest.raises(SigningError, match="wrong"):
            sign(known, shares, [one], b"alone")


def test_old_shares_are_worth_nothing_beside_new_ones() -> None:
    known, shares = generate([1, 2, 3], 2)
    renewed, new = renew(known, shares, [1, 2], [1, 2, 3], 2)
    with pytest.raises(SigningError) as refused:
        sign(renewed, {1: shares[1], 2: new[2]}, [1, 2], b"mixed")
    assert refused.value.culprits == (1,)
    assert all(shares[one] != new[one] for one in shares)


def test_who_sends_a_wrong_share_of_a_signature_is_named() -> None:
    known, shares = generate([1, 2, 3, 4], 3)
    for wrong in ([2], [1, 4], [1, 2, 4]):
        with pytest.raises(SigningError) as refused:
            sign(known, shares, [1, 2, 4], b"message", falsify=wrong)
        assert refused.value.culprits == tuple(wrong)


def test_nonces_sign_once_and_only_with_their_own_commitment() -> None:
    known, shares = generate([1, 2], 2)
    rounds = {one: frost.commit(share) for one, share in shares.items()}
    package = package_of(known.public_key, b"x", rounds)
    nonces = rounds[1][0]
    frost.sign_share(1, shares[1], nonces, package)
    with pytest.raises(SigningError, match="before"):
        frost.sign_share(1, shares[1], nonces, package)
    swapped = package_of(known.public_key, b"x", {1: rounds[2], 2: rounds[1]})
    with pytest.raises(SigningError, match="in place"):
        frost.sign_share(2, shares[2], rounds[2][0], swapped)
    assert str(bytes(shares[1])) not in repr(sharing.deal(1, shares[1], 2, [1, 2], CONTEXT))


def test_a_share_that_is_missing_is_named() -> None:
    known, shares = generate([1, 2, 3], 2)
    rounds = {one: frost.commit(shares[one]) for one in (1, 3)}
    package = package_of(known.public_key, b"x", rounds)
    part, _ = frost.sign_share(1, shares[1], rounds[1][0], package)
    with pytest.raises(SigningError) as refused:
        frost.aggregate(package, {1: part}, known.public_shares)
    assert refused.value.culprits == (3,)


def test_a_dealer_that_cheats_is_named() -> None:
    dealings = {
        one: sharing.deal(one, ed25519.random_scalar(), 2, [1, 2, 3], CONTEXT) for one in (1, 2, 3)
    }
    published = [dealings[one].published for one in dealings]
    values = {one: dealing.values[3] for one, dealing in dealings.items()}
    public = sharing.shares_of(sharing.total_of(published), [3]).public_shares[3]
    with pytest.raises(SharingError) as refused:
        sharing.receive(3, published, {**values, 2: ed25519.plus(values[2], ed25519.ONE)}, public)
    assert refused.value.culprits == (2,)
    with pytest.raises(SharingError) as refused:
        sharing.receive(3, published, {1: values[1], 3: values[3]}, public)
    assert refused.value.culprits == (2,)
    with pytest.raises(SharingError, match="not those of what was dealt") as refused:
        sharing.receive(3, published, values, published[0].coefficients[0])
    assert not refused.value.culprits


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda one: (one.coefficients[:1], one.proof), "threshold", id="degree"),
        pytest.param(
            lambda one: ((one.coefficients[1], one.coefficients[0]), one.proof), "know", id="order"
        ),
        pytest.param(
            lambda one: (
                one.coefficients,
                sharing.Proof(commitment=one.proof.commitment, response=ed25519.ONE),
            ),
            "know",
            id="proof",
        ),
    ],
)
def test_what_a_dealer_publishes_is_checked(change: object, reason: str) -> None:
    assert callable(change)
    dealing = sharing.deal(7, ed25519.random_scalar(), 2, [1, 2], CONTEXT).published
    sharing.check_published(dealing, 2, CONTEXT)
    coefficients, proof = change(dealing)
    changed = Published(dealer=7, coefficients=coefficients, proof=proof)
    with pytest.raises(SharingError, match=reason) as refused:
        sharing.check_published(changed, 2, CONTEXT)
    assert refused.value.culprits == (7,)
    other = Published(dealer=8, coefficients=dealing.coefficients, proof=dealing.proof)
    with pytest.raises(SharingError, match="know"):
        sharing.check_published(other, 2, CONTEXT)
    with pytest.raises(SharingError, match="know"):
        sharing.check_published(dealing, 2, b"another ceremony")


def test_a_holder_cannot_renew_another_secret_than_its_share() -> None:
    known, shares = generate([1, 2, 3], 2)

    def dealt(added: Scalar) -> list[Published]:
        """What 1 and 3 deal, if 1 deals more than its share."""
        secrets = {one: sharing.contribution(one, [1, 3], shares[one]) for one in (1, 3)}
        secrets[1] = ed25519.plus(secrets[1], added)
        return [
            sharing.deal(one, secret, 2, [1, 2, 3], CONTEXT).published
            for one, secret in secrets.items()
        ]

    honest = dealt(ed25519.ZERO)
    sharing.accuse(honest, known)
    assert sharing.checked_key(honest, 2, CONTEXT, known.public_key) == known.public_key
    assert sharing.checked_total(honest)[0] == known.public_key
    false = dealt(ed25519.ONE)
    with pytest.raises(SharingError, match="another key") as refused:
        sharing.checked_key(false, 2, CONTEXT, known.public_key)
    assert not refused.value.culprits
    with pytest.raises(SharingError, match="something else") as refused:
        sharing.accuse(false, known)
    assert refused.value.culprits == (1,)


@pytest.mark.parametrize("data", [SMALL_ORDER, b"\x02" + bytes(31)])
def test_a_dealer_that_publishes_what_is_no_point_is_named(data: bytes) -> None:
    """Its proof is right, so that the sum of all that was dealt tells it."""
    secret = ed25519.random_scalar()
    first = sharing.deal(1, ed25519.random_scalar(), 2, [1, 2], CONTEXT).published
    points = (ed25519.base_times(secret), Point(data))
    proof = sharing._prove(2, CONTEXT, points, secret)  # noqa: SLF001
    wrong = [first, Published(dealer=2, coefficients=points, proof=proof)]
    with pytest.raises(SharingError, match="no polynomial") as refused:
        sharing.checked_total(wrong)
    assert not refused.value.culprits
    with pytest.raises(SharingError, match="no polynomial") as refused:
        sharing.accuse(wrong, None)
    assert refused.value.culprits == (2,)


def test_public_shares_that_somebody_makes_up_are_refused() -> None:
    known, _ = generate([1, 2, 3, 7], 3)
    sharing.check_shares(known)
    for wrong in (known.public_shares[1], SMALL_ORDER, ed25519.IDENTITY, bytes(31)):
        made_up = {**known.public_shares, 7: Point(wrong)}
        with pytest.raises(SharingError):
            sharing.check_shares(replace(known, public_shares=made_up))


def test_who_has_a_share_proves_it_and_nobody_else_can() -> None:
    known, shares = generate([1, 2, 3], 2)
    proof = sharing.prove_share(1, shares[1], b"a challenge")
    sharing.check_possession(1, known, proof, b"a challenge")
    other = sharing.prove_share(1, shares[2], b"a challenge")
    for one, shown, context in (
        (1, proof, b"another challenge"),
        (2, proof, b"a challenge"),
        (4, proof, b"a challenge"),
        (1, other, b"a challenge"),
    ):
        with pytest.raises(SharingError, match="does not have the share") as refused:
            sharing.check_possession(one, known, shown, context)
        assert refused.value.culprits == (one,)


def test_public_shares_of_different_keys_are_refused() -> None:
    known, _ = generate([1, 2, 3], 2)
    other, _ = generate([1, 2, 3], 2)
    for changed in (
        Shares(
            public_key=known.public_key,
            threshold=2,
            public_shares={**known.public_shares, 3: other.public_shares[3]},
        ),
        Shares(public_key=other.public_key, threshold=2, public_shares=known.public_shares),
        Shares(public_key=known.public_key, threshold=1, public_shares=known.public_shares),
    ):
        with pytest.raises(SharingError, match="one key"):
            sharing.check_shares(changed)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes(32), id="order 4"),
        pytest.param(ed25519.IDENTITY, id="identity"),
        pytest.param(SMALL_ORDER, id="order 8"),
        pytest.param(b"\xff" * 32, id="not canonical"),
        pytest.param(b"\xee" + b"\xff" * 30 + b"\x7f", id="1 in another encoding"),
        pytest.param(b"\x02" + bytes(31), id="not on the curve"),
        pytest.param(bytes(33), id="long"),
    ],
)
def test_points_that_are_none_of_prime_order_are_refused(data: bytes) -> None:
    with pytest.raises(GroupError):
        ed25519.point(data)
    with pytest.raises(GroupError):
        ed25519.checked_times(ed25519.random_scalar(), data)


def test_points_of_mixed_order_are_refused() -> None:
    mixed = bindings.crypto_core_ed25519_add(ed25519.base_times(ed25519.ONE), SMALL_ORDER)
    with pytest.raises(GroupError):
        ed25519.point(mixed)
    with pytest.raises(GroupError):
        ed25519.checked_times(ed25519.random_scalar(), mixed)


@pytest.mark.parametrize("place", ["hiding", "binding"])
def test_no_share_is_given_for_a_commitment_of_mixed_order(place: str) -> None:
    known, shares = generate([1, 2], 2)
    rounds = {one: frost.commit(share) for one, share in shares.items()}
    package = package_of(known.public_key, b"x", rounds)
    right = package.commitments[2]
    mixed = bindings.crypto_core_ed25519_add(getattr(right, place), SMALL_ORDER)
    package.commitments[2] = replace(right, **{place: mixed})  # type: ignore[index]
    with pytest.raises(SigningError, match="no point") as refused:
        frost.sign_share(1, shares[1], rounds[1][0], package)
    assert refused.value.culprits == (2,)


def test_who_says_what_the_nonce_point_is_does_not_matter() -> None:
    known, shares = generate([1, 2], 2)
    rounds = {one: frost.commit(share) for one, share in shares.items()}
    package = package_of(known.public_key, b"x", rounds)
    made = {one: frost.sign_share(one, shares[one], rounds[one][0], package) for one in shares}
    parts = {one: share for one, (share, _) in made.items()}
    assert len({nonce_point for _, nonce_point in made.values()}) == 1
    assert frost.combined(package, made[1][1], parts) is not None
    assert frost.combined(package, known.public_key, parts) is None
    assert frost.combined(package, made[1][1], {**parts, 2: ed25519.ONE}) is None


def test_scalars_that_are_not_reduced_are_refused() -> None:
    below = (ed25519.ORDER - 1).to_bytes(32, "little")
    assert ed25519.scalar(below) == below
    for data in (ed25519.ORDER.to_bytes(32, "little"), b"\xff" * 32, b"", bytes(31), bytes(33)):
        with pytest.raises(GroupError):
            ed25519.scalar(data)


@pytest.mark.parametrize(
    ("threshold", "holders"), [(0, [1]), (3, [1, 2]), (1, [0, 1]), (1, [1, 1]), (1, [65536])]
)
def test_impossible_terms_are_refused(threshold: int, holders: list[int]) -> None:
    with pytest.raises(GroupError):
        sharing.deal(1, ed25519.ONE, threshold, holders, CONTEXT)


def test_no_coalition_below_the_threshold_knows_the_key() -> None:
    """With their real shares, two of five holders interpolate something else than the key."""
    known, shares = generate([1, 2, 3, 4, 5], 3)
    for coalition in combinations(shares, 2):
        guess = ed25519.plus(
            *(sharing.contribution(one, coalition, shares[one]) for one in coalition)
        )
        assert ed25519.base_times(guess) != known.public_key
    everybody = ed25519.plus(
        *(sharing.contribution(one, (1, 2, 4), shares[one]) for one in (1, 2, 4))
    )
    assert ed25519.base_times(everybody) == known.public_key
