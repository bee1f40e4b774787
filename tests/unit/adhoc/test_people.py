"""The user's identity and the names of others, in files that only the user can read."""

import stat
from pathlib import Path

import pytest

from e3.adhoc.people import People, web_document, words
from e3.didcomm.did import document, public_key
from e3.didcomm.errors import DidcommError

pytestmark = pytest.mark.unit

ALICE = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
BOB = "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"


def test_an_identity_is_made_once_and_stays(tmp_path: Path) -> None:
    people = People(tmp_path / "e3")
    me = people.self(name="Alice")
    again = people.self()
    assert (again.did, again.name) == (me.did, "Alice")
    assert public_key(me.did) == me.key.public_key()
    assert people.self(name="Alicia").did == me.did


def test_only_the_user_can_read_it(tmp_path: Path) -> None:
    people = People(tmp_path / "e3")
    people.self()
    people.remember(ALICE, "Alice")
    for path in (tmp_path / "e3", *(tmp_path / "e3").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_domains_document_lists_the_key(tmp_path: Path) -> None:
    me = People(tmp_path).self(did="did:web:example.org")
    published = document(me.did, web_document(me, me.did))
    assert published.authentication[0].key == me.key.public_key()


def test_a_name_is_of_one_did(tmp_path: Path) -> None:
    people = People(tmp_path)
    people.remember(ALICE, "Alice")
    with pytest.raises(DidcommError, match="already somebody else"):
        people.remember(BOB, "alice")
    assert people.forget("Alice") == ALICE
    people.remember(BOB, "alice")
    assert people.known() == {BOB: "alice"}


@pytest.mark.parametrize("name", ["", "a" * 65, "al\x1b[31mice"])
def test_a_name_is_printable_and_short(tmp_path: Path, name: str) -> None:
    with pytest.raises(DidcommError, match="printable"):
        People(tmp_path).remember(ALICE, name)


@pytest.mark.parametrize("file", ["identity.json", "known.json"])
def test_a_damaged_file_is_named(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("{")
    people = People(tmp_path)
    with pytest.raises(DidcommError, match=file):
        (people.self if file == "identity.json" else people.known)()


def test_words_tell_dids_apart() -> None:
    assert len(words(ALICE).split()) == 8
    assert words(ALICE) != words(BOB)
