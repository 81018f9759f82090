'use strict';

const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { Room } = require('./room');

const print = ['node', '-e', 'process.stdout.write(JSON.stringify(process.env))'];

test('exec gives a child what the SDK wrote', async (t) => {
  const room = await Room.start(t);
  const { secrets } = await room.connect('agent');
  const binary = randomBytes(1000);
  await secrets.setSecret({ secretId: 'openai-api-key', data: Buffer.from('sk-wörd') });
  await secrets.setSecret({ secretId: 'db', data: Buffer.from('{"user":"app","password":"p w"}') });
  await secrets.setSecret({ secretId: 'binary', data: binary });

  const manifest = path.join(room.home, 'agent.env');
  fs.writeFileSync(
    manifest,
    `LOG_LEVEL=info
OPENAI_API_KEY=room:secret/openai-api-key
DB_URL="postgres://\${room:secret/db#user}@db"
BINARY="room:secret/binary?encoding=base64"
OPTIONAL="room:secret/none?optional=true"
`,
  );
  const env = JSON.parse(room.run(['exec', '-m', manifest, '--', ...print], room.as('agent')));
  assert.equal(env.LOG_LEVEL, 'info');
  assert.equal(env.OPENAI_API_KEY, 'sk-wörd');
  assert.equal(env.DB_URL, 'postgres://app@db');
  assert.equal(env.BINARY, binary.toString('base64'));
  assert.equal('OPTIONAL' in env, false);
});

test('exec ends with the exit code of the child', async (t) => {
  const room = await Room.start(t);
  const manifest = path.join(room.home, 'agent.env');
  fs.writeFileSync(manifest, 'LOG_LEVEL=info\n');
  assert.throws(() => room.run(['exec', '-m', manifest, '--', 'sh', '-c', 'exit 7'], room.as('agent')), { status: 7 });
});

test('exec does not start a child without what it needs', async (t) => {
  const room = await Room.start(t);
  const manifest = path.join(room.home, 'agent.env');
  fs.writeFileSync(manifest, 'A=room:secret/none\nB=room:secret/nothing\n');
  assert.throws(
    () => room.run(['exec', '-m', manifest, '--', ...print], room.as('agent')),
    (err) => err.status === 125 && err.stdout.length === 0 && /none/.test(err.stderr) && /nothing/.test(err.stderr),
  );
});

test('the SDK reads what `roomenv secret set` wrote', async (t) => {
  const room = await Room.start(t);
  const binary = randomBytes(100_000);
  fs.writeFileSync(path.join(room.home, 'binary'), binary);
  const agent = room.as('agent');
  room.run(['secret', 'set', 'text', '--text', 'hello', '--type', 'text/plain', '--name', 'greeting'], agent);
  room.run(['secret', 'set', 'binary', '--in', 'binary'], agent);
  room.run(['secret', 'set', 'empty', '--text', ''], agent);

  const { secrets } = await room.connect('agent');
  const text = await secrets.getSecret({ secretId: 'text' });
  assert.deepEqual([text.name, text.mimeType, Buffer.from(text.data).toString()], ['greeting', 'text/plain', 'hello']);
  assert.ok(binary.equals((await secrets.getSecret({ secretId: 'binary' })).data));
  assert.equal((await secrets.getSecret({ secretId: 'empty' })).data.length, 0);
});

test('`roomenv secret` reads what the SDK wrote', async (t) => {
  const room = await Room.start(t);
  const { secrets } = await room.connect('agent');
  const binary = randomBytes(4 << 20);
  await secrets.setSecret({ secretId: 'key', type: 'text/plain', name: 'a key', delegatedTo: 'bob', data: binary });
  const agent = room.as('agent');
  assert.ok(binary.equals(room.run(['secret', 'get', 'key', '--delegated-to', 'bob'], agent)));
  assert.deepEqual(JSON.parse(room.run(['secret', 'list', '--json'], agent)), [
    { id: 'key', type: 'text/plain', name: 'a key', delegated_to: 'bob', delegated_by: null },
  ]);
  room.run(['secret', 'delete', 'key', '--delegated-to', 'bob'], agent);
  assert.deepEqual(await secrets.listSecrets(), []);
});
