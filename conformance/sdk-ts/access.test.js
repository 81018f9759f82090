'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Room } = require('./room');

const data = Buffer.from('v');

test('an identity sees its own secrets only', async (t) => {
  const room = await Room.start(t);
  const alice = await room.connect('alice');
  const bob = await room.connect('bob');
  await alice.secrets.setSecret({ secretId: 'key', data });

  assert.equal(await bob.secrets.getSecret({ secretId: 'key' }), null);
  assert.equal(await bob.secrets.exists({ secretId: 'key' }), false);
  assert.deepEqual(await bob.secrets.listSecrets(), []);
  await assert.rejects(bob.secrets.deleteSecret({ secretId: 'key' }), { code: 1003 });
  assert.equal(await alice.secrets.exists({ secretId: 'key' }), true);
});

test('connections of one identity share its secrets', async (t) => {
  const room = await Room.start(t);
  const first = await room.connect('alice');
  const second = await room.connect('alice', { flags: ['--role', 'user'] });
  assert.notEqual(first.localParticipant.id, second.localParticipant.id);
  await first.secrets.setSecret({ secretId: 'key', data });
  assert.equal(await second.secrets.exists({ secretId: 'key' }), true);
});

test('rooms do not share secrets', async (t) => {
  const room = await Room.start(t);
  const demo = await room.connect('alice');
  const other = await room.connect('alice', { room: 'other' });
  await demo.secrets.setSecret({ secretId: 'key', data });
  assert.equal(await other.secrets.exists({ secretId: 'key' }), false);
});

test('a session names its room and participant', async (t) => {
  const client = await (await Room.start(t)).connect('alice');
  assert.equal(client.roomName, 'demo');
  assert.ok(client.sessionId);
  assert.equal(client.localParticipant.getAttribute('name'), 'alice');
});

test('an admin sets secrets for another identity', async (t) => {
  const room = await Room.start(t);
  const admin = await room.connect('admin', { flags: ['--admin'] });
  const agent = await room.connect('agent');
  await admin.secrets.setSecret({ secretId: 'key', forIdentity: 'agent', data });

  assert.equal(await admin.secrets.exists({ secretId: 'key', forIdentity: 'agent' }), true);
  assert.equal(await admin.secrets.exists({ secretId: 'key' }), false);
  assert.ok(data.equals((await agent.secrets.getSecret({ secretId: 'key' })).data));
});

test('nobody else does', async (t) => {
  const room = await Room.start(t);
  const alice = await room.connect('alice');
  const agent = await room.connect('agent');
  await assert.rejects(alice.secrets.setSecret({ secretId: 'key', forIdentity: 'agent', data }), { code: 1001 });
  await assert.rejects(alice.secrets.exists({ secretId: 'key', forIdentity: 'agent' }), { code: 1001 });
  assert.deepEqual(await agent.secrets.listSecrets(), []);
  assert.deepEqual(await alice.secrets.listSecrets(), []);
});

test('a bad token is refused with 403', async (t) => {
  const room = await Room.start(t);
  const foreign = await Room.start(t);
  const good = room.token('alice');
  const [header, claims, signature] = good.split('.');
  const bad = {
    'not a token': 'nonsense',
    'signed by another key': foreign.token('alice'),
    'for another room': room.token('alice', { room: 'other' }),
    'for another identity than signed': [header, Buffer.from(Buffer.from(claims, 'base64url').toString().replace('alice', 'admin')).toString('base64url'), signature].join('.'),
    'without a signature': [Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url'), claims, ''].join('.'),
  };
  for (const [what, token] of Object.entries(bad)) {
    await assert.rejects(room.connect('alice', { token }), /status 403/, what);
  }
  await room.connect('alice', { token: good });
});

test('a token opens the room it names and no other', async (t) => {
  const room = await Room.start(t);
  const token = room.token('alice');
  await assert.rejects(room.connect('alice', { room: 'other', token }), /status 403/);
});

test('a room name that no room can have is refused with 404', async (t) => {
  const room = await Room.start(t);
  await assert.rejects(room.connect('alice', { room: 'No_Room', token: room.token('alice') }), /status 404/);
});

test('a secret is read by whom it was delegated to', async (t) => {
  const room = await Room.start(t);
  const alice = await room.connect('alice');
  const bob = await room.connect('bob');
  const carol = await room.connect('carol');
  const key = { secretId: 'key', delegatedTo: 'bob' };
  await alice.secrets.setSecret({ ...key, data });

  assert.ok(data.equals((await bob.secrets.getSecret(key)).data));
  assert.equal(await bob.secrets.exists(key), true);
  assert.equal(await carol.secrets.getSecret(key), null);
  await assert.rejects(bob.secrets.deleteSecret(key), { code: 1003 });

  await carol.secrets.setSecret({ ...key, data });
  await assert.rejects(bob.secrets.getSecret(key), { code: 1005 });
});
