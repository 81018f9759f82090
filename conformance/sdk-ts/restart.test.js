'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Room } = require('./room');

test('a client comes back after the server was killed, and finds what it had set', async (t) => {
  const room = await Room.start(t);
  const client = await room.connect('alice');
  await client.secrets.setSecret({ secretId: 'key', data: Buffer.from('v') });

  const reconnected = new Promise((resolve) => client.on('reconnected', resolve));
  await room.restart();
  await reconnected;

  const got = await client.secrets.getSecret({ secretId: 'key' });
  assert.equal(Buffer.from(got.data).toString(), 'v');
});

test('a client comes back after the server was asked to stop', async (t) => {
  const room = await Room.start(t);
  const client = await room.connect('alice');
  const reconnected = new Promise((resolve) => client.on('reconnected', resolve));
  const [code] = await room.kill('SIGTERM');
  assert.equal(code, 0);
  await room.serve(new URL(room.address).host);
  await reconnected;
  assert.deepEqual(await client.secrets.listSecrets(), []);
});
