// Serves until killed; says where and for whom on standard error, as ../README.md tells.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

import { Provider } from 'oidc-provider';

const JWT = 'urn:bench:jwt';
const OPAQUE = 'urn:bench:opaque';
const CLIENTS = 1000;

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const signingKey = { ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'bench' };
const clients = Array.from({ length: CLIENTS }, (_, number) => ({
  client_id: `bench-${number}`,
  client_secret: randomBytes(24).toString('hex'),
  token_endpoint_auth_method: 'client_secret_basic',
  id_token_signed_response_alg: 'ES256',
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
}));

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const address = `127.0.0.1:${server.address().port}`;
  const provider = new Provider(`http://${address}`, {
    clients,
    clientAuthMethods: ['client_secret_basic'],
    jwks: { keys: [signingKey] },
    scopes: ['all'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          scope: 'all',
          audience: resource,
          accessTokenTTL: 3600,
          accessTokenFormat: resource === JWT ? 'jwt' : 'opaque',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  const manifest = new URL('node_modules/oidc-provider/package.json', import.meta.url);
  const { version } = JSON.parse(readFileSync(manifest));
  const form = (resource) => `grant_type=client_credentials&scope=all&resource=${encodeURIComponent(resource)}`;
  const description = {
    name: `node-oidc-provider ${version} on Node.js ${process.versions.node}`,
    clients: clients.map(({ client_id, client_secret }) => ({ client_id, client_secret })),
    // It introspects what it keeps, which are its opaque tokens alone.
    token: { address, path: '/token', form: form(JWT) },
    introspected_token: { address, path: '/token', form: form(OPAQUE) },
    introspection: { address, path: '/token/introspection' },
  };
  process.stderr.write(`peer on ${JSON.stringify(description)}\n`);
});
