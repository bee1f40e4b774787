// Reads a credential, a status list and the issuer's JWK as JSON from standard input; writes what
// `jose` makes of the credential, and which places the list has, or the error's code.
import { readFileSync } from 'node:fs';

import { BitstringStatusList } from '@digitalbazaar/vc-bitstring-status-list';
import { decodeProtectedHeader, importJWK, jwtVerify } from 'jose';

const { credential, list, jwk, issuer, places } = JSON.parse(readFileSync(0, 'utf8'));
try {
  const key = await importJWK(jwk, decodeProtectedHeader(credential).alg);
  const options = { issuer, typ: 'vc+jwt', algorithms: ['EdDSA', 'Ed25519'] };
  const { payload } = await jwtVerify(credential, key, options);
  const listKey = await importJWK(jwk, decodeProtectedHeader(list).alg);
  const { payload: status } = await jwtVerify(list, listKey, options);
  const { encodedList } = status.credentialSubject;
  const read = await BitstringStatusList.decode({ encodedList });
  const revoked = places.filter((place) => read.getStatus(place));
  console.log(JSON.stringify({ subject: payload.sub, length: read.length, revoked }));
} catch (error) {
  console.log(JSON.stringify({ error: error.code ?? String(error) }));
}
