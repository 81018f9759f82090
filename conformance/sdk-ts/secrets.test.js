'use strict';

const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const { test } = require('node:test');
const { Room } = require('./room');

const values = {
  text: Buffer.from('pässword\n'),
  '0 bytes': Buffer.alloc(0),
  '4 MB': randomBytes(4 << 20),
  'not UTF-8': Buffer.from([0x00, 0xff, 0xfe, 0x80, 0x0a]),
  'exactly one packet': Buffer.alloc(1024, 'x'),
};

for (const [name, data] of Object.entries(values)) {
  test(`a value comes back as it was set: ${name}`, async (t) => {
    const { secrets } = await (await Room.start(t)).connect('agent');
    await secrets.setSecret({ secretId: 'key', type: 'text/plain', name: 'a key', data });
    const got = await secrets.getSecret({ secretId: 'key' });
    assert.ok(data.equals(got.data), `${got.data.length} bytes came back of ${data.length}`);
    assert.deepEqual([got.name, got.mimeType], ['a key', 'text/plain']);
  });
}

test('list names all secrets', async (t) => {
  const { secrets } = await (await Room.start(t)).connect('agent');
  assert.deepEqual(await secrets.listSecrets(), []);
  await secrets.setSecret({ secretId: 'one', type: 'text/plain', name: 'first', data: Buffer.from('1') });
  await secrets.setSecret({ secretId: 'two', delegatedTo: 'bob', data: Buffer.from('2') });
  const list = await secrets.listSecrets();
  assert.deepEqual(
    list.sort((a, b) => a.id.localeCompare(b.id)),
    [
      { id: 'one', type: 'text/plain', name: 'first', delegatedTo: null },
      { id: 'two', type: 'application/octet-stream', name: 'two', delegatedTo: 'bob' },
    ],
  );
});

test('a secret is found by type and name', async (t) => {
  const { secrets } = await (await Room.start(t)).connect('agent');
  await secrets.setSecret({ type: 'text/plain', name: 'db', data: Buffer.from('plain') });
  await secrets.setSecret({ type: 'application/json', name: 'db', data: Buffer.from('{}') });
  const got = await secrets.getSecret({ type: 'application/json', name: 'db' });
  assert.equal(Buffer.from(got.data).toString(), '{}');
  const ids = (await secrets.listSecrets()).map((s) => s.id);
  assert.equal(new Set(ids).size, 2, 'each has an id of its own');
});

test('what is missing is null, false and an error', async (t) => {
  const { secrets } = await (await Room.start(t)).connect('agent');
  assert.equal(await secrets.getSecret({ secretId: 'none' }), null);
  assert.equal(await secrets.getSecret({ type: 'text/plain', name: 'none' }), null);
  assert.equal(await secrets.exists({ secretId: 'none' }), false);
  await assert.rejects(secrets.deleteSecret({ secretId: 'none' }), { code: 1003 });
});

test('a second set replaces the value', async (t) => {
  const { secrets } = await (await Room.start(t)).connect('agent');
  for (const value of ['old', 'new']) await secrets.setSecret({ secretId: 'key', data: Buffer.from(value) });
  const got = await secrets.getSecret({ secretId: 'key' });
  assert.equal(Buffer.from(got.data).toString(), 'new');
  assert.equal((await secrets.listSecrets()).length, 1);
});

test('a deleted secret is gone', async (t) => {
  const { secrets } = await (await Room.start(t)).connect('agent');
  await secrets.setSecret({ secretId: 'key', data: Buffer.from('v') });
  assert.equal(await secrets.exists({ secretId: 'key' }), true);
  await secrets.deleteSecret({ secretId: 'key' });
  assert.equal(await secrets.exists({ secretId: 'key' }), false);
  assert.equal(await secrets.getSecret({ secretId: 'key' }), null);
});

test('delegated_to is part of the address', async (t) => {
  const { secrets } = await (await Room.start(t)).connect('agent');
  const key = { secretId: 'key', delegatedTo: 'bob' };
  await secrets.setSecret({ ...key, data: Buffer.from('v') });

  assert.equal(await secrets.getSecret({ secretId: 'key' }), null);
  assert.equal(await secrets.exists({ secretId: 'key' }), false);
  await assert.rejects(secrets.deleteSecret({ secretId: 'key' }), { code: 1003 });

  assert.equal(Buffer.from((await secrets.getSecret(key)).data).toString(), 'v');
  assert.equal(await secrets.exists(key), true);
  await secrets.deleteSecret(key);
  assert.equal(await secrets.exists(key), false);
});

test('requests that overlap get their own answers', async (t) => {
  const { secrets } = await (await Room.start(t)).connect('agent');
  const ids = Array.from({ length: 100 }, (_, i) => `key-${i}`);
  await Promise.all(ids.map((id) => secrets.setSecret({ secretId: id, data: Buffer.from(id) })));
  const got = await Promise.all(ids.map((id) => secrets.getSecret({ secretId: id })));
  assert.deepEqual(got.map((g) => Buffer.from(g.data).toString()), ids);
});

// Clients have no time limits: silence would hang them for ever.
test('what the room does not know is refused', async (t) => {
  const client = await (await Room.start(t)).connect('agent');
  await assert.rejects(client.invoke({ toolkit: 'secrets', tool: 'none', input: {} }), { code: 1003 });
  await assert.rejects(client.invoke({ toolkit: 'none', tool: 'none', input: {} }), { code: 1003 });
  await assert.rejects(client.secrets.getSecret({}), { code: 1002 });
});

test('the secrets toolkit is listed', async (t) => {
  const client = await (await Room.start(t)).connect('agent');
  const toolkit = (await client.listToolkits()).find((k) => k.name === 'secrets');
  const tools = toolkit.tools.map((tool) => tool.name);
  for (const tool of ['list_secrets', 'exists', 'get_secret', 'set_secret', 'delete_secret']) assert.ok(tools.includes(tool), tool);
});
