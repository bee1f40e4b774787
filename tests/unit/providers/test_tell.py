"""A provider's messages are shown at once, and cannot act on a terminal."""

import traceback
from pathlib import Path

import pytest

from e3 import providers
from e3.errors import HostError

pytestmark = pytest.mark.unit

FOUL = "[/x] \x1b]0;owned\x07"
SHOWN = r"[/x] \x1b]0;owned\x07"


def fail(kind: type[Exception]) -> None:
    raise kind(FOUL)


def test_a_line_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    providers.tell(FOUL)
    assert capsys.readouterr().err == f"{SHOWN}\n"


@pytest.mark.parametrize("kind", [HostError, TimeoutError, ValueError])
def test_an_error_that_is_answered(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # its traceback is written there
    try:
        fail(kind)
    except kind:
        said = traceback.format_exc()
    assert SHOWN in said
    assert "\x1b" not in said
