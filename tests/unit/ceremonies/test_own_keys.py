"""Certificates of hosts that hold a share are for the key that such a host says is its own."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from nacl.public import PrivateKey

from e3.authority.joint.messages import Ask, Draw
from e3.authority.joint.requests.fields import verify
from e3.ceremonies.verdicts import CeremonyVerdict
from tests.ceremonies import JointKey, failed, scope_of

pytestmark = pytest.mark.unit

NAMES = ("ams3-0", "ams3-1", "sgp1-0")
BANNER = "NEBULA X25519 PUBLIC KEY"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where every host has its public key: in a process it is the same one for all."""
    return tmp_path / "host.pub"


@pytest.fixture
def own(file: Path) -> bytes:
    key = bytes(PrivateKey.generate().public_key)
    text = msgspec.json.encode(key).decode().strip('"')
    file.write_text(f"-----BEGIN {BANNER}-----\n{text}\n-----END {BANNER}-----\n")
    return key


@pytest.fixture
def key(tmp_path: Path, file: Path) -> JointKey:
    """A key of three holders, any two of whom sign, for them and for a member that holds none."""
    scope = msgspec.structs.replace(scope_of((*NAMES, "nyc3-0")), key_file=str(file))
    return asyncio.run(JointKey.made(tmp_path / "holders", NAMES, 2, scope))


def test_the_key_that_a_host_made_is_certified(key: JointKey, own: bytes) -> None:
    """Also that of a host which is not among those who sign."""
    request = key.host_request("sgp1-0", public_key=own)
    made = asyncio.run(key.sign(request))
    assert made.signers == ["ams3-0", "ams3-1"]
    public = key.header.public_key
    verify(public, request.to_be_signed(public), made.signatures[0])  # type: ignore[arg-type]


def test_another_key_is_not(key: JointKey, own: bytes) -> None:
    assert own
    other = bytes(PrivateKey.generate().public_key)
    error = failed(key.sign(key.host_request("sgp1-0", public_key=other)))
    assert error.verdict is CeremonyVerdict.REFUSED
    assert f"(key): {other.hex()} is not the key that sgp1-0 says to have" in str(error)


def test_a_host_that_has_no_key_yet_gets_no_certificate(key: JointKey) -> None:
    error = failed(key.sign(key.host_request("sgp1-0")))
    assert "(key): sgp1-0 has not said which key is its own" in str(error)


@pytest.mark.parametrize("text", ["", "x", "\n\n", "\u00fc" * 5000])
def test_a_file_that_has_something_else_is_no_key(key: JointKey, file: Path, text: str) -> None:
    file.write_text(text)
    assert "has not said" in str(failed(key.sign(key.host_request("sgp1-0"))))


@pytest.mark.parametrize("passed", ["another's", "nothing"])
def test_a_coordinator_cannot_say_it_for_a_host(key: JointKey, own: bytes, passed: str) -> None:
    heard: list[Draw] = []

    def listen(asked: Ask) -> Ask:
        if isinstance(asked, Draw):
            heard.append(asked)
        return asked

    key.voices["ams3-0"].hears = listen
    asyncio.run(key.sign(key.host_request("ams3-0", public_key=own)))
    hellos = {3: heard[0].hellos[1]} if passed == "another's" else {}

    def swap(asked: Ask) -> Ask:
        return msgspec.structs.replace(asked, hellos=hellos) if isinstance(asked, Draw) else asked

    for voice in key.voices.values():
        voice.hears = swap
    error = failed(key.sign(key.host_request("sgp1-0", public_key=own)))
    assert "sgp1-0 has not said" in str(error)


def test_a_member_that_holds_no_share_is_certified_as_asked(key: JointKey) -> None:
    asyncio.run(key.sign(key.host_request("nyc3-0")))
