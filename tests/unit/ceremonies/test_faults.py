"""Faults while shares are made, in what is asked and in logs: the verdict, and who is to blame."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nacl.signing import SigningKey

from e3.authority.joint import log
from e3.authority.joint.channel import digest
from e3.authority.joint.ed25519 import Point, Scalar, base_times, points_plus, scalar_of
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.log import check
from e3.authority.joint.messages import (
    AnyAnswer,
    Ask,
    Begin,
    Body,
    Deal,
    Dealt,
    LogPage,
    Prepared,
    Receive,
    Spoken,
    encode,
)
from e3.authority.joint.messages import Log as LogRequest
from e3.authority.joint.store import Store
from e3.ceremonies.logs import collect
from e3.ceremonies.making import make_key
from e3.ceremonies.signatures import sign
from e3.ceremonies.verdicts import CeremonyVerdict
from tests.ceremonies import (
    DAY_SECONDS,
    JointKey,
    LocalVoice,
    enter,
    failed,
    log_entry,
    scope_of,
    voices_in,
)
from tests.ceremony_malice import ONE, cheat, deal_another_secret, deal_wrong_value, spellings

pytestmark = pytest.mark.unit

NAMES = ("ams3-0", "ams3-1", "sgp1-0")


@pytest.fixture
def key(tmp_path: Path) -> JointKey:
    """A key of three holders, any two of whom sign; ams3-0 and ams3-1 are asked first."""
    return asyncio.run(JointKey.made(tmp_path, NAMES, 2))


@pytest.mark.parametrize("step", [Begin, Deal, Receive])
def test_a_holder_that_is_killed_while_a_key_is_made_is_named(
    tmp_path: Path, step: type[Ask]
) -> None:
    voices = voices_in(tmp_path, NAMES)
    voices["sgp1-0"].dies_at = step
    error = failed(make(voices))
    assert (error.verdict, error.culprits) == (CeremonyVerdict.SILENT, ("sgp1-0",))
    assert asyncio.run(enter(voices)).newest() is None


async def make(voices: dict[str, LocalVoice], threshold: int = 2) -> object:
    return await make_key(await enter(voices), threshold, scope_of(NAMES))


def test_a_dealer_that_deals_a_wrong_value_is_convicted_by_its_signature(tmp_path: Path) -> None:
    voices = voices_in(tmp_path, NAMES)
    deal_wrong_value(voices["ams3-1"], receiver=3)
    error = failed(make(voices))
    assert (error.verdict, error.culprits) == (CeremonyVerdict.CHEATED, ("ams3-1",))
    assert "dealt a value that it did not publish" in str(error)


def test_values_that_are_wrong_by_the_same_amount_make_the_right_share(tmp_path: Path) -> None:
    """Two dealers agreed on it: their receiver has the only share that fits, and the key signs."""
    voices = voices_in(tmp_path, NAMES)
    deal_wrong_value(voices["ams3-0"], receiver=3)
    deal_wrong_value(voices["ams3-1"], receiver=3, by=scalar_of(-1))
    asyncio.run(make(voices))
    held = voices["sgp1-0"].held
    assert base_times(Scalar(held.share)) == held.header.public_shares[3]


def test_a_value_that_a_host_sealed_itself_is_not_taken_for_a_dealers(tmp_path: Path) -> None:
    """Both seal with one key, so that the coordinator could bring it back, and blame the dealer."""
    voices = voices_in(tmp_path, NAMES)
    mine: dict[int, bytes] = {}

    def keep(_: Ask, said: AnyAnswer) -> AnyAnswer:
        if isinstance(said, Spoken) and said.values:
            mine.update(said.values)
        return said

    def reflect(asked: Ask) -> Ask:
        if not isinstance(asked, Receive):
            return asked
        return msgspec.structs.replace(asked, values={**asked.values, 2: mine[2]})

    voices["ams3-0"].alters, voices["ams3-0"].hears = keep, reflect
    error = failed(make(voices))
    assert (error.verdict, error.culprits) == (CeremonyVerdict.DISPUTED, ("ams3-0", "ams3-1"))


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


@pytest.mark.parametrize("holder", [1, 3])
def test_a_coordinator_cannot_make_up_a_public_share(tmp_path: Path, holder: int) -> None:
    voices = voices_in(tmp_path, NAMES)

    def change(asked: Ask) -> Ask:
        if not isinstance(asked, Receive):
            return asked
        wrong = {**asked.public_shares, holder: base_times(ONE)}
        return msgspec.structs.replace(asked, public_shares=wrong)

    voices["ams3-0"].hears = change
    error = failed(make(voices))
    assert "the public shares are not those of what was dealt" in str(error)


@pytest.mark.parametrize(
    ("root", "said"),
    [
        pytest.param(2, "not those of what was dealt", id="its own is another"),
        pytest.param(1, "ams3-0 saw something else", id="its own is right"),
    ],
)
def test_a_coordinator_cannot_make_up_shares_of_the_same_key(
    tmp_path: Path, root: int, said: str
) -> None:
    """They lie on one polynomial with the key, but not on what was dealt."""
    voices = voices_in(tmp_path, NAMES)

    def change(asked: Ask) -> Ask:
        if not isinstance(asked, Receive):
            return asked
        # of degree 2: it is 0 where the key is, and at ``root``
        wrong = {
            one: points_plus((Point(each), base_times(scalar_of(one * (one - root)))))
            for one, each in asked.public_shares.items()
        }
        return msgspec.structs.replace(asked, public_shares=wrong)

    voices["ams3-0"].hears = change
    assert said in str(failed(make(voices, threshold=3)))


def test_a_dealer_cannot_put_another_key_in_place_of_its_share_and_others_deal(
    key: JointKey,
) -> None:
    deal_another_secret(key.voices["ams3-0"], ONE)
    header = asyncio.run(key.renew(NAMES, 2))
    assert (header.epoch, len(header.holders)) == (2, 3)
    assert key.notes == ["ams3-0: a dealer deals something else than its share"]
    key.voices["ams3-0"].alters = lambda _, said: said
    asyncio.run(key.sign(key.host_request("ams3-0")))


def test_where_all_have_to_deal_the_one_that_cheats_is_named(tmp_path: Path) -> None:
    key = asyncio.run(JointKey.made(tmp_path, NAMES, 3))
    deal_another_secret(key.voices["ams3-0"], ONE)
    error = failed(key.renew(NAMES, 3))
    assert (error.verdict, error.culprits) == (CeremonyVerdict.CHEATED, ("ams3-0",))
    assert "something else than its share" in str(error)
    key.voices["ams3-0"].alters = lambda _, said: said
    asyncio.run(key.sign(key.host_request("ams3-0")))


def test_a_dealer_with_a_wrong_value_is_replaced_where_new_shares_are_made(key: JointKey) -> None:
    deal_wrong_value(key.voices["ams3-1"], receiver=3)
    assert asyncio.run(key.renew(NAMES, 2)).epoch == 2
    assert key.notes == ["ams3-1 dealt a value that it did not publish"]


def test_who_speaks_out_of_turn_does_not_keep_others_from_new_shares(key: JointKey) -> None:
    """A holder that is not to deal promises something."""
    promised: list[AnyAnswer] = []

    def promise(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        if isinstance(asked, Begin):
            promised.append(said)
        return said

    def butt_in(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        return promised[0] if isinstance(asked, Begin) else said

    key.voices["ams3-0"].alters = promise
    key.voices["sgp1-0"].alters = butt_in
    assert asyncio.run(key.renew(NAMES, 2)).epoch == 2


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
    keys = {each.name: each.key for each in key.header.holders.values()}
    return asyncio.run(collect(dict(key.voices), {}, keys))


def test_logs_of_holders_who_did_nothing_wrong_agree(key: JointKey) -> None:
    asyncio.run(key.sign(key.host_request("ams3-0")))
    asyncio.run(key.renew(NAMES, 2))
    assert not [each for each in logs_of(key).compared() if each.missing_from]


def test_a_log_that_is_longer_than_a_line_is_read_in_pages(key: JointKey) -> None:
    voice = key.voices["ams3-0"]
    asyncio.run(key.sign(*[key.host_request("ams3-0")] * 101))  # takes two entries
    store = Store(voice.folder)
    *_, last = check(bytes(store.identity().verify_key), log.entries(store.log))
    long = msgspec.structs.replace(last, what=["x" * 2000] * 100)
    for _ in range(4):
        log.append(store.log, store.identity(), long)
    whole = logs_of(key).entries["ams3-0"]
    assert len(whole) == last.number + 5
    assert [len(each.what) for each in whole[-6:]] == [100, 1, 100, 100, 100, 100]
    assert max(len(line) for line in voice.said) < 1_000_000


def test_a_log_by_another_key_than_the_holders_is_not_taken_for_its(key: JointKey) -> None:
    """Whoever replaced key and log of a host could show any history."""
    folder = key.voices["ams3-0"].folder
    (folder / "identity").unlink()
    (folder / "log").unlink()
    (folder / "nebula/recorded").unlink()
    key.voices["ams3-0"].restart()
    asyncio.run(enter(key.voices))  # it records its share anew, with another key
    found = logs_of(key)
    assert "another key than that by which the holders know" in found.unread["ams3-0"]
    assert len(found.entries) == 2


def test_an_entry_is_appended_without_reading_those_before(key: JointKey) -> None:
    """What is before the last entry is not looked at: here it could not be read."""
    store = Store(key.voices["ams3-0"].folder)
    lines = store.log.read_bytes().splitlines(keepends=True)
    damaged = b"".join(b"x" * (len(line) - 1) + b"\n" for line in lines[:-1]) + lines[-1]
    store.log.write_bytes(damaged + b'{"cut off')
    *_, last = check(bytes(store.identity().verify_key), log.entries_of(lines))
    log.append(store.log, store.identity(), last)
    assert store.log.read_bytes().startswith(damaged)
    added = store.log.read_bytes()[len(damaged) :].splitlines(keepends=True)
    said = check(bytes(store.identity().verify_key), log.entries_of([*lines, *added]))
    assert [each.number for each in said] == list(range(len(lines) + 1))


def test_an_entry_longer_than_what_is_read_at_once_is_followed_rightly(tmp_path: Path) -> None:
    key, path = SigningKey.generate(), tmp_path / "log"
    entry = log_entry(*["x" * 2000] * 100)
    for _ in range(3):
        log.append(path, key, entry)
    assert len(check(bytes(key.verify_key), log.entries(path))) == 3


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
    newest = asyncio.run(enter(key.voices)).newest()
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
