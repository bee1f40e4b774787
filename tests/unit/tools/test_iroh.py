"""What e3-iroh makes of settings and keys that are nonsense."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from e3.overlays.iroh import Iroh
from tests.overlays import skip_without_programs
from tests.stack import ROOT

PROGRAM = ROOT / ".tools/bin/e3-iroh"
ID = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # of RFC 8032, 7.1
PEER = {"name": "b-0", "id": ID, "address": "127.79.0.2", "addresses": [], "dials": True}
RELAY = {
    "name": "a-0",
    "host": "a-0.relay.internal",
    "addresses": ["198.18.0.2"],
    "port": 3340,
    "discovery": 7842,
    "certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
}
SETTINGS: Mapping[str, object] = {
    "address": "127.79.0.1",
    "port": 4433,
    "ports": [11365],
    "relay": None,
    "relays": [],
    "peers": [],
}
WRONG: Mapping[str, tuple[object, str]] = {
    "no JSON": ("{", "EOF while parsing"),
    "an unknown key": ({**SETTINGS, "colour": "red"}, "unknown field `colour`"),
    "a missing key": ({"address": "127.79.0.1"}, "missing field `port`"),
    "an address of others": (
        {**SETTINGS, "address": "198.18.0.2"},
        "address: 198.18.0.2 is no loopback address",
    ),
    "an address twice": (
        {**SETTINGS, "peers": [PEER, {**PEER, "name": "b-1"}]},
        "b-1: 127.79.0.2 is another's address, too",
    ),
    "no endpoint ID": ({**SETTINGS, "peers": [{**PEER, "id": "x"}]}, "settings.json"),
    "no port": ({**SETTINGS, "port": 70_000}, "expected u16"),
    "a relay without a certificate": (
        {**SETTINGS, "relays": [{**RELAY, "certificate": "PEM"}]},
        "relay a-0: no certificate",
    ),
    "a relay at no address": ({**SETTINGS, "relays": [{**RELAY, "host": "a b"}]}, "relay a-0"),
    "too much": ({**SETTINGS, "peers": [PEER] * 40_000}, "has more than 4194304 bytes"),
}


@pytest.fixture(autouse=True)
def program() -> None:
    skip_without_programs("iroh", Iroh())


def run(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PROGRAM, *words], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("what", WRONG)
def test_wrong_settings_are_refused_and_named(what: str, tmp_path: Path) -> None:
    settings, said = WRONG[what]
    text = settings if isinstance(settings, str) else json.dumps(settings)
    (tmp_path / "settings.json").write_text(text)
    done = run("serve", tmp_path, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"e3-iroh: {tmp_path}/settings.json: ")
    assert said in done.stderr
    assert len(done.stderr) < 1_000


def test_a_key_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    key = tmp_path / "secrets/key"
    made = run("key", key)
    assert len(made.stdout.strip()) == 64
    assert run("key", key).stdout == made.stdout
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in key.parent.iterdir()] == ["key"]


def test_a_file_that_is_no_key_stays_as_it_is(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"short")
    done = run("key", key)
    assert done.returncode == 1
    assert f"{key}: no Ed25519 key of 32 bytes" in done.stderr
    assert key.read_bytes() == b"short"


def test_a_certificate_is_made_once(tmp_path: Path) -> None:
    made = run("certificate", tmp_path / "secrets", "a-0.relay.internal")
    assert made.stdout.startswith("-----BEGIN CERTIFICATE-----\n")
    assert run("certificate", tmp_path / "secrets", "a-0.relay.internal").stdout == made.stdout
    for path in (tmp_path / "secrets").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("words", [(), ("serve",), ("dance", "x"), ("paths", "/nowhere")])
def test_what_it_cannot_do_is_said(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("e3-iroh: ")
    assert "panicked" not in done.stderr
