"""Packs or unpacks one message by the library didcomm-messaging 0.1.1 with Askar.

As tests/oracles/didcomm_0_3.py, but it resolves did:peer:2 itself, and does not sign.
"""

import asyncio
import json
import sys

from aries_askar import Key
from didcomm_messaging.crypto.backend.askar import AskarCryptoService, AskarSecretKey
from didcomm_messaging.crypto.backend.basic import InMemorySecretsManager
from didcomm_messaging.packaging import PackagingService
from didcomm_messaging.resolver import PrefixResolver
from didcomm_messaging.resolver.peer import Peer2


async def main() -> None:
    order = json.load(sys.stdin)
    secrets = InMemorySecretsManager()
    for kid, jwk in order["secrets"].items():
        if jwk["crv"] == "X25519":
            await secrets.add_secret(AskarSecretKey(Key.from_jwk(json.dumps(jwk)), kid))
    crypto, service = AskarCryptoService(), PackagingService()
    resolver = PrefixResolver({"did:peer:2": Peer2()})
    if order["do"] == "pack":
        plaintext = json.dumps(order["message"]).encode()
        packed = await service.pack(
            crypto, resolver, secrets, plaintext, [order["to"]], order["from"]
        )
        answer = {"packed": packed.decode()}
    else:
        content, metadata = await service.unpack(crypto, resolver, secrets, order["packed"])
        answer = {"body": json.loads(content)["body"], "sender": metadata.sender_kid}
    json.dump(answer, sys.stdout)


asyncio.run(main())
