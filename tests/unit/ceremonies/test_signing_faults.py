"""Holders that cheat, fall silent or are behind while they sign: who is named, and who signs.

Each is the real program of a holder, and says what a holder with its real share and key could say.
"""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e3.authority.joint import ed25519, frost
from e3.authority.joint.channel import speak
from e3.authority.joint.ed25519 import ORDER, Point
from e3.authority.joint.frost import SigningError
from e3.authority.joint.messages import (
    AnyAnswer,
    Ask,
    Committed,
    Draw,
    Envelope,
    Sign,
    Signed,
    Spoken,
    decode,
)
from e3.authority.joint.requests.fields import verify
from e3.authority.joint.signing import context_of
from e3.authority.joint.store import Store
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from tests.ceremonies import JointKey, LocalVoice, authority_request
from tests.holders import joint_key, package_of

pytestmark = pytest.mark.unit

NAMES = ("ams3-0", "ams3-1", "ams3-2")
SMALL_ORDER = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
NOT_CANONICAL = b"\xee" + b"\xff" * 30 + b"\x7f"

Change = Callable[[Committed | Signed], Committed | Signed]


@dataclass
class Liar:
    """Changes what a holder says in one round, and signs it with that holder's own key."""

    voice: LocalVoice
    round: type[Draw] | type[Sign]
    change: Change
    context: bytes = b""

    def __call__(self, asked: Ask, said: AnyAnswer) -> AnyAnswer:
        if isinstance(asked, Draw):
            self.context = context_of(asked)
        if not isinstance(asked, self.round) or not isinstance(said, Spoken):
            return said
        if self.round is Draw:
            body = self.change(decode(said.envelope.body, Committed))
        else:
            body = self.change(decode(said.envelope.body, Signed))
        key = Store(self.voice.folder).identity()
        return Spoken(envelope=speak(key, said.envelope.sender, self.context, body))


def share(change: Callable[[bytes], bytes]) -> Change:
    """Return a change of every share of the signature."""
    return signed(lambda said: msgspec.structs.replace(said, shares=list(map(change, said.shares))))


def signed(change: Callable[[Signed], Signed]) -> Change:
    """Return a change of what a signer says in the second round."""

    def changed(said: Committed | Signed) -> Signed:
        assert isinstance(said, Signed)
        return change(said)

    return changed


def swapped(said: Signed) -> Signed:
    """Claim another nonce point, beside right shares."""
    return msgspec.structs.replace(said, nonce_points=list(reversed(said.nonce_points)))


def commitment(point: bytes, place: int) -> Change:
    """Return a change of a point of the last commitment: the hiding one, or the binding one."""

    def change(said: Committed | Signed) -> Committed:
        assert isinstance(said, Committed)
        pair = list(said.commitments[-1])
        pair[place] = point
        return Committed(commitments=[*said.commitments[:-1], (pair[0], pair[1])])

    return change


def one_more(share: bytes) -> bytes:
    return ed25519.plus(ed25519.scalar(share), ed25519.ONE)


def not_reduced(share: bytes) -> bytes:
    return (int.from_bytes(share, "little") + ORDER).to_bytes(32, "little")


LIES: dict[str, tuple[type[Draw] | type[Sign], Change, str]] = {
    "a wrong share": (Sign, share(one_more), "share of the signature is wrong"),
    "a share of zero": (Sign, share(lambda _: bytes(32)), "share of the signature is wrong"),
    "a share that is not reduced": (Sign, share(not_reduced), "what is no share"),
    "no shares": (Sign, lambda _: Signed(shares=[], nonce_points=[]), "another number of shares"),
    "another nonce point": (Sign, signed(swapped), "another nonce point"),
    "the identity": (Draw, commitment(ed25519.IDENTITY, 0), "what is no point"),
    "a point of small order": (Draw, commitment(SMALL_ORDER, 1), "what is no point"),
    "a point that is not canonical": (Draw, commitment(NOT_CANONICAL, 1), "what is no point"),
    "no commitments": (Draw, lambda _: Committed(commitments=[]), "another number of messages"),
    "another's words": (Sign, lambda _: Committed(commitments=[]), "not signed by it"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> JointKey:
    """A key of which any two of three holders sign."""
    return asyncio.run(JointKey.made(tmp_path_factory.mktemp("holders"), NAMES, 2))


@pytest.fixture
def key(made: JointKey, tmp_path: Path) -> JointKey:
    """The same key, each holder with files and a process of its own."""
    voices = {}
    for name, voice in made.voices.items():
        shutil.copytree(voice.folder, tmp_path / name)
        voices[name] = LocalVoice(name, tmp_path / name)
    return JointKey(voices, made.header, made.authority, made.issuer, made.certificate)


def signed_without(key: JointKey, culprit: str, reason: str) -> None:
    """The other holders sign, and it is told whose fault it was that this one does not."""
    requests = [key.host_request(name) for name in NAMES]
    found = asyncio.run(key.sign(*requests))
    assert culprit not in found.signers
    assert any(culprit in note and reason in note for note in found.notes), found.notes
    public = Point(key.header.public_key)
    for request, signature in zip(requests, found.signatures, strict=True):
        verify(public, request.to_be_signed(public), signature)


@pytest.mark.parametrize("lie", LIES)
def test_who_cheats_is_named_and_the_others_sign(key: JointKey, lie: str) -> None:
    in_round, change, reason = LIES[lie]
    voice = key.voices["ams3-0"]
    voice.alters = Liar(voice, in_round, change)
    signed_without(key, "ams3-0", reason)


def test_where_too_few_are_left_nothing_is_signed(key: JointKey) -> None:
    del key.voices["ams3-2"]
    voice = key.voices["ams3-1"]
    voice.alters = Liar(voice, Sign, share(one_more))
    with pytest.raises(
        CeremonyFailedError, match="ams3-1: a share of the signature is wrong"
    ) as it:
        asyncio.run(key.sign(key.host_request("ams3-0")))
    assert it.value.verdict is CeremonyVerdict.TOO_FEW
    assert it.value.culprits == ("ams3-1", "ams3-2")


@pytest.mark.parametrize("ending", [Draw, Sign])
def test_who_falls_silent_in_a_round_is_replaced(key: JointKey, ending: type[Ask]) -> None:
    key.voices["ams3-1"].dies_at = ending
    signed_without(key, "ams3-1", "has ended")


def test_who_replays_what_it_said_in_another_ceremony_is_named(key: JointKey) -> None:
    heard: list[Envelope] = []

    def replay(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        if not isinstance(asked, Draw) or not isinstance(said, Spoken):
            return said
        heard.append(said.envelope)
        return Spoken(envelope=heard[0])

    key.voices["ams3-0"].alters = replay
    requests = [key.host_request(name) for name in NAMES]
    assert "ams3-0" in asyncio.run(key.sign(*requests)).signers
    signed_without(key, "ams3-0", "not signed by it for this ceremony")


def test_who_commits_again_to_nonces_that_it_has_used_gives_no_share(key: JointKey) -> None:
    """Signed for the new ceremony: its own program has other nonces, and refuses."""
    kept: list[Committed] = []

    def again(said: Committed | Signed) -> Committed:
        assert isinstance(said, Committed)
        kept.append(said)
        return kept[0]

    voice = key.voices["ams3-0"]
    voice.alters = Liar(voice, Draw, again)
    requests = [key.host_request(name) for name in NAMES]
    assert "ams3-0" in asyncio.run(key.sign(*requests)).signers
    signed_without(key, "ams3-0", "in place of this holder's")


def test_who_is_shown_another_request_gives_no_share_of_either(key: JointKey) -> None:
    """The coordinator cheats: one holder is asked for ams3-2, the others for ams3-1."""
    other = msgspec.json.encode(key.host_request("ams3-2"))

    def instead(asked: Ask) -> Ask:
        return (
            msgspec.structs.replace(asked, requests=[other]) if isinstance(asked, Draw) else asked
        )

    key.voices["ams3-0"].hears = instead
    found = asyncio.run(key.sign(key.host_request("ams3-1")))
    assert found.signers == ["ams3-1", "ams3-2"]
    assert not any(b'"shares"' in line for line in key.voices["ams3-0"].said)


def test_nonces_are_used_once(key: JointKey) -> None:
    """A coordinator that asks again for the second round gets no second share."""
    voice = key.voices["ams3-0"]
    asyncio.run(key.sign(key.host_request("ams3-1")))
    (second,) = [line for line in voice.asked if b'"ask":"sign"' in line]
    assert b"no nonces are drawn here" in voice.holder.answer(second)
    voice.restart()
    assert b"no nonces are drawn here" in voice.holder.answer(second)


def test_who_has_the_shares_of_an_old_epoch_does_not_sign(key: JointKey, tmp_path: Path) -> None:
    """Its disk is rolled back to before the shares were made anew."""
    voice = key.voices["ams3-0"]
    shutil.copytree(voice.folder, tmp_path / "old")
    asyncio.run(key.renew(NAMES, 2))
    shutil.rmtree(voice.folder)
    shutil.copytree(tmp_path / "old", voice.folder)
    voice.restart()
    assert asyncio.run(key.sign(key.host_request("ams3-1"))).signers == ["ams3-1", "ams3-2"]
    del key.voices["ams3-2"]
    with pytest.raises(CeremonyFailedError, match="ams3-0 has no share of this epoch"):
        asyncio.run(key.sign(key.host_request("ams3-1")))


def test_what_all_holders_refuse_is_not_signed(key: JointKey) -> None:
    with pytest.raises(CeremonyFailedError, match=r"refuses \(member\): 'mallory'") as it:
        asyncio.run(key.sign(key.host_request("mallory")))
    assert it.value.verdict is CeremonyVerdict.REFUSED


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_fewer_than_the_threshold_cannot_sign_with_all_that_they_have(data: st.DataObject) -> None:
    """They have their real shares and all that is public, and make up what they lack."""
    holders = (1, 2, 3, 4)
    threshold = data.draw(st.integers(2, 4))
    joint = joint_key(holders, threshold)
    few = data.draw(st.sampled_from(list(combinations(holders, threshold - 1))))
    for signers in (
        few,
        (*few, data.draw(st.sampled_from([one for one in holders if one not in few]))),
    ):
        shares = {
            one: joint.shares[one] if one in few else ed25519.random_scalar() for one in signers
        }
        assert recovered(shares) != joint.public_key
        rounds = {one: frost.commit(each) for one, each in shares.items()}
        package = package_of(joint.public_key, b"forged", rounds)
        parts = {
            one: frost.sign_share(one, shares[one], nonces, package)[0]
            for one, (nonces, _) in rounds.items()
        }
        with pytest.raises(SigningError):
            frost.aggregate(package, parts, joint.known.public_shares)


def recovered(shares: dict[int, ed25519.Scalar]) -> Point:
    """Return the public key of what these shares determine."""
    identifiers: Sequence[int] = sorted(shares)
    terms = [ed25519.times(ed25519.interpolation(one, identifiers), shares[one]) for one in shares]
    return ed25519.base_times(ed25519.plus(*terms))


def test_the_authoritys_certificate_is_not_signed_beside_one_that_was_archived_meanwhile(
    key: JointKey,
) -> None:
    """Two ceremonies at once: the other one archives after this one has drawn its nonces."""
    for voice in key.voices.values():
        path = voice.folder / "nebula/certificate"
        kept = path.read_bytes()
        path.unlink()
        voice.alters = archived_meanwhile(path, kept)
    with pytest.raises(CeremonyFailedError, match=r"refuses \(once\)"):
        asyncio.run(key.sign(authority_request()))
    assert not any(b'"shares"' in line for each in key.voices.values() for line in each.said)


def archived_meanwhile(path: Path, content: bytes) -> Callable[[Ask, AnyAnswer], AnyAnswer]:
    def after(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        if isinstance(asked, Draw):
            path.write_bytes(content)
        return said

    return after
