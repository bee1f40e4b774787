// A party by didcomm-node at a mediator: it registers (coordinate-mediation 3.0), sends a message
// to another party through it (routing 2.0, wrapped by the library), and fetches the answer
// (messagepickup 3.0). The order has its DID, the mediator's DID and URI, and the message.
import { readFileSync } from 'node:fs';
import { setTimeout as after } from 'node:timers/promises';

import didcomm from 'didcomm-node';

import { resolversOf } from './library.mjs';

const COORDINATE = 'https://didcomm.org/coordinate-mediation/3.0';
const PICKUP = 'https://didcomm.org/messagepickup/3.0';
const POLLS = 100;

const order = JSON.parse(readFileSync(0, 'utf8'));
const { own, mediator, uri } = order;
const resolvers = resolversOf(order);

async function unpacked(text) {
  const [message, metadata] = await didcomm.Message.unpack(text, ...resolvers, {});
  return { ...message.as_value(), sender: metadata.encrypted_from_kid };
}

async function post(packed) {
  const headers = { 'content-type': 'application/didcomm-encrypted+json' };
  const answer = await fetch(uri, { method: 'POST', headers, body: packed });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status} ${text}`);
  return text;
}

async function packed(to, type, body, forward) {
  const message = new didcomm.Message({
    id: crypto.randomUUID(),
    typ: 'application/didcomm-plain+json',
    type,
    body,
    from: own,
    to: [to],
    created_time: Math.floor(Date.now() / 1000),
    return_route: 'all',
  });
  const [text] = await message.pack_encrypted(to, own, null, ...resolvers, { forward });
  return text;
}

async function ask(type, body = {}) {
  return unpacked(await post(await packed(mediator, type, body, false)));
}

const granted = await ask(`${COORDINATE}/mediate-request`);
const updates = [{ recipient_did: own, action: 'add' }];
const updated = await ask(`${COORDINATE}/recipient-update`, { updates });
const listed = await ask(`${COORDINATE}/recipient-query`);
await post(await packed(order.to, order.type, order.body, true));

let status = await ask(`${PICKUP}/status-request`);
for (let poll = 0; poll < POLLS && status.body.message_count === 0; poll += 1) {
  await after(100);
  status = await ask(`${PICKUP}/status-request`);
}
const delivery = await ask(`${PICKUP}/delivery-request`, { limit: 10 });
const [attachment] = delivery.attachments;
const answer = await unpacked(Buffer.from(attachment.data.base64, 'base64url').toString());
const left = await ask(`${PICKUP}/messages-received`, { message_id_list: [attachment.id] });

console.log(
  JSON.stringify({
    routing_did: granted.body.routing_did,
    updated: updated.body.updated,
    dids: listed.body.dids,
    waiting: status.body.message_count,
    answer: answer.body,
    sender: answer.sender,
    left: left.body.message_count,
  }),
);
