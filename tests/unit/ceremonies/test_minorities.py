"""Fewer holders than the threshold who want to keep the others from signing, and cannot."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from e3.authority.joint.ed25519 import (
    Point,
    Scalar,
    base_times,
    point_times,
    points_plus,
    random_scalar,
    scalar_of,
)
from e3.authority.joint.messages import (
    AnyAnswer,
    Archive,
    Ask,
    Draw,
    Failed,
    Greeted,
    Header,
    Prove,
    Proved,
    Refused,
)
from e3.authority.joint.sharing import check_shares, prove_share
from e3.authority.joint.terms import possession_context, shares_in
from e3.ceremonies.assembly import Assembly
from e3.ceremonies.authority import current
from e3.ceremonies.verdicts import CeremonyVerdict
from tests.ceremonies import JointKey, authority_request, enter, failed

pytestmark = pytest.mark.unit

NAMES = ("ams3-0", "ams3-1", "nyc3-0", "sfo3-0", "sgp1-0")
LIARS = NAMES[:2]


@pytest.fixture
def key(tmp_path: Path) -> JointKey:
    """A key of five holders, any three of whom sign."""
    return asyncio.run(JointKey.made(tmp_path, NAMES, 3))


def claimed(key: JointKey, public_key: bytes, shares: Sequence[Point], secret: Scalar) -> Assembly:
    """Let two holders show shares of a later epoch, of which they know a secret, and enter."""
    header = msgspec.structs.replace(
        key.header,
        epoch=9,
        threshold=2,
        public_key=public_key,
        holders={one: key.header.holders[one] for one in (1, 2)},
        public_shares=dict(enumerate(shares, start=1)),
    )
    check_shares(shares_in(header))  # nothing in it contradicts itself

    def lie(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        if isinstance(said, Greeted):
            return msgspec.structs.replace(said, header=header)
        if isinstance(asked, Prove):
            return proved(header, asked, secret)
        return said

    for name in LIARS:
        key.voices[name].alters = lie
    return asyncio.run(enter(key.voices))


def proved(header: Header, asked: Prove, secret: Scalar) -> Proved:
    """Prove what one of the two knows."""
    proof = prove_share(1, secret, possession_context(header, asked.nonce))
    return Proved(commitment=proof.commitment, response=proof.response)


def signs_without_liars(key: JointKey) -> None:
    made = asyncio.run(key.sign(key.host_request("sgp1-0")))
    assert made.signers == ["nyc3-0", "sfo3-0", "sgp1-0"]


def test_two_cannot_make_up_a_later_epoch_of_the_key(key: JointKey) -> None:
    """The second public share follows from the first one and the key; nobody has its secret."""
    secret = random_scalar()
    first = base_times(secret)
    minus = point_times(scalar_of(-1), Point(key.header.public_key))
    second = points_plus((point_times(scalar_of(2), first), minus))
    assembly = claimed(key, key.header.public_key, (first, second), secret)
    assert current(assembly, key.header.public_key) == key.header
    assert "does not prove to have" in assembly.absent["ams3-1"]
    signs_without_liars(key)


def test_two_who_show_a_key_of_their_own_do_not_pass_for_the_authority(key: JointKey) -> None:
    secret = random_scalar()
    other = base_times(secret)
    assembly = claimed(key, other, (other, other), secret)  # a polynomial that is constant
    assert current(assembly, key.header.public_key) == key.header
    signs_without_liars(key)


def test_who_says_that_it_has_no_share_to_prove_is_left_out(key: JointKey) -> None:
    """Two honest epochs, as after a kill: then all prove theirs, and one does not."""
    secret = random_scalar()
    other = base_times(secret)
    claimed(key, other, (other, other), secret)
    honest = key.voices["sgp1-0"]
    honest.alters = lambda asked, said: Failed(reason="no") if isinstance(asked, Prove) else said
    assembly = asyncio.run(enter(key.voices))
    assert "no" in assembly.absent["sgp1-0"]


def refuse(key: JointKey, name: str, rule: str) -> None:
    """Let a holder refuse whatever it is asked to sign."""

    def refusal(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        return Refused(rule=rule, reason="not today") if isinstance(asked, Draw) else said

    key.voices[name].alters = refusal


def test_others_sign_where_fewer_refuse_than_it_takes(key: JointKey) -> None:
    for name in LIARS:
        refuse(key, name, "member")
    made = asyncio.run(key.sign(key.host_request("sgp1-0")))
    assert made.signers == ["nyc3-0", "sfo3-0", "sgp1-0"]
    assert made.notes == ["ams3-0 refuses (member): not today"]  # of those who refuse, the first


def test_where_too_few_would_sign_it_is_refused_and_not_only_too_few(key: JointKey) -> None:
    for name in NAMES[:3]:
        refuse(key, name, "member")
    error = failed(key.sign(key.host_request("sgp1-0")))
    assert (error.verdict, error.culprits) == (CeremonyVerdict.REFUSED, NAMES[:3])


def test_a_rule_that_has_nothing_to_do_with_the_request_stops_nobody(key: JointKey) -> None:
    refuse(key, "ams3-0", "revoked")
    made = asyncio.run(key.sign(key.host_request("sgp1-0")))
    assert made.signers == ["ams3-1", "nyc3-0", "sfo3-0"]


def test_one_that_knows_of_a_certificate_of_the_authority_is_not_overruled(
    key: JointKey,
) -> None:
    """The others have lost theirs, as from a copy of their disks."""
    for name in NAMES[1:]:
        (key.voices[name].folder / "nebula/certificate").unlink()

    def without(asked: Ask) -> Ask:
        assert not isinstance(asked, Archive)
        return asked

    for voice in key.voices.values():
        voice.hears = without
    error = failed(key.sign(authority_request()))
    assert (error.verdict, error.culprits) == (CeremonyVerdict.REFUSED, ("ams3-0",))
    assert "(once)" in str(error)
