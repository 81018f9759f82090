// A strict OpenID provider that nobody here wrote: it wants PKCE, replaces
// refresh tokens, and takes the whole family of one that is used twice for
// stolen. The access tokens of the client "jwt" are JWTs that live for as many
// seconds as its argument says; the others are opaque. It prints its address, and
// ends when its standard input does.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const redirects = ['http://127.0.0.1/callback']; // any port (RFC 8252 section 7.3)
const common = { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], application_type: 'native', redirect_uris: redirects };

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      { ...common, client_id: 'public', token_endpoint_auth_method: 'none' },
      { ...common, client_id: 'jwt', token_endpoint_auth_method: 'none' },
      { ...common, client_id: 'confidential', client_secret: 'client-secret' },
    ],
    features: {
      devInteractions: { enabled: true },
      registration: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx, client) => (client.clientId === 'jwt' ? `${issuer}/api` : undefined),
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: 'profile', accessTokenFormat: 'jwt', accessTokenTTL: Number(process.argv[2]), jwt: { sign: { alg: 'RS256' } } }),
      },
    },
    pkce: { required: () => true },
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    ttl: { RefreshToken: 3600, Grant: 3600, Session: 3600, Interaction: 3600 },
    findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    cookies: { keys: ['test'] },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
process.stdin.resume().on('end', () => process.exit());
