"""Coordinators and holders that leave the protocol: what an honest holder does not do for them."""

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nacl.signing import SigningKey

from e3.authority.joint import log
from e3.authority.joint.channel import ChannelError, digest, signed_bytes, speak, verify
from e3.authority.joint.dealing import hello_context, published_of
from e3.authority.joint.ed25519 import random_scalar
from e3.authority.joint.messages import (
    AnyAnswer,
    Archived,
    Ask,
    Begin,
    Commit,
    Deal,
    Dealt,
    Draw,
    Envelope,
    Failed,
    Forget,
    Greet,
    Greeted,
    Hello,
    LogPage,
    Promise,
    Receive,
    Sign,
    Spoken,
    decode,
    encode,
)
from e3.authority.joint.rest import PLAIN, TOOL, Sealed
from e3.authority.joint.sharing import shares_of, total_of
from e3.authority.joint.store import Store
from e3.authority.joint.terms import DealingError, shares_in
from e3.ceremonies import authority, logs, overview
from e3.ceremonies.logs import collect
from e3.ceremonies.making import make_key, renew_key
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from tests.ceremonies import (
    JointKey,
    LocalVoice,
    enter,
    failed,
    log_entry,
    scope_of,
    voices_in,
)

pytestmark = pytest.mark.unit

NAMES = ("ams3-0", "ams3-1", "nyc3-0", "sfo3-0", "sgp1-0")
LOW_ORDER = bytes(32)


@pytest.fixture
def key(tmp_path: Path) -> JointKey:
    """A key of five holders, any three of whom sign."""
    return asyncio.run(JointKey.made(tmp_path, NAMES, 3))


async def make(voices: dict[str, LocalVoice]) -> object:
    return await make_key(await enter(voices), 2, scope_of(list(voices)))


def test_a_dealer_cannot_promise_again_after_the_others_published(tmp_path: Path) -> None:
    """The coordinator is its accomplice, and shows one receiver what the dealer chose last."""
    voices = voices_in(tmp_path, NAMES[:3])

    def hear(asked: Ask) -> Ask:
        return chosen_last(voices["ams3-1"], asked) if isinstance(asked, Receive) else asked

    voices["ams3-0"].hears = hear
    error = failed(make(voices))
    assert "not the promises after which this host published" in str(error)


def test_promises_shown_after_a_dealer_published_are_not_those_that_count(tmp_path: Path) -> None:
    """The coordinator asks the victim to deal once more, with what its accomplice chose last."""
    voices = voices_in(tmp_path, NAMES[:3])
    victim = voices["ams3-0"]

    def hear(asked: Ask) -> Ask:
        if not isinstance(asked, Receive):
            return asked
        last = chosen_last(voices["ams3-1"], asked)
        again = Deal(purpose=asked.purpose, promises=last.promises)
        assert b"published its polynomial before" in victim.holder.answer(
            msgspec.json.encode(again)
        )
        return msgspec.structs.replace(last, promises=asked.promises)

    victim.hears = hear
    assert "published something else than it promised" in str(failed(make(voices)))


def chosen_last(dealer: LocalVoice, asked: Receive) -> Receive:
    """Let dealer 2 deal receiver 1 another secret, with all that belongs to it."""
    making: Any = dealer.holder._making  # noqa: SLF001
    context = making._context  # noqa: SLF001
    dealing = making._deal(random_scalar())  # noqa: SLF001
    proof = dealing.published.proof
    dealt = Dealt(
        coefficients=list(dealing.published.coefficients),
        commitment=proof.commitment,
        response=proof.response,
    )
    promise = making._speak(Promise(digest=digest(context, encode(dealt))))  # noqa: SLF001
    said = [asked.dealt[0], making._speak(dealt), asked.dealt[2]]  # noqa: SLF001
    published = [published_of(each.sender, decode(each.body, Dealt)) for each in said]
    return Receive(
        purpose=asked.purpose,
        promises=[asked.promises[0], promise, asked.promises[2]],
        dealt=said,
        values={**asked.values, 2: making._sealed(1, dealing.values[1])},  # noqa: SLF001
        public_shares=dict(shares_of(total_of(published), (1, 2, 3)).public_shares),
    )


def test_a_holder_receives_once_in_a_ceremony(tmp_path: Path) -> None:
    """Else it would say of two results that all have the same."""
    voices = voices_in(tmp_path, NAMES[:2])
    voice = voices["ams3-0"]

    def again(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        if not isinstance(asked, Receive):
            return said
        line = voice.holder.answer(msgspec.json.encode(asked))
        return msgspec.json.decode(line, type=Failed | Spoken)

    voice.alters = again
    assert "has received its share before" in str(failed(make(voices)))


def test_a_key_with_which_nothing_can_be_sealed_is_its_holders_fault(tmp_path: Path) -> None:
    voices = voices_in(tmp_path, NAMES[:3])

    def small(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        if not isinstance(asked, Greet) or not isinstance(said, Greeted):
            return said
        identity = Store(voices["ams3-1"].folder).identity()
        hello = Hello(
            purpose="nebula",
            key=bytes(identity.verify_key),
            sealing=LOW_ORDER,
            nonce=bytes(32),
        )
        return msgspec.structs.replace(
            said, hello=speak(identity, 1, hello_context("nebula"), hello)
        )

    voices["ams3-1"].alters = small
    assembly = asyncio.run(enter(voices))
    assert list(assembly.absent) == ["ams3-1"]
    assert "nothing can be sealed" in assembly.absent["ams3-1"]


def test_words_that_are_no_text_are_their_speakers_fault() -> None:
    key, body = SigningKey.generate(), b'{"purpose":"\xff"}'
    signature = key.sign(signed_bytes(Hello, 1, b"", body)).signature
    with pytest.raises(ChannelError, match="no UTF-8") as it:
        verify(
            Envelope(sender=1, body=body, signature=signature), bytes(key.verify_key), b"", Hello
        )
    assert it.value.culprits == (1,)


def test_a_new_key_has_no_certificate(key: JointKey, tmp_path: Path) -> None:
    """The coordinator would have the holders archive one that their key never signed."""
    foreign = Store(key.voices["ams3-0"].folder).certificate("nebula")
    voices = voices_in(tmp_path / "new", NAMES[:2])

    def hear(asked: Ask) -> Ask:
        if not isinstance(asked, Begin):
            return asked
        terms = msgspec.structs.replace(asked.terms, certificate=foreign)
        return msgspec.structs.replace(asked, terms=terms)

    for voice in voices.values():
        voice.hears = hear
    assert "cannot have a certificate yet" in str(failed(make(voices)))


def test_no_second_holder_has_the_name_of_another_one(tmp_path: Path) -> None:
    """It would say which key is that host's own, while the host holds its share as before."""
    voices = voices_in(tmp_path, NAMES[:3])

    def hear(asked: Ask) -> Ask:
        if not isinstance(asked, Begin):
            return asked
        twin = msgspec.structs.replace(asked.terms.holders[2], name=NAMES[0])
        terms = msgspec.structs.replace(asked.terms, holders={**asked.terms.holders, 2: twin})
        return msgspec.structs.replace(asked, terms=terms)

    for voice in voices.values():
        voice.hears = hear
    assert "two holders have one name" in str(failed(make(voices)))


def test_a_holder_signs_and_records_under_the_purpose_for_which_it_drew(key: JointKey) -> None:
    def hear(asked: Ask) -> Ask:
        return msgspec.structs.replace(asked, purpose="tls") if isinstance(asked, Sign) else asked

    for voice in key.voices.values():
        voice.hears = hear
        path = voice.folder
        (path / "tls").symlink_to(path / "nebula")  # it has a share for the other purpose as well
    error = failed(key.sign(key.host_request("ams3-0")))
    assert "drawn for another key" in str(error)
    assert not any(b'"shares"' in line for each in key.voices.values() for line in each.said)


def test_nonces_that_were_drawn_for_older_shares_sign_nothing(key: JointKey) -> None:
    """A coordinator would keep a process with the old share, and sign after the refresh."""
    twin = {name: LocalVoice(name, voice.folder) for name, voice in key.voices.items()}
    asked: list[Sign] = []

    def keep(request: Ask) -> Ask:
        if isinstance(request, Sign):
            asked.append(request)
            raise TimeoutError
        return request

    for voice in twin.values():
        voice.hears = keep
    with pytest.raises(CeremonyFailedError):
        asyncio.run(
            JointKey(twin, key.header, key.authority, key.issuer, "").sign(
                key.host_request("ams3-0")
            )
        )
    asyncio.run(key.renew(NAMES, 3))
    said = twin["ams3-0"].holder.answer(msgspec.json.encode(asked[0]))
    assert b"older shares" in said


@pytest.mark.parametrize("step", [Draw, Sign])
def test_a_signer_that_accuses_all_others_is_left_out_alone(key: JointKey, step: type[Ask]) -> None:
    def accuse(asked: Ask, said: AnyAnswer) -> AnyAnswer:
        return Failed(reason="they cheat", culprits=[2, 3, 4]) if isinstance(asked, step) else said

    key.voices["ams3-0"].alters = accuse
    made = asyncio.run(key.sign(key.host_request("ams3-0")))
    assert made.signers == ["ams3-1", "nyc3-0", "sfo3-0"]


def test_a_certificate_that_the_key_did_not_sign_is_no_certificate(key: JointKey) -> None:
    right = Store(key.voices["ams3-0"].folder).certificate("nebula")
    assert right is not None
    wrong = Archived(request=right.request, signature=bytes(64), text=right.text)

    def show(_: Ask, said: AnyAnswer) -> AnyAnswer:
        return (
            msgspec.structs.replace(said, certificate=wrong) if isinstance(said, Greeted) else said
        )

    key.voices["ams3-0"].alters = show
    assert asyncio.run(enter(key.voices)).certificate(key.header) == right
    asyncio.run(key.renew(NAMES, 3))


def test_who_claims_another_share_of_the_new_epoch_does_not_keep_others_from_it(
    key: JointKey,
) -> None:
    victim = key.voices["ams3-1"]
    before = victim.held.header

    def lie(_: Ask, said: AnyAnswer) -> AnyAnswer:
        if not isinstance(said, Greeted) or said.header is None or said.header == before:
            return said
        return msgspec.structs.replace(
            said, header=msgspec.structs.replace(said.header, transcript=bytes(32))
        )

    victim.dies_at = Commit
    failed(key.renew(NAMES, 3))
    victim.dies_at = None
    key.voices["sgp1-0"].alters = lie  # the last that is asked
    assembly = asyncio.run(enter(key.voices))
    assert victim.held.header.epoch == 2
    assert assembly.newest() is not None


def test_two_ceremonies_at_once_write_one_chain(tmp_path: Path) -> None:
    """As two machines that let the same hosts sign at once."""
    path, key = tmp_path / "log", SigningKey.generate()
    entry = log_entry("x")

    def write() -> None:
        for _ in range(30):
            log.append(path, key, entry)

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(write) for _ in range(2)]:
            each.result()
    assert len(log.check(bytes(key.verify_key), log.entries(path))) == 60


def test_shares_that_a_kill_kept_from_the_log_are_recorded_later(key: JointKey) -> None:
    voice = key.voices["ams3-0"]
    asyncio.run(key.renew(NAMES, 3))
    path = voice.folder / "log"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    (voice.folder / "nebula/recorded").unlink()
    voice.restart()
    asyncio.run(enter(key.voices))
    found = asyncio.run(collect(dict(key.voices), {}, {}))
    assert not [each for each in found.compared() if each.missing_from]


def test_what_was_signed_does_not_pass_for_the_record_of_new_shares(tmp_path: Path) -> None:
    """A coordinator knows the digest of a ceremony, and has it signed as part of something else."""
    path, ceremony = tmp_path / "log", bytes(range(32))
    entry = log_entry(base64.b64encode(ceremony).decode())
    key = SigningKey.generate()
    log.append(path, key, entry)
    assert not log.has(path, "shares", ceremony)
    log.append(path, key, msgspec.structs.replace(entry, kind="shares", ceremony=ceremony))
    assert log.has(path, "shares", ceremony)


def test_what_a_kill_left_of_a_share_is_removed_by_the_next(key: JointKey) -> None:
    left = key.voices["ams3-0"].folder / "nebula" / ".share.01234567"
    left.write_bytes((left.parent / "share").read_bytes())
    asyncio.run(key.renew(NAMES, 3))
    assert not left.exists()


def test_a_crash_before_the_certificate_is_written_does_not_let_another_be_signed(
    key: JointKey,
) -> None:
    asyncio.run(key.renew(NAMES, 3))
    for voice in key.voices.values():
        (voice.folder / "nebula/certificate").unlink()
    error = failed(key.sign(key.authority))
    assert (error.verdict, "(once)" in str(error)) == (CeremonyVerdict.REFUSED, True)


def test_a_host_takes_part_in_one_making_of_shares_at_a_time(key: JointKey) -> None:
    """Else what one has prepared takes the place of what the other has agreed to use."""
    twin = {name: LocalVoice(name, voice.folder) for name, voice in key.voices.items()}
    assembly = asyncio.run(enter(twin))
    for voice in twin.values():
        voice.dies_at = Deal
    failed(renew_key(assembly, key.header, NAMES, 3, key.header.scope, notes=[]))
    assert "another ceremony makes shares" in str(failed(key.renew(NAMES, 3)))
    for voice in twin.values():
        voice.restart()
    assert asyncio.run(key.renew(NAMES, 3)).epoch == 2


def test_a_host_that_leaves_and_is_silent_does_not_undo_what_the_others_did(
    key: JointKey,
) -> None:
    entered = asyncio.run(enter(key.voices))
    header = asyncio.run(key.renew(NAMES[:4], 3))
    key.voices["sgp1-0"].dies_at = Forget
    (note,) = asyncio.run(authority._dismiss(entered, header))  # noqa: SLF001
    assert "sgp1-0 keeps a share of an old epoch" in note


def test_accomplices_cannot_show_an_authority_of_another_purpose(key: JointKey) -> None:
    def claim(_: Ask, said: AnyAnswer) -> AnyAnswer:
        if not isinstance(said, Greeted) or said.header is None:
            return said
        other = msgspec.structs.replace(said.header, purpose="other", threshold=2, epoch=9)
        return msgspec.structs.replace(said, header=other)

    for name in NAMES[:2]:
        key.voices[name].alters = claim
    state = overview.overview(asyncio.run(enter(key.voices)))
    assert state.header == key.header


def test_a_header_has_a_public_share_of_each_holder(key: JointKey) -> None:
    _, *others = key.header.public_shares.items()
    with pytest.raises(DealingError, match="not those of its holders"):
        shares_in(msgspec.structs.replace(key.header, public_shares=dict(others)))


def test_a_host_that_never_comes_to_the_end_of_its_log_is_left(
    key: JointKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless:
        name = "ams3-0"

        async def ask(self, _: Ask) -> AnyAnswer:
            await asyncio.sleep(0.01)
            entries = log.entries(key.voices["ams3-1"].folder / "log")
            return LogPage(key=bytes(32), total=10**9, entries=entries)

    monkeypatch.setattr(logs, "READ_SECONDS", 0.1)
    found = asyncio.run(collect({**key.voices, "ams3-0": Endless()}, {}, {}))
    assert "shows no whole log within" in found.unread["ams3-0"]
    assert len(found.entries) == 4


def test_a_host_with_a_share_in_the_clear_does_not_say_that_it_is_encrypted(key: JointKey) -> None:
    folder = key.voices["ams3-0"].folder
    (folder / "identity").write_bytes(encode(Sealed(by=TOOL, name="identity", data=b"")))
    assert Store(folder).sealed("nebula") == PLAIN
