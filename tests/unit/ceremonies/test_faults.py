"""Each fault of a ceremony has its verdict, and names who is to blame."""

import asyncio
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from e3.authority.joint import frost
from e3.authority.joint.channel import digest
from e3.authority.joint.ed25519 import IDENTITY, ORDER, Point, Scalar
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.frost import SigningPackage
from e3.authority.joint.log import check
from e3.authority.joint.messages import (
    AnyAnswer,
    Ask,
    Begin,
    Body,
    Committed,
    Deal,
    Dealt,
    Draw,
    LogPage,
    Prepared,
    Receive,
    Sign,
    Signed,
    Spoken,
    encode,
)
from e3.authority.joint.messages import Log as LogRequest
from e3.ceremonies.logs import collect
from e3.ceremonies.making import make_key
from e3.ceremonies.signatures import sign
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from tests.ceremonies import DAY_SECONDS, JointKey, LocalVoice, enter, scope_of, voices_in
from tests.ceremony_malice import ONE, cheat, deal_another_secret, deal_wrong_value, spellings

pytestmark = pytest.mark.unit

NAMES = ("ams3-0", "ams3-1", "sgp1-0")
SMALL_ORDER = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
NOT_CANONICAL = bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")


@pytest.fixture
def key(tmp_path: Path) -> JointKey:
    """A key of three holders, any two of whom sign; ams3-0 and ams3-1 are asked first."""
    return asyncio.run(JointKey.made(tmp_path, NAMES, 2))


def failed(work: Any) -> CeremonyFailedError:  # noqa: ANN401 - any coroutine
    with pytest.raises(CeremonyFailedError) as it:
        asyncio.run(work)
    return it.value


def signed_without(key: JointKey, left_out: str) -> str:
    """Sign; return why a holder was left out, in whose place another one signed."""
    made = asyncio.run(key.sign(key.host_request("ams3-0")))
    assert left_out not in made.signers
    (note,) = made.notes
    assert left_out in note
    return note


@pytest.mark.parametrize("step", [Draw, Sign])
def test_another_signs_for_one_that_is_killed_in_a_round(key: JointKey, step: type[Ask]) -> None:
    key.voices["ams3-0"].dies_at = step
    assert "has ended" in signed_without(key, "ams3-0")


def test_a_round_is_not_repeated_with_its_nonces(key: JointKey) -> None:
    asyncio.run(key.sign(key.host_request("ams3-0")))
    voice = key.voices["ams3-1"]
    assert b'"ask":"sign"' in voice.asked[-1]
    assert b"no nonces are drawn here" in voice.holder.answer(voice.asked[-1])


def test_the_verdict_names_all_who_are_missing_when_too_few_are_left(key: JointKey) -> None:
    key.voices["ams3-0"].dies_at = Sign
    key.voices["ams3-1"].dies_at = Draw
    error = failed(key.sign(key.host_request("ams3-0")))
    assert error.verdict is CeremonyVerdict.TOO_FEW
    assert error.culprits == ("ams3-0", "ams3-1")


def wrong_share(said: Signed) -> Signed:
    number = (int.from_bytes(said.shares[0], "little") + 1) % ORDER
    return Signed(shares=[number.to_bytes(32, "little")])


def unreduced(said: Signed) -> Signed:
    number = int.from_bytes(said.shares[0], "little") + ORDER
    return Signed(shares=[number.to_bytes(32, "little")])


def committing(bad: bytes) -> Callable[[Committed], Committed]:
    return lambda said: Committed(commitments=[(bad, said.commitments[0][1])])


@pytest.mark.parametrize(
    ("step", "change", "reason"),
    [
        (Sign, wrong_share, "share of the signature is wrong"),
        (Sign, unreduced, "no reduced scalar"),
        (Sign, lambda _: Signed(shares=[]), "another number of shares"),
        (Draw, committing(IDENTITY), "no point of prime order"),
        (Draw, committing(SMALL_ORDER), "no point of prime order"),
        (Draw, committing(NOT_CANONICAL), "no point of prime order"),
        (Draw, lambda _: Committed(commitments=[]), "another number of messages"),
    ],
)
def test_a_signer_that_cheats_is_named_and_another_signs(
    key: JointKey, step: type[Ask], change: Callable[[Any], Body], reason: str
) -> None:
    cheat(key.voices["ams3-1"], step, change)
    assert reason in signed_without(key, "ams3-1")


def test_a_replayed_commitment_is_named(key: JointKey) -> None:
    voice = key.voices["ams3-1"]
    kept: list[AnyAnswer] = []

    def replay(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        if isinstance(asked, Draw) and isinstance(said, Spoken):
            kept.append(said)
            return kept[0]
        return said

    voice.alters = replay
    asyncio.run(key.sign(key.host_request("ams3-0")))
    assert "not signed by it for this ceremony" in signed_without(key, "ams3-1")


def test_a_signer_that_is_shown_another_message_spoils_nothing_but_its_own_part(
    key: JointKey,
) -> None:
    other = key.host_request("sgp1-0")

    def change(asked: Ask) -> Ask:
        if not isinstance(asked, Draw):
            return asked
        return msgspec.structs.replace(asked, requests=[msgspec.json.encode(other)])

    key.voices["ams3-1"].hears = change
    assert "not signed by it for this ceremony" in signed_without(key, "ams3-1")


@pytest.mark.parametrize("step", [Begin, Deal, Receive])
def test_a_holder_that_is_killed_while_a_key_is_made_is_named(
    tmp_path: Path, step: type[Ask]
) -> None:
    voices = voices_in(tmp_path, NAMES)
    voices["sgp1-0"].dies_at = step
    error = failed(make(voices))
    assert (error.verdict, error.culprits) == (CeremonyVerdict.SILENT, ("sgp1-0",))
    assert asyncio.run(enter(voices)).newest is None


async def make(voices: dict[str, LocalVoice]) -> object:
    return await make_key(await enter(voices), 2, scope_of(NAMES))


def test_a_dealer_that_deals_a_wrong_value_is_convicted_by_its_signature(tmp_path: Path) -> None:
    voices = voices_in(tmp_path, NAMES)
    deal_wrong_value(voices["ams3-1"], receiver=3)
    error = failed(make(voices))
    assert (error.verdict, error.culprits) == (CeremonyVerdict.CHEATED, ("ams3-1",))
    assert "dealt a value that it did not publish" in str(error)


def test_a_dealer_that_withholds_a_value_is_in_dispute_with_who_misses_it(tmp_path: Path) -> None:
    voices = voices_in(tmp_path, NAMES)

    def withhold(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        if isinstance(asked, Deal) and isinstance(said, Spoken):
            return Spoken(envelope=said.envelope, values={**said.values, 3: b"nothing"})
        return said

    voices["ams3-1"].alters = withhold
    error = failed(make(voices))
    assert error.verdict is CeremonyVerdict.DISPUTED
    assert error.culprits == ("ams3-1", "sgp1-0")


def other_polynomial(said: Dealt) -> Dealt:
    return msgspec.structs.replace(said, coefficients=list(reversed(said.coefficients)))


@pytest.mark.parametrize(
    ("step", "change", "verdict"),
    [
        (Deal, other_polynomial, CeremonyVerdict.CHEATED),
        (
            Receive,
            lambda said: Prepared(view=bytes(32), header=said.header),
            CeremonyVerdict.DIVERGED,
        ),
    ],
)
def test_who_says_something_else_than_it_promised_or_saw_is_named(
    tmp_path: Path, step: type[Ask], change: Callable[[Any], Body], verdict: CeremonyVerdict
) -> None:
    voices = voices_in(tmp_path, NAMES)
    cheat(voices["ams3-1"], step, change)
    error = failed(make(voices))
    assert (error.verdict, error.culprits) == (verdict, ("ams3-1",))


def test_a_dealer_cannot_put_another_key_in_place_of_its_share(key: JointKey) -> None:
    deal_another_secret(key.voices["ams3-0"], ONE)
    error = failed(key.renew(NAMES, 2))
    assert (error.verdict, error.culprits) == (CeremonyVerdict.CHEATED, ("ams3-0",))
    assert "something else than its share" in str(error)
    key.voices["ams3-0"].alters = lambda _, said: said
    asyncio.run(key.sign(key.host_request("ams3-0")))


def test_a_disk_that_was_rolled_back_is_left_out_and_its_log_named(
    key: JointKey, tmp_path: Path
) -> None:
    rolled = key.voices["ams3-0"].folder
    shutil.copytree(rolled, tmp_path / "backup")
    asyncio.run(key.renew(NAMES, 2))
    shutil.rmtree(rolled)
    shutil.copytree(tmp_path / "backup", rolled)
    key.voices["ams3-0"].restart()
    made = asyncio.run(key.sign(key.host_request("ams3-0")))
    assert made.signers == ["ams3-1", "sgp1-0"]
    lacking = {host for each in logs_of(key).compared() for host in each.missing_from}
    assert lacking == {"ams3-0"}
    del key.voices["sgp1-0"]
    error = failed(key.sign(key.host_request("ams3-0")))
    assert "ams3-0 has no share of this epoch" in str(error)


def logs_of(key: JointKey) -> Any:  # noqa: ANN401
    return asyncio.run(collect(dict(key.voices), {}))


def test_logs_of_holders_who_did_nothing_wrong_agree(key: JointKey) -> None:
    asyncio.run(key.sign(key.host_request("ams3-0")))
    asyncio.run(key.renew(NAMES, 2))
    assert not [each for each in logs_of(key).compared() if each.missing_from]


def test_an_entry_that_was_removed_breaks_its_log(key: JointKey) -> None:
    voice = key.voices["ams3-0"]
    path = voice.folder / "log"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    page = asyncio.run(voice.ask(LogRequest(purpose="nebula")))
    assert isinstance(page, LogPage)
    with pytest.raises(CeremonyError, match="entry 0 of a log does not follow"):
        check(page.key, page.entries)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"name": "stranger"}, "member"),
        ({"networks": ("10.99.0.1/16",)}, "address"),
        ({"groups": ("admin",)}, "group"),
        ({"issuer": bytes(32)}, "issuer"),
        ({"not_after": 4_000_000_000}, "validity"),
    ],
)
def test_a_certificate_that_the_holders_did_not_agree_to_is_refused(
    key: JointKey, changes: dict[str, Any], rule: str
) -> None:
    request = msgspec.structs.replace(key.host_request("ams3-0"), **changes)
    error = failed(key.sign(request))
    assert error.verdict is CeremonyVerdict.REFUSED
    assert f"refuses ({rule})" in str(error)


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_is_off_by_a_day_is_refused(key: JointKey, days: int) -> None:
    right = key.host_request("ams3-0")
    off = days * DAY_SECONDS
    error = failed(
        key.sign(
            key.host_request(
                "ams3-0", not_before=right.not_before + off, not_after=right.not_after + off
            )
        )
    )
    assert error.verdict is CeremonyVerdict.REFUSED
    assert "(clock)" in str(error) or "(validity)" in str(error)


def test_the_certificate_of_the_authority_is_signed_once(key: JointKey) -> None:
    error = failed(key.sign(key.authority))
    assert (error.verdict, "(once)" in str(error)) == (CeremonyVerdict.REFUSED, True)


def test_new_holders_do_not_sign_another_certificate_of_the_authority(
    key: JointKey, tmp_path: Path
) -> None:
    key.voices |= voices_in(tmp_path, ("nyc3-0", "sfo3-0"))
    asyncio.run(key.renew(("nyc3-0", "sfo3-0"), 2))
    del key.voices["ams3-0"], key.voices["ams3-1"], key.voices["sgp1-0"]
    assert "(once)" in str(failed(key.sign(key.authority)))


def test_holders_fewer_than_the_threshold_cannot_sign_with_their_real_shares(
    tmp_path: Path,
) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES, 3))
    held = [voice.held for voice in key.voices.values()]
    for colluding in combinations(held, 2):
        shares = {each.identifier: Scalar(each.share) for each in colluding}
        drawn = {one: frost.commit(share) for one, share in shares.items()}
        package = SigningPackage(
            public_key=Point(key.header.public_key),
            message=b"a stranger",
            commitments={one: commitment for one, (_, commitment) in drawn.items()},
        )
        parts = {
            one: frost.sign_share(one, shares[one], nonces, package)
            for one, (nonces, _) in drawn.items()
        }
        public = {one: Point(key.header.public_shares[one]) for one in shares}
        with pytest.raises(frost.SigningError):
            frost.aggregate(package, parts, public)


def test_two_ceremonies_at_once_both_sign(key: JointKey, tmp_path: Path) -> None:
    others = voices_in(tmp_path, NAMES)  # other processes on the same hosts

    async def both() -> None:
        requests = [key.host_request("ams3-0")]
        first, second = await enter(key.voices), await enter(others)
        await asyncio.gather(sign(first, key.header, requests), sign(second, key.header, requests))

    asyncio.run(both())


def test_two_renewals_at_once_leave_a_key_that_signs(key: JointKey, tmp_path: Path) -> None:
    twin = JointKey(
        voices_in(tmp_path, NAMES), key.header, key.authority, key.issuer, key.certificate
    )

    async def both() -> None:
        await asyncio.gather(key.renew(NAMES, 2), twin.renew(NAMES, 2), return_exceptions=True)

    asyncio.run(both())
    newest = asyncio.run(enter(key.voices)).newest
    assert newest is not None
    assert newest.public_key == key.header.public_key
    key.header = newest
    asyncio.run(key.sign(key.host_request("ams3-0")))


def test_hosts_that_were_shown_different_holders_have_different_transcripts(
    tmp_path: Path,
) -> None:
    """The deployer stands between two hosts: to each it plays the other one."""
    real = voices_in(tmp_path / "real", NAMES[:2])
    false = voices_in(tmp_path / "false", NAMES[:2])
    for mixed in (
        {"ams3-0": real["ams3-0"], "ams3-1": false["ams3-1"]},
        {"ams3-0": false["ams3-0"], "ams3-1": real["ams3-1"]},
    ):
        asyncio.run(make_two(mixed))
    assert real["ams3-0"].held.header.transcript != real["ams3-1"].held.header.transcript


async def make_two(voices: dict[str, LocalVoice]) -> None:
    await make_key(await enter(voices), 2, scope_of(NAMES))


def test_no_share_is_in_anything_that_is_said(key: JointKey) -> None:
    old = [voice.held.share for voice in key.voices.values()]
    asyncio.run(key.renew(NAMES, 2))
    asyncio.run(key.sign(key.host_request("ams3-0")))
    said = b"".join(line for voice in key.voices.values() for line in voice.said + voice.asked)
    secrets = [*old, *(voice.held.share for voice in key.voices.values())]
    for secret in secrets:
        for spelling in spellings(secret):
            assert spelling not in said
    header = digest(encode(key.header))
    assert any(spelling in said for spelling in spellings(header))  # the search finds what is there
