"""Ceremonies of the real holders' program in one process: keys, shares, certificates, life."""

import asyncio
from itertools import combinations
from pathlib import Path

import pytest

from e3.authority.joint.ed25519 import ORDER, Point, Scalar, base_times, interpolation, scalar_of
from e3.authority.joint.messages import Commit, Receive
from e3.authority.joint.requests.fields import verify
from e3.authority.joint.store import Store
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from tests.ceremonies import JointKey, enter, voices_in

pytestmark = pytest.mark.unit

NAMES = ("ams3-0", "ams3-1", "ams3-2", "sgp1-0")


def key_of(shares: dict[int, bytes]) -> bytes:
    """Return the public key of the secret that these shares determine."""
    total = sum(
        int.from_bytes(interpolation(one, sorted(shares)), "little")
        * int.from_bytes(share, "little")
        for one, share in shares.items()
    )
    return base_times(scalar_of(total % ORDER))


def test_any_threshold_of_the_shares_determine_the_key_and_fewer_do_not(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES, 3))
    shares = {each.held.identifier: each.held.share for each in key.voices.values()}
    for some in combinations(shares, 3):
        assert key_of({one: shares[one] for one in some}) == key.header.public_key
    for few in combinations(shares, 2):
        assert key_of({one: shares[one] for one in few}) != key.header.public_key


def test_all_holders_have_one_header_and_one_certificate(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES, 3))
    assert {each.held.header.transcript for each in key.voices.values()} == {key.header.transcript}
    kept = [Store(each.folder).certificate("nebula") for each in key.voices.values()]
    assert {each.text for each in kept if each} == {key.certificate}
    assert None not in kept


def test_a_batch_is_signed_by_whoever_is_there(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES, 2))
    del key.voices["ams3-0"], key.voices["sgp1-0"]
    requests = [key.host_request(name) for name in NAMES]
    made = asyncio.run(key.sign(*requests))
    assert made.signers == ["ams3-1", "ams3-2"]
    for request, signature in zip(requests, made.signatures, strict=True):
        public = Point(key.header.public_key)
        verify(public, request.to_be_signed(public), signature)


def test_fewer_than_the_threshold_can_sign_nothing(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES, 3))
    del key.voices["ams3-0"], key.voices["ams3-1"]
    with pytest.raises(CeremonyFailedError, match="2 of 4 holders can sign, and it takes 3") as it:
        asyncio.run(key.sign(key.host_request("sgp1-0")))
    assert it.value.verdict is CeremonyVerdict.TOO_FEW
    assert it.value.culprits == ("ams3-0", "ams3-1")


def test_new_shares_are_of_the_same_key_and_old_ones_are_worthless(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES, 2))
    old = {each.held.identifier: each.held.share for each in key.voices.values()}
    public_key = key.header.public_key
    asyncio.run(key.renew(NAMES, 3))
    new = {each.held.identifier: each.held.share for each in key.voices.values()}
    assert key.header.public_key == public_key
    assert key.header.epoch == 2
    assert key_of({one: new[one] for one in (1, 2, 3)}) == public_key
    assert key_of({1: new[1], 2: new[2], 3: old[3]}) != public_key
    asyncio.run(key.sign(key.host_request("ams3-0")))


def test_holders_come_and_go_while_the_key_stays(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES[:3], 2))
    public_key = key.header.public_key
    key.voices |= voices_in(tmp_path, ("nyc3-0", "sfo3-0"))
    asyncio.run(key.renew(("ams3-1", "nyc3-0", "sfo3-0"), 3))
    numbers = {each.name: number for number, each in key.header.holders.items()}
    assert numbers == {"ams3-1": 2, "nyc3-0": 4, "sfo3-0": 5}
    del key.voices["ams3-0"], key.voices["ams3-2"]
    made = asyncio.run(key.sign(key.host_request("sfo3-0")))
    assert made.signers == ["ams3-1", "nyc3-0", "sfo3-0"]
    assert key.header.public_key == public_key


def test_a_lost_share_is_made_anew_by_the_others(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES[:3], 2))
    key.voices |= voices_in(tmp_path / "new disk", ("ams3-2",))
    header = asyncio.run(key.renew(NAMES[:3], 2))
    assert sorted(header.holders) == [1, 2, 4]
    assert key.voices["ams3-2"].held.header == header


@pytest.mark.parametrize("dying", range(3))
def test_a_kill_at_the_change_of_epochs_leaves_one_that_signs(tmp_path: Path, dying: int) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES[:3], 2))
    victim = key.voices[NAMES[dying]]
    victim.dies_at = Commit
    with pytest.raises(CeremonyFailedError):
        asyncio.run(key.renew(NAMES[:3], 2))
    victim.dies_at = None
    for each in key.voices.values():
        each.restart()
    assembly = asyncio.run(enter(key.voices))
    newest = assembly.newest()
    assert newest is not None
    assert newest.epoch == 2
    assert len(assembly.having(newest)) == 3
    key.header = newest
    asyncio.run(key.sign(key.host_request("ams3-0")))


def test_a_kill_before_all_are_prepared_leaves_the_old_epoch(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES[:3], 2))
    key.voices["ams3-1"].dies_at = Receive
    with pytest.raises(CeremonyFailedError, match="ams3-1 has ended"):
        asyncio.run(key.renew(NAMES[:3], 2))
    key.voices["ams3-1"].dies_at = None
    asyncio.run(key.sign(key.host_request("ams3-0")))
    assert asyncio.run(key.renew(NAMES[:3], 2)).epoch == 2


def test_shares_are_in_files_of_their_owner_alone(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES[:2], 2))
    modes = {
        path.stat().st_mode & 0o777
        for voice in key.voices.values()
        for path in voice.folder.rglob("*")
    }
    assert modes == {0o600, 0o700}


def test_a_share_of_another_value_is_not_used(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES[:2], 2))
    voice = key.voices["ams3-0"]
    held = voice.held
    wrong = type(held)(
        header=held.header,
        identifier=held.identifier,
        share=bytes(Scalar(bytes([7, *bytes(31)]))),
        context=held.context,
        view=held.view,
        prepared=held.prepared,
    )
    Store(voice.folder).commit(wrong)
    with pytest.raises(CeremonyFailedError, match="share that is not the one of its header"):
        asyncio.run(key.sign(key.host_request("ams3-0")))
