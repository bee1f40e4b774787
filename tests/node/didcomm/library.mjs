// What didcomm-node asks of its caller: the documents and secrets of an order.
export const resolversOf = ({ documents, secrets }) => [
  { resolve: async (did) => documents[did] ?? null },
  {
    get_secret: async (id) =>
      secrets[id] ? { id, type: 'JsonWebKey2020', privateKeyJwk: secrets[id] } : null,
    find_secrets: async (ids) => ids.filter((id) => id in secrets),
  },
];
