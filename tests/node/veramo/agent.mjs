// An agent of Veramo at a mediator, whose DID and URI are the arguments: registers, writes its own
// DID as JSON, waits for a line on standard input, and writes the message that it picks up then.
import { createInterface } from 'node:readline';

import { createAgent } from '@veramo/core';
import {
  createDeliveryRequestMessage,
  createRecipientUpdateMessage,
  createV3MediateRequestMessage,
  DIDComm,
  UpdateAction,
} from '@veramo/did-comm';
import { DIDManager, MemoryDIDStore } from '@veramo/did-manager';
import { getResolver, PeerDIDProvider } from '@veramo/did-provider-peer';
import { DIDResolverPlugin } from '@veramo/did-resolver';
import { KeyManager, MemoryKeyStore, MemoryPrivateKeyStore } from '@veramo/key-manager';
import { KeyManagementSystem } from '@veramo/kms-local';
import { Resolver } from 'did-resolver';

const [mediator, uri, routingKey] = process.argv.slice(2);
const kms = { local: new KeyManagementSystem(new MemoryPrivateKeyStore()) };
const agent = createAgent({
  plugins: [
    new KeyManager({ store: new MemoryKeyStore(), kms }),
    new DIDManager({
      providers: { 'did:peer': new PeerDIDProvider({ defaultKms: 'local' }) },
      store: new MemoryDIDStore(),
      defaultProvider: 'did:peer',
    }),
    new DIDResolverPlugin({ resolver: new Resolver(getResolver()) }),
    new DIDComm([]),
  ],
});
const service = {
  id: '#service',
  type: 'DIDCommMessaging',
  serviceEndpoint: { uri, accept: ['didcomm/v2'], routingKeys: [routingKey] },
};
const { did } = await agent.didManagerCreate({ options: { num_algo: 2, service } });

async function ask(message) {
  const options = { enc: 'A256CBC-HS512', alg: 'ECDH-1PU+A256KW' };
  const packed = await agent.packDIDCommMessage({ packing: 'authcrypt', message, options });
  const answer = await fetch(uri, {
    method: 'POST',
    headers: { 'Content-Type': 'application/didcomm-encrypted+json' },
    body: packed.message,
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${message.type}: ${answer.status} ${text}`);
  return (await agent.unpackDIDCommMessage({ message: text })).message;
}

const granted = await ask(createV3MediateRequestMessage(did, mediator));
const updates = [{ recipient_did: did, action: UpdateAction.ADD }];
const updated = await ask(createRecipientUpdateMessage(did, mediator, updates));
console.log(JSON.stringify({ did, granted: granted.type, updated: updated.type }));

for await (const _ of createInterface({ input: process.stdin })) {
  const delivery = await ask(createDeliveryRequestMessage(did, mediator));
  const [{ data }] = delivery.attachments;
  const message = Buffer.from(data.base64, 'base64url').toString();
  const unpacked = await agent.unpackDIDCommMessage({ message });
  const { type, body, from } = unpacked.message;
  console.log(JSON.stringify({ type, body, from, packing: unpacked.metaData.packing }));
  break;
}
