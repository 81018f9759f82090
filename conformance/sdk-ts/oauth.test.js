'use strict';

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const { createHash } = require('node:crypto');
const { once } = require('node:events');
const http = require('node:http');
const { test } = require('node:test');
const { promisify } = require('node:util');
const { Room, roomenv } = require('./room');

const redirectUri = 'http://127.0.0.1:1/callback';

// A provider takes any code, if the verifier is that of the challenge which the
// person was given. ../oauth has real ones.
class Provider {
  static async start(test) {
    const provider = new Provider();
    provider.server = http.createServer((request, response) => provider.serve(request, response)).listen(0, '127.0.0.1');
    await once(provider.server, 'listening');
    test.after(() => provider.server.close());
    provider.address = `http://127.0.0.1:${provider.server.address().port}`;
    return provider;
  }

  exchanges = 0;

  async serve(request, response) {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { code, code_verifier } = Object.fromEntries(new URLSearchParams(body));
    const good = createHash('sha256').update(code_verifier ?? '').digest('base64url') === code;
    response.writeHead(good ? 200 : 400, { 'content-type': 'application/json', connection: 'close' });
    response.end(JSON.stringify(good ? { access_token: `access-${++this.exchanges}`, refresh_token: 'r', expires_in: 3600 } : { error: 'invalid_grant' }));
  }

  get oauth() {
    return { client_id: 'client', authorization_endpoint: `${this.address}/auth`, token_endpoint: `${this.address}/token`, scopes: ['read'] };
  }
}

// asked returns handlers and a promise of what they are asked first.
function asked() {
  let resolve;
  const request = new Promise((r) => (resolve = r));
  return { request, oauthTokenRequestHandler: resolve };
}

const id = (client) => client.localParticipant.id;

test('one asks, another authorizes', async (t) => {
  const room = await Room.start(t);
  const provider = await Provider.start(t);
  const { oauth } = provider;
  const { request, ...handlers } = asked();
  const user = await room.connect('user', handlers);
  const agent = await room.connect('agent');
  const ask = () => agent.secrets.requestOAuthToken({ oauth, fromParticipantId: id(user), redirectUri, timeout: 20 });

  assert.equal(await agent.secrets.getOfflineOAuthToken({ oauth, delegatedBy: 'user' }), null);
  const answer = ask();
  const r = await request;
  assert.deepEqual(
    [r.authorizationEndpoint, r.tokenEndpoint, r.scopes, r.clientId],
    [oauth.authorization_endpoint, oauth.token_endpoint, ['read'], 'client'],
  );
  await user.secrets.provideOAuthAuthorization({ requestId: r.requestId, code: r.challenge });
  assert.equal(await answer, 'access-1');

  assert.equal(await ask(), 'access-1', 'asked once');
  assert.equal(await agent.secrets.getOfflineOAuthToken({ oauth, delegatedBy: 'user' }), 'access-1');
  assert.equal(await user.secrets.getOfflineOAuthToken({ oauth, delegatedTo: 'agent' }), 'access-1');
  assert.equal(await user.secrets.getOfflineOAuthToken({ oauth }), null);

  const [info] = await user.secrets.listSecrets();
  assert.deepEqual([info.type, info.delegatedTo], ['application/vnd.meshagent.oauth+json', 'agent']);
  const stored = JSON.parse(Buffer.from((await user.secrets.getSecret({ secretId: info.id, delegatedTo: 'agent' })).data));
  assert.deepEqual([stored.access_token, stored.refresh_token, stored.scopes], ['access-1', 'r', ['read']]);
  assert.ok(Math.abs(new Date(stored.expiration) - Date.now() - 3600e3) < 60e3);
  await user.secrets.deleteSecret({ secretId: info.id, delegatedTo: 'agent' });
  assert.equal(await agent.secrets.getOfflineOAuthToken({ oauth, delegatedBy: 'user' }), null);
});

// This is how a user connects a service for an agent.
test('one connection asks itself', async (t) => {
  const room = await Room.start(t);
  const { oauth } = await Provider.start(t);
  let user;
  user = await room.connect('user', {
    oauthTokenRequestHandler: ({ requestId, challenge }) => user.secrets.provideOAuthAuthorization({ requestId, code: challenge }),
  });
  const token = await user.secrets.requestOAuthToken({ oauth, fromParticipantId: id(user), redirectUri, delegateTo: 'agent', timeout: 20 });
  assert.equal(token, 'access-1');
  const agent = await room.connect('agent');
  assert.equal(await agent.secrets.getOfflineOAuthToken({ oauth, delegatedBy: 'user' }), 'access-1');
});

// The page that was asked leaves for the provider; the one that the provider
// sends back to is another connection.
test('the answer comes from a later connection', async (t) => {
  const room = await Room.start(t);
  const { oauth } = await Provider.start(t);
  const { request, ...handlers } = asked();
  const page = await room.connect('user', handlers);
  const agent = await room.connect('agent');
  const answer = agent.secrets.requestOAuthToken({ oauth, fromParticipantId: id(page), redirectUri, timeout: 20 });
  const { requestId, challenge } = await request;
  page.dispose();
  const stranger = await room.connect('stranger');
  await assert.rejects(stranger.secrets.provideOAuthAuthorization({ requestId, code: challenge }), { code: 1001 });
  const later = await room.connect('user');
  await later.secrets.provideOAuthAuthorization({ requestId, code: challenge });
  assert.equal(await answer, 'access-1');
  await assert.rejects(later.secrets.provideOAuthAuthorization({ requestId, code: challenge }), { code: 1003 });
});

test('what goes wrong is told to both', async (t) => {
  const room = await Room.start(t);
  const { oauth } = await Provider.start(t);
  const answers = {};
  let user;
  user = await room.connect('user', {
    oauthTokenRequestHandler: ({ requestId, clientId }) => answers[clientId]?.(requestId),
  });
  const agent = await room.connect('agent');
  const ask = (client_id, timeout = 20) =>
    agent.secrets.requestOAuthToken({ oauth: { ...oauth, client_id }, fromParticipantId: id(user), redirectUri, timeout });

  answers.rejected = (requestId) => user.secrets.rejectOAuthAuthorization({ requestId, error: 'not today' });
  await assert.rejects(ask('rejected'), { code: 1008, message: 'not today' });

  let provided;
  answers.wrong = (requestId) => {
    provided = assert.rejects(user.secrets.provideOAuthAuthorization({ requestId, code: 'wrong' }), { code: 1008, message: /invalid_grant/ });
    return provided;
  };
  await assert.rejects(ask('wrong'), { code: 1008, message: /invalid_grant/ });
  await provided;

  await assert.rejects(ask('silent', 1), { code: 1009 });
  await assert.rejects(
    agent.secrets.requestOAuthToken({ oauth, fromParticipantId: 'nobody', redirectUri, timeout: 1 }),
    { code: 1003 },
  );
  assert.deepEqual(await user.secrets.listSecrets(), []);
});

test('a credential outlives the server', async (t) => {
  const room = await Room.start(t);
  const { oauth } = await Provider.start(t);
  let user;
  user = await room.connect('user', {
    oauthTokenRequestHandler: ({ requestId, challenge }) => user.secrets.provideOAuthAuthorization({ requestId, code: challenge }),
  });
  await user.secrets.requestOAuthToken({ oauth, fromParticipantId: id(user), redirectUri, timeout: 20 });
  await room.restart();
  const again = await room.connect('user');
  assert.equal(await again.secrets.getOfflineOAuthToken({ oauth }), 'access-1');
});

// start is a command of the program under test, as somebody in the room.
function start(room, identity, args) {
  const options = { cwd: room.home, env: room.environment(room.as(identity)) };
  return promisify(execFile)(roomenv, args, options);
}

// seen is the id of somebody who enabled messaging, or does so now.
function seen(client, name) {
  return new Promise((resolve) => {
    const look = () => {
      const participant = client.messaging.getParticipantByName(name);
      if (participant) resolve(participant.id);
    };
    client.messaging.on('messaging_enabled', look);
    client.messaging.on('participant_added', look);
    client.messaging.enable();
  });
}

test('the program asks, the SDK authorizes', async (t) => {
  const room = await Room.start(t);
  const { oauth } = await Provider.start(t);
  let user;
  user = await room.connect('user', {
    oauthTokenRequestHandler: ({ requestId, challenge, scopes }) => {
      assert.deepEqual(scopes, ['read']);
      return user.secrets.provideOAuthAuthorization({ requestId, code: challenge });
    },
  });
  user.messaging.enable();
  const client = ['--client-id', 'client', '--authorization-endpoint', oauth.authorization_endpoint, '--token-endpoint', oauth.token_endpoint, '--scopes', 'read'];
  const asked = await start(room, 'agent', ['oauth', 'request', 'it', '--from', 'user', '--redirect-uri', redirectUri, ...client]);
  assert.equal(asked.stdout.trim(), 'access-1');
  const looked = await start(room, 'agent', ['oauth', 'token', 'it', '--delegated-by', 'user', ...client]);
  assert.equal(looked.stdout.trim(), 'access-1');
  assert.equal(await user.secrets.getOfflineOAuthToken({ oauth, delegatedTo: 'agent' }), 'access-1');
});

test('the SDK asks, the program authorizes', async (t) => {
  const room = await Room.start(t);
  const { oauth } = await Provider.start(t);
  const agent = await room.connect('agent');
  const shown = start(room, 'user', ['requests', '--json', '--once']);
  const answer = agent.secrets.requestOAuthToken({ oauth, fromParticipantId: await seen(agent, 'user'), redirectUri, timeout: 20 });
  const request = JSON.parse((await shown).stdout);
  assert.deepEqual([request.kind, request.from, request.stored_for, request.client_id, request.scopes, request.redirect_uri],
    ['oauth', 'agent', 'agent', 'client', ['read'], redirectUri]);
  await start(room, 'user', ['requests', 'answer', request.id, '--code', request.code_challenge]);
  assert.equal(await answer, 'access-1');
});
