"""Other implementations of DIDComm read what E3 writes, and E3 what they write.

Each lives in an environment of its own: their requirements exclude one another, and those of E3.
"""

import asyncio
import json
import subprocess
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from e3.didcomm.keys import base64url, to_jwk
from e3.didcomm.mailbox import opened
from e3.didcomm.messages import Identity, Unpacker, message, pack
from e3.remote.tasks import beside
from tests.commands import ROOT
from tests.elsewhere import built_by_cargo, installed_by_npm, installed_by_uv
from tests.unit.didcomm.test_mediator import served

pytestmark = [pytest.mark.unit, pytest.mark.long]

KIND = "https://example.org/greeting/1.0/hello"
ALICE, BOB = Identity.make(), Identity.make()
SECONDS = 40
Prepare = Callable[[Path], Sequence[str]]
"""Prepares the program of an implementation, in a folder if it likes; returns how to start it."""


def by_python(program: str, *wanted: str) -> Prepare:
    def prepare(folder: Path) -> Sequence[str]:
        python = str(installed_by_uv(folder, *wanted))
        return [python, "-W", "ignore", str(ROOT / "tests/oracles" / program)]

    return prepare


def by_node(program: str) -> Prepare:
    return lambda _: ["node", str(installed_by_npm("didcomm") / program)]


def by_rust(_: Path) -> Sequence[str]:
    return [str(built_by_cargo("didcomm-crate"))]


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """A library, and what it leaves to its callers."""

    prepare: Prepare
    signs: bool = True
    xchacha: bool = True


IMPLEMENTATIONS = {
    "didcomm 0.3.2": Implementation(prepare=by_python("didcomm_0_3.py", "didcomm==0.3.2")),
    "didcomm-messaging 0.1.1": Implementation(
        prepare=by_python("didcomm_messaging_0_1.py", "didcomm-messaging[askar,did-peer]==0.1.1"),
        signs=False,
    ),
    "didcomm-node 0.4.1": Implementation(prepare=by_node("sicpa.mjs")),
    "affinidi-messaging-didcomm 0.15.11": Implementation(prepare=by_rust, xchacha=False),
}


@dataclass(frozen=True)
class Oracle:
    """A library, asked by a process for each order."""

    known: Implementation
    argv: Sequence[str]

    def __call__(self, order: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON of a test
        text = json.dumps(
            {
                "secrets": {**secrets_of(ALICE), **secrets_of(BOB)},
                "documents": {each.did: document_of(each) for each in (ALICE, BOB)},
                **order,
            }
        )
        done = subprocess.run(
            self.argv, input=text, capture_output=True, text=True, timeout=60, check=False
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
        "service": [
            {
                "id": f"{identity.did}#service-{number}",
                "type": "DIDCommMessaging",
                "serviceEndpoint": {
                    "uri": each.uri,
                    "accept": ["didcomm/v2"],
                    "routingKeys": list(each.routing_keys),
                },
            }
            for number, each in enumerate(document.services)
        ],
    }


@pytest.fixture(scope="module", params=list(IMPLEMENTATIONS))
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    known = IMPLEMENTATIONS[request.param]
    return Oracle(known, known.prepare(tmp_path_factory.mktemp("oracle")))


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
    for xchacha in {False, oracle.known.xchacha}:
        packed = oracle({**order, "xchacha": xchacha})["packed"]
        assert read(packed) == (None, {"word": "hello"})


def test_signatures_are_understood_both_ways(oracle: Oracle) -> None:
    if not oracle.known.signs:
        pytest.skip("it leaves a signed message in an encrypted one to its caller")
    order = {"do": "pack", "message": sent(), "to": BOB.did, "from": ALICE.did, "signed": True}
    assert read(oracle(order)["packed"]) == (ALICE.did, {"word": "hello"})
    made = message(KIND, {"word": "hello"}, now=time.time(), to=BOB.did, sender=ALICE.did)
    packed = pack(made, BOB.document, ALICE, signed=True).decode()
    assert oracle({"do": "unpack", "packed": packed})["body"] == {"word": "hello"}


def test_a_party_of_another_library_is_reached_through_e3s_mediator() -> None:
    """It registers, has its library wrap a message to a party of E3, and picks up the answer."""
    program = installed_by_npm("didcomm") / "mediated.mjs"

    async def meet() -> dict[str, Any]:
        async with served() as (mediator, uri), opened(uri) as bob:
            alice = Identity.make([bob.mediation.service])
            order = {
                "own": alice.did,
                "mediator": mediator.identity.did,
                "uri": uri,
                "to": bob.identity.did,
                "type": KIND,
                "body": {"word": "hello"},
                "secrets": secrets_of(alice),
                "documents": {
                    each.did: document_of(each) for each in (alice, bob.identity, mediator.identity)
                },
            }
            process = await asyncio.create_subprocess_exec(
                "node", program, stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
            talking = process.communicate(json.dumps(order).encode())
            async with asyncio.timeout(SECONDS), beside(talking) as talk:
                received = await bob.receive()
                assert (received.sender, received.message.type) == (alice.did, KIND)
                assert bytes(received.message.body) == b'{"word":"hello"}'
                bob.send(alice.did, KIND, {"word": "there"}, thid=received.message.id)
                said, complaint = await talk
            assert process.returncode == 0, complaint.decode()
            answer = dict(json.loads(said))
            assert answer.pop("routing_did") == [mediator.identity.did]
            assert answer.pop("sender") == bob.identity.secret[0]
            assert [each["recipient_did"] for each in answer.pop("dids")] == [alice.did]
            (updated,) = answer.pop("updated")
            assert updated["result"] == "no_change"  # the grant has registered it
            return answer

    assert asyncio.run(meet()) == {"waiting": 1, "answer": {"word": "there"}, "left": 0}
