"""Credentials as a user asks for them."""

import asyncio
from pathlib import Path

import pytest

from e3.ceremonies import credentials
from e3.cli.__main__ import command_line
from e3.errors import AuthorityError

pytestmark = pytest.mark.unit

DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


@pytest.mark.parametrize(("claims", "seconds"), [({"id": "me"}, 60), ({"role": "auditor"}, 0)])
def test_what_no_credential_can_say_is_an_error_of_the_user(
    tmp_path: Path, claims: dict[str, str], seconds: int
) -> None:
    given = {"joint": {"folder": str(tmp_path)}}
    with pytest.raises(AuthorityError, match="no such credential can be issued"):
        asyncio.run(credentials.issue(given, "dev", DID, claims, seconds))


@pytest.mark.parametrize("hours", ["nan", "inf", "0", "-1", "soon"])
def test_hours_must_be_some(hours: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["authority", "issue", "--to", DID, "--claim", "role=auditor", "--hours", hours]
    with pytest.raises(SystemExit):
        command_line(words).parse_args(words)
    assert "must be hours" in capsys.readouterr().err
