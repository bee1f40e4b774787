// Packs or unpacks one message by didcomm-node, which is the Rust crate didcomm of SICPA as
// WebAssembly. An order is read from standard input, the answer written to standard output, both as
// JSON: see tests/unit/didcomm/test_interoperability.py.
import { readFileSync } from 'node:fs';

import didcomm from 'didcomm-node';

import { resolversOf } from './library.mjs';

const order = JSON.parse(readFileSync(0, 'utf8'));
const resolvers = resolversOf(order);
if (order.do === 'pack') {
  const anonymous = order.xchacha ? 'Xc20pEcdhEsA256kw' : 'A256cbcHs512EcdhEsA256kw';
  const signer = order.signed ? order.from : null;
  const [packed] = await new didcomm.Message(order.message).pack_encrypted(
    order.to,
    order.from,
    signer,
    ...resolvers,
    { enc_alg_anon: anonymous, forward: false },
  );
  console.log(JSON.stringify({ packed }));
} else {
  const [message, metadata] = await didcomm.Message.unpack(order.packed, ...resolvers, {});
  const { body } = message.as_value();
  console.log(JSON.stringify({ body, sender: metadata.encrypted_from_kid ?? null }));
}
