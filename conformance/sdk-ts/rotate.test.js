'use strict';

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const { test } = require('node:test');
const { Room, roomenv } = require('./room');

// The child says what it has when it starts, and again for each SIGHUP.
const child = `
  const fs = require('node:fs');
  const say = (event) => console.log(JSON.stringify([event, process.env.KEY, fs.readFileSync(process.env.CERT, 'utf8')]));
  process.on('SIGHUP', () => say('hangup'));
  process.on('SIGTERM', () => {
    console.log('["end"]');
    process.exit();
  });
  setInterval(() => {}, 1 << 30);
  say('start');
`;

const manifest = `
version: 1
refresh: {debounce: 20ms}
env:
  KEY: {secret: key}
files:
  tls/cert.pem: {secret: cert, env: CERT, on_change: {signal: HUP}}
`;

// An Exec is a running `roomenv exec` of the child. said returns what the child
// says next, complained the next line of roomenv.
class Exec {
  constructor(test, room, text = manifest) {
    const file = path.join(room.home, 'agent.yaml');
    fs.writeFileSync(file, text);
    const process = spawn(roomenv, ['exec', '-m', file, '--', 'node', '-e', child], {
      env: room.environment(room.as('agent')),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const exit = once(process, 'exit');
    const lines = (input) => readline.createInterface({ input })[Symbol.asyncIterator]();
    const [out, err] = [lines(process.stdout), lines(process.stderr)];
    this.said = async () => JSON.parse((await out.next()).value);
    this.complained = async () => (await err.next()).value;
    this.stop = () => {
      process.kill();
      return exit;
    };
    test.after(this.stop);
  }
}

const secretsOf = (client) => ({
  set: (secretId, text) => client.secrets.setSecret({ secretId, data: Buffer.from(text) }),
  delete: (secretId) => client.secrets.deleteSecret({ secretId }),
});

test('what the SDK sets anew reaches variable and file', async (t) => {
  const room = await Room.start(t);
  const secrets = secretsOf(await room.connect('agent'));
  await secrets.set('key', 'k1');
  await secrets.set('cert', 'c1');
  const exec = new Exec(t, room);
  assert.deepEqual(await exec.said(), ['start', 'k1', 'c1']);

  await secrets.set('cert', 'c2');
  assert.deepEqual(await exec.said(), ['hangup', 'k1', 'c2']);
  await secrets.set('key', 'k2');
  assert.deepEqual(await exec.said(), ['end']);
  assert.deepEqual(await exec.said(), ['start', 'k2', 'c2']);

  // What is deleted is revoked: the command is stopped until the value is available.
  await secrets.delete('key');
  assert.deepEqual(await exec.said(), ['end']);
  assert.match(await exec.complained(), /^roomenv: KEY .*room:secret\/key is revoked.*stopping until the value is available$/);
  await secrets.set('key', 'k3');
  assert.deepEqual(await exec.said(), ['start', 'k3', 'c2']);
  assert.deepEqual(await exec.stop(), [0, null]);
});

test('what a user of the SDK provides late reaches the variable', async (t) => {
  const room = await Room.start(t);
  let asked;
  const request = new Promise((resolve) => (asked = resolve));
  const user = await room.connect('user', { secretRequestHandler: asked });
  user.messaging.enable();
  const exec = new Exec(t, room, `
version: 1
env:
  KEY: {request: {from: user, url: "https://db.example", type: text/plain}, optional: true}
files:
  cert.pem: {value: c1, env: CERT}
`);
  const { requestId } = await request;
  assert.deepEqual(await exec.said(), ['start', null, 'c1']);
  await user.secrets.provideSecret({ requestId, data: Buffer.from('k1') });
  assert.deepEqual(await exec.said(), ['end']);
  assert.deepEqual(await exec.said(), ['start', 'k1', 'c1']);

  // It can be set anew, as the user's secret that it is.
  const [{ id: secretId, type, name, delegatedTo }] = await user.secrets.listSecrets();
  await user.secrets.setSecret({ secretId, type, name, delegatedTo, data: Buffer.from('k2') });
  assert.deepEqual(await exec.said(), ['end']);
  assert.deepEqual(await exec.said(), ['start', 'k2', 'c1']);
});

test('who watches is nothing to the SDK', async (t) => {
  const room = await Room.start(t);
  const [agent, bob] = [await room.connect('agent'), await room.connect('bob')];
  const received = [];
  for (const { _protocolInstance: protocol } of [agent, bob]) {
    // The SDK has no event for all that comes.
    const handle = protocol.handleMessage;
    protocol.handleMessage = function (id, type, data) {
      received.push(type);
      return handle.call(this, id, type, data);
    };
  }
  const secrets = secretsOf(agent);
  await secrets.set('key', 'k1');
  await secrets.set('cert', 'c1');
  const exec = new Exec(t, room);
  await exec.said();
  await secrets.set('cert', 'c2');
  assert.deepEqual(await exec.said(), ['hangup', 'k1', 'c2']); // it was told of the change

  for (const client of [agent, bob]) {
    const toolkit = (await client.listToolkits()).find((k) => k.name === 'secrets');
    assert.ok(toolkit.tools.some((tool) => tool.name === 'watch'));
  }
  assert.deepEqual([...new Set(received)], ['__response__'], 'nothing but answers');
});

test("the SDK's own streaming call opens a watch", async (t) => {
  const room = await Room.start(t);
  const client = await room.connect('agent');
  let end;
  const ended = new Promise((resolve) => (end = resolve));
  const input = (async function* () {
    await ended;
  })();
  const stream = (await client.invokeStream({ toolkit: 'secrets', tool: 'watch', input }))[Symbol.asyncIterator]();
  const next = async () => (await stream.next()).value;

  const secrets = secretsOf(client);
  await secrets.set('key', 'canary');
  await secrets.delete('key');
  const changes = [(await next()).json, (await next()).json];
  assert.deepEqual(
    changes.map(({ id, delegated_to, deleted }) => ({ id, delegated_to, deleted })),
    [
      { id: 'key', delegated_to: null, deleted: false },
      { id: 'key', delegated_to: null, deleted: true },
    ],
  );
  assert.ok(changes[0].revision < changes[1].revision);
  end();
  assert.equal((await next()).method, 'close');
  assert.equal((await stream.next()).done, true);
});
