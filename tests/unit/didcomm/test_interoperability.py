"""Two libraries of DIDComm read what E3 writes, and E3 what they write.

Each lives in an environment of its own: their requirements exclude one another, and those of E3.
"""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from e3.didcomm.keys import base64url, to_jwk
from e3.didcomm.messages import Identity, Unpacker, message, pack
from tests.commands import ROOT

pytestmark = [pytest.mark.unit, pytest.mark.long]

KIND = "https://example.org/greeting/1.0/hello"
ALICE, BOB = Identity.make(), Identity.make()
ORACLES = {
    "didcomm_0_3": ["didcomm==0.3.2"],
    "didcomm_messaging_0_1": ["didcomm-messaging[askar,did-peer]==0.1.1"],
}
NEWER = "typing-extensions>=4.12\nattrs>=24\npackaging>=24\n"
"""Instead of the versions that didcomm 0.3.2 asks for, which lack wheels for newer Pythons."""


class Oracle:
    """A library, asked by a process for each order."""

    def __init__(self, name: str, python: Path) -> None:
        self.name = name
        program = ROOT / "tests/oracles" / f"{name}.py"
        self._argv = [str(python), "-W", "ignore", str(program)]

    def __call__(self, order: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON of a test
        known = {
            "secrets": {**secrets_of(ALICE), **secrets_of(BOB)},
            "documents": {each.did: document_of(each) for each in (ALICE, BOB)},
        }
        text = json.dumps({**known, **order})
        done = subprocess.run(
            self._argv, input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)


def secrets_of(identity: Identity) -> dict[str, Any]:
    kid, agreement = identity.secret
    signing = identity.document.authentication[0].id
    return {
        kid: private_jwk(agreement, kid),
        signing: private_jwk(identity.signing, signing),
    }


def private_jwk(key: Any, kid: str) -> dict[str, Any]:  # noqa: ANN401 - one of two kinds of key
    public = msgspec.to_builtins(to_jwk(key.public_key()))
    return {**public, "d": base64url(key.private_bytes_raw()), "kid": kid}


def document_of(identity: Identity) -> dict[str, Any]:
    document = identity.document
    methods = [
        {
            "id": each.id,
            "type": "JsonWebKey2020",
            "controller": identity.did,
            "publicKeyJwk": msgspec.to_builtins(to_jwk(each.key)),
        }
        for each in (*document.agreement, *document.authentication)
    ]
    return {
        "id": identity.did,
        "verificationMethod": methods,
        "keyAgreement": [each.id for each in document.agreement],
        "authentication": [each.id for each in document.authentication],
        "service": [],
    }


@pytest.fixture(scope="module", params=list(ORACLES))
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    folder = tmp_path_factory.mktemp("oracle")
    overrides = folder / "overrides.txt"
    overrides.write_text(NEWER)
    uv = str(ROOT / ".venv/bin/uv")
    python = folder / "venv/bin/python"
    made = [uv, "venv", "--quiet", str(folder / "venv")]
    wanted = ORACLES[request.param]
    install = [uv, "pip", "install", "--quiet", "--python", str(python), "--override"]
    for argv in (made, [*install, str(overrides), *wanted]):
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ)
        )
        if done.returncode:
            pytest.skip(f"{request.param} cannot be installed here: {done.stderr[-300:]}")
    return Oracle(request.param, python)


def read(packed: str) -> tuple[str | None, Any]:
    unpacker = Unpacker(clock=time.time)
    unpacker.add(BOB)
    received = unpacker.unpack(packed.encode())
    return received.sender, json.loads(bytes(received.message.body))


def sent(*, anonymous: bool = False) -> Any:  # noqa: ANN401 - a message as JSON
    made = message(KIND, {"word": "hello"}, now=time.time(), to=BOB.did, sender=ALICE.did)
    if anonymous:
        made = msgspec.structs.replace(made, from_=UNSET)
    return msgspec.to_builtins(msgspec.json.decode(msgspec.json.encode(made)))


def test_it_reads_what_e3_authenticates(oracle: Oracle) -> None:
    made = message(KIND, {"word": "hello"}, now=time.time(), to=BOB.did, sender=ALICE.did)
    answer = oracle({"do": "unpack", "packed": pack(made, BOB.document, ALICE).decode()})
    assert answer == {"body": {"word": "hello"}, "sender": ALICE.secret[0]}


def test_it_reads_what_e3_sends_anonymously(oracle: Oracle) -> None:
    made = message(KIND, {"word": "hello"}, now=time.time(), to=BOB.did)
    answer = oracle({"do": "unpack", "packed": pack(made, BOB.document, None).decode()})
    assert answer == {"body": {"word": "hello"}, "sender": None}


def test_e3_reads_what_it_authenticates(oracle: Oracle) -> None:
    order = {"do": "pack", "message": sent(), "to": BOB.did, "from": ALICE.did}
    assert read(oracle(order)["packed"]) == (ALICE.did, {"word": "hello"})


def test_e3_reads_what_it_sends_anonymously(oracle: Oracle) -> None:
    order = {"do": "pack", "message": sent(anonymous=True), "to": BOB.did, "from": None}
    for xchacha in (False, True):
        packed = oracle({**order, "xchacha": xchacha})["packed"]
        assert read(packed) == (None, {"word": "hello"})


def test_signatures_are_understood_both_ways(oracle: Oracle) -> None:
    if oracle.name != "didcomm_0_3":
        pytest.skip("it leaves signatures to its caller")
    order = {"do": "pack", "message": sent(), "to": BOB.did, "from": ALICE.did, "signed": True}
    assert read(oracle(order)["packed"]) == (ALICE.did, {"word": "hello"})
    made = message(KIND, {"word": "hello"}, now=time.time(), to=BOB.did, sender=ALICE.did)
    packed = pack(made, BOB.document, ALICE, signed=True).decode()
    assert oracle({"do": "unpack", "packed": packed})["body"] == {"word": "hello"}
