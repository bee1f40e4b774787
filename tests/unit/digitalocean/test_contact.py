"""What a droplet says of its image."""

import json

import pytest

from e3.digitalocean.contact import Image, read_image

DESCRIPTION = {
    "contract": 1,
    "python": "/opt/e3/bin/python3",
    "tools": "/opt/e3/bin",
    "system": "x86_64-linux",
    "services": "systemd",
    "overlays": ["nebula"],
}


def test_an_image_describes_itself_or_not_at_all() -> None:
    known = read_image("ams3-0", json.dumps({**DESCRIPTION, "more": 1}).encode())
    assert isinstance(known, Image)
    assert (known.python, known.overlays) == ("/opt/e3/bin/python3", ["nebula"])
    assert read_image("ams3-0", b"null\n") is None


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"contract": 2}, id="another-contract"),
        pytest.param({"python": "/opt/py\nProxyCommand x"}, id="a-second-line"),
        pytest.param({"python": "/opt/py thon"}, id="two-words"),
        pytest.param({"tools": None}, id="no-path"),
        pytest.param({"services": "runit"}, id="unknown-supervisor"),
        pytest.param({"overlays": "nebula"}, id="no-list"),
    ],
)
def test_a_wrong_description_is_a_sentence(wrong: dict[str, object]) -> None:
    said = read_image("ams3-0", json.dumps({**DESCRIPTION, **wrong}).encode())
    assert isinstance(said, str)
    assert "image.json on host ams3-0 is not what docs/images.md says" in said


@pytest.mark.parametrize("answer", [b"", b"{", b"\xff", b"[" * 100_000, b"[]"])
def test_no_description_at_all_is_a_sentence(answer: bytes) -> None:
    assert "on host ams3-0" in str(read_image("ams3-0", answer))
