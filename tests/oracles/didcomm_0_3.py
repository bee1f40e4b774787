"""Packs or unpacks one message by the library didcomm 0.3.2, in an environment of its own.

An order is read from standard input, the answer written to standard output, both as JSON: see
tests/unit/didcomm/test_interoperability.py.
"""

import asyncio
import json
import sys
from typing import Any

from didcomm.common.algorithms import AnonCryptAlg
from didcomm.common.resolvers import ResolversConfig
from didcomm.common.types import (
    VerificationMaterial,
    VerificationMaterialFormat,
    VerificationMethodType,
)
from didcomm.did_doc.did_doc import DIDDoc
from didcomm.did_doc.did_resolver import DIDResolver
from didcomm.message import Message
from didcomm.pack_encrypted import PackEncryptedConfig, pack_encrypted
from didcomm.secrets.secrets_resolver import Secret, SecretsResolver
from didcomm.unpack import unpack


class Documents(DIDResolver):
    def __init__(self, documents: dict[str, Any]) -> None:
        self.documents = documents

    async def resolve(self, did: str) -> DIDDoc:
        return DIDDoc.deserialize(self.documents[did])


class Secrets(SecretsResolver):
    def __init__(self, secrets: dict[str, Any]) -> None:
        self.secrets = {
            kid: Secret(
                kid,
                VerificationMethodType.JSON_WEB_KEY_2020,
                VerificationMaterial(VerificationMaterialFormat.JWK, json.dumps(jwk)),
            )
            for kid, jwk in secrets.items()
        }

    async def get_key(self, kid: str) -> Secret | None:
        return self.secrets.get(kid)

    async def get_keys(self, kids: list[str]) -> list[str]:
        return [kid for kid in kids if kid in self.secrets]


async def main() -> None:
    order = json.load(sys.stdin)
    resolvers = ResolversConfig(
        secrets_resolver=Secrets(order["secrets"]), did_resolver=Documents(order["documents"])
    )
    if order["do"] == "pack":
        anonymous = AnonCryptAlg.A256CBC_HS512_ECDH_ES_A256KW
        if order.get("xchacha"):
            anonymous = AnonCryptAlg.XC20P_ECDH_ES_A256KW
        packed = await pack_encrypted(
            resolvers,
            Message.from_dict(order["message"]),
            order["to"],
            frm=order["from"],
            sign_frm=order["from"] if order.get("signed") else None,
            pack_config=PackEncryptedConfig(enc_alg_anon=anonymous, forward=False),
        )
        answer = {"packed": packed.packed_msg}
    else:
        found = await unpack(resolvers, order["packed"])
        answer = {"body": found.message.body, "sender": found.metadata.encrypted_from}
    json.dump(answer, sys.stdout)


asyncio.run(main())
