'use strict';

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const { test } = require('node:test');
const { promisify } = require('node:util');
const { Room, roomenv } = require('./room');

const url = 'https://db.example';
const type = 'text/plain';
const id = (client) => client.localParticipant.id;
const text = (bytes) => Buffer.from(bytes).toString();

// once is a promise of the next event; the SDK's emitter is not Node's.
const once = (emitter, name) => new Promise((resolve) => {
  const first = (event) => {
    emitter.off(name, first);
    resolve(event);
  };
  emitter.on(name, first);
});

// inbox returns a handler and next, a promise of each request in turn.
function inbox() {
  const requests = [];
  const waiting = [];
  return {
    secretRequestHandler: (r) => (waiting.length ? waiting.shift()(r) : requests.push(r)),
    next: () => new Promise((resolve) => (requests.length ? resolve(requests.shift()) : waiting.push(resolve))),
  };
}

test('one asks, another provides, once', async (t) => {
  const room = await Room.start(t);
  const { secretRequestHandler, next } = inbox();
  const user = await room.connect('user', { secretRequestHandler });
  const agent = await room.connect('agent');
  const ask = () => agent.secrets.requestSecret({ fromParticipantId: id(user), url, type, timeout: 20 });

  const answer = ask();
  const r = await next();
  assert.deepEqual([r.url, r.type, r.delegateTo], [url, type, null]);
  await user.secrets.provideSecret({ requestId: r.requestId, data: Buffer.from('hünter2') });
  assert.equal(text(await answer), 'hünter2');
  assert.equal(text(await ask()), 'hünter2', 'the user is not asked again');

  const [info] = await user.secrets.listSecrets();
  assert.deepEqual([info.name, info.type, info.delegatedTo], [url, type, 'agent']);
  assert.deepEqual(await agent.secrets.listSecrets(), []);
  await assert.rejects(user.secrets.provideSecret({ requestId: r.requestId, data: Buffer.from('again') }), { code: 1003 });

  await agent.secrets.deleteRequestedSecret({ url, type });
  assert.deepEqual(await user.secrets.listSecrets(), []);
  const again = ask();
  await user.secrets.provideSecret({ requestId: (await next()).requestId, data: Buffer.alloc(0) });
  assert.equal((await again).length, 0, 'no bytes are a value');
});

test('one asks, another rejects, or does nothing', async (t) => {
  const room = await Room.start(t);
  const { secretRequestHandler, next } = inbox();
  const user = await room.connect('user', { secretRequestHandler });
  const agent = await room.connect('agent');

  const answer = agent.secrets.requestSecret({ fromParticipantId: id(user), url, type });
  await user.secrets.rejectSecret({ requestId: (await next()).requestId, error: 'ask somebody else' });
  await assert.rejects(answer, { code: 1008, message: /ask somebody else/ });

  await assert.rejects(agent.secrets.requestSecret({ fromParticipantId: id(user), url, type }), { code: 1008, message: /ask somebody else/ }, 'at once, without the user');
  await assert.rejects(agent.secrets.requestSecret({ fromParticipantId: id(user), url: 'https://other.example', type, timeout: 1 }), { code: 1009 });
  await assert.rejects(agent.secrets.requestSecret({ fromParticipantId: 'nobody', url, type }), { code: 1003 });
  await assert.rejects(agent.secrets.requestSecret({ fromParticipantId: id(user), url, type, delegateTo: 'other' }), { code: 1001 });
  await assert.rejects(agent.secrets.provideSecret({ requestId: (await next()).requestId, data: Buffer.from('x') }), (e) => [1001, 1003].includes(e.code));
  assert.deepEqual(await user.secrets.listSecrets(), []);
});

test('one asks itself, for an agent, on one connection', async (t) => {
  const room = await Room.start(t);
  const { secretRequestHandler, next } = inbox();
  const user = await room.connect('user', { secretRequestHandler });
  const answer = user.secrets.requestSecret({ fromParticipantId: id(user), url, type, delegateTo: 'agent' });
  const r = await next();
  assert.equal(r.delegateTo, 'agent');
  assert.deepEqual(await user.secrets.listSecrets(), [], 'the connection works meanwhile');
  await user.secrets.provideSecret({ requestId: r.requestId, data: Buffer.from('v') });
  assert.equal(text(await answer), 'v');

  const agent = await room.connect('agent');
  assert.equal(text(await agent.secrets.requestSecret({ fromParticipantId: id(user), url, type })), 'v', 'the agent has it');
});

test('a later connection of who was asked answers, and nobody else', async (t) => {
  const room = await Room.start(t);
  const { secretRequestHandler, next } = inbox();
  const user = await room.connect('user', { secretRequestHandler });
  const agent = await room.connect('agent');
  const answer = agent.secrets.requestSecret({ fromParticipantId: id(user), url, type, timeout: 20 });
  const { requestId } = await next();
  user.dispose();

  const data = Buffer.from('v');
  const other = await room.connect('other', { flags: ['--admin'] });
  for (const client of [agent, other]) await assert.rejects(client.secrets.provideSecret({ requestId, data }), { code: 1001 });
  const later = await room.connect('user');
  await later.secrets.provideSecret({ requestId, data });
  assert.equal(text(await answer), 'v');
});

test('the program asks, the SDK provides', async (t) => {
  const room = await Room.start(t);
  const { secretRequestHandler, next } = inbox();
  const user = await room.connect('user', { secretRequestHandler });
  user.messaging.enable();
  const run = promisify(execFile)(roomenv, ['secret', 'request', '--from', 'user', '--url', url, '--type', type, '--timeout', '20s'], {
    cwd: room.home,
    env: room.environment(room.as('agent')),
  });
  await user.secrets.provideSecret({ requestId: (await next()).requestId, data: Buffer.from('v\n') });
  assert.equal((await run).stdout, 'v\n');
});

test('the SDK asks, the program provides', async (t) => {
  const room = await Room.start(t);
  const agent = await room.connect('agent');
  agent.messaging.enable();
  const come = once(agent.messaging, 'participant_added');
  const run = promisify(execFile)(roomenv, ['requests', '--once', '--url', url, '--for', 'agent', '--from-command', 'printf v'], {
    cwd: room.home,
    env: room.environment(room.as('user')),
  });
  await come;
  const user = agent.messaging.getParticipantByName('user');
  assert.equal(text(await agent.secrets.requestSecret({ fromParticipantId: user.id, url, type, timeout: 20 })), 'v');
  await run;
});

test('who is there, and messages', async (t) => {
  const room = await Room.start(t);
  const user = await room.connect('user');
  const enabled = (client) => {
    const done = once(client.messaging, 'messaging_enabled');
    client.messaging.enable();
    return done;
  };
  await enabled(user);
  assert.deepEqual(user.messaging.remoteParticipants, []);

  const agent = await room.connect('agent');
  const added = once(user.messaging, 'participant_added');
  await enabled(agent);
  await added;
  const [to] = agent.messaging.remoteParticipants;
  assert.deepEqual([to.id, to.role, to.getAttribute('name')], [id(user), 'user', 'user']);
  assert.equal(user.messaging.getParticipantByName('agent').id, id(agent));

  const attributes = once(user.messaging, 'participant_attributes_updated');
  await agent.localParticipant.setAttribute('mood', { good: true });
  await attributes;
  assert.deepEqual(user.messaging.getParticipantByName('agent').getAttribute('mood'), { good: true });

  const received = once(user.messaging, 'message');
  await agent.messaging.sendMessage({ to, type: 'chat', message: { text: 'hi' }, attachment: Buffer.from([0, 255]) });
  const { message } = await received;
  assert.deepEqual([message.type, message.message, message.fromParticipantId], ['chat', { text: 'hi' }, id(agent)]);
  assert.ok(Buffer.from([0, 255]).equals(Buffer.from(message.attachment)));

  const broadcast = once(agent.messaging, 'message');
  await user.messaging.broadcastMessage({ type: 'news', message: {} });
  assert.equal((await broadcast).message.type, 'news');

  const removed = once(agent.messaging, 'participant_removed');
  user.messaging.disable();
  await removed;
  await assert.rejects(
    agent.invoke({ toolkit: 'messaging', tool: 'send', input: { to_participant_id: id(user), type: 'chat', message_json: '{}' } }),
    { code: 1003, message: /^the participant was not found$/ },
  );
});
