"""Links and mediators as users give them: what is none is named, and nothing else happens."""

from pathlib import Path

import pytest

from e3.cli.adhoc import chosen_mediator, is_here
from e3.cli.join import text_of
from e3.errors import ConfigurationError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("url", ["", "ftp://x/", "http://[", "http:///x", "http://x/\x1b[2J"])
def test_what_is_no_url_of_a_mediator_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("E3_MEDIATOR", raising=False)
    with pytest.raises(ConfigurationError, match="is not a URL"):
        chosen_mediator(url)


@pytest.mark.parametrize(
    ("url", "here"), [("http://127.0.0.1:1/", True), ("http://[::1]/", True), ("http://x/", False)]
)
def test_a_mediator_of_this_machine_is_known(url: str, *, here: bool) -> None:
    assert is_here(chosen_mediator(url)) is here


def test_a_link_may_be_in_a_file_and_a_long_text_is_none(tmp_path: Path) -> None:
    (tmp_path / "link.txt").write_text("http://x/#_oob=abc")
    assert text_of("link.txt", str(tmp_path)) == "http://x/#_oob=abc"
    assert text_of("x" * 5000, str(tmp_path)) == "x" * 5000
