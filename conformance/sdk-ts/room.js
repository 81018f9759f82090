'use strict';

// A roomenv room for one test: `roomenv room serve` on a folder of its own, and
// connections of the official SDK to it.

const { execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');

// The package's ESM build does not load.
const { RoomClient, WebSocketClientProtocol } = require('@meshagent/meshagent');

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'roomenv-ts-'));
process.on('exit', () => fs.rmSync(scratch, { recursive: true }));

// The program under test: $ROOMENV, else this tree's.
const roomenv = process.env.ROOMENV || build();

function build() {
  const binary = path.join(scratch, 'roomenv');
  execFileSync('go', ['build', '-o', binary, './cmd/roomenv'], { cwd: path.join(__dirname, '../..'), stdio: 'inherit' });
  return binary;
}

class Room {
  // start returns a room that ends with the test.
  static async start(test) {
    const room = new Room(fs.mkdtempSync(path.join(scratch, 'room-')));
    test.after(() => room.stop());
    await room.serve();
    return room;
  }

  constructor(home) {
    this.home = home;
    this.data = path.join(home, 'data');
    this.clients = [];
  }

  async serve(listen = '127.0.0.1:0') {
    this.server = spawn(roomenv, ['room', 'serve', '--listen', listen, '--data', this.data], {
      env: this.environment(),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = readline.createInterface({ input: this.server.stdout });
    for await (const line of lines) {
      this.address = line.match(/^listening (http:\/\/.+)$/)?.[1];
      if (this.address) return;
      throw new Error(`room serve began with ${JSON.stringify(line)}`);
    }
    throw new Error('room serve ended before it listened');
  }

  async kill(signal = 'SIGKILL') {
    const exit = once(this.server, 'exit');
    this.server.kill(signal);
    return exit;
  }

  // restart kills the server as a crash would and serves the same data at the
  // same address.
  async restart() {
    await this.kill();
    await this.serve(new URL(this.address).host);
  }

  async stop() {
    for (const client of this.clients) client.dispose();
    if (this.server && this.server.exitCode === null && this.server.signalCode === null) await this.kill();
  }

  // run returns what a roomenv command prints; it throws when it fails.
  run(args, env = {}) {
    return execFileSync(roomenv, args, {
      cwd: this.home,
      env: this.environment(env),
      maxBuffer: 32 << 20,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  // as is the environment of a process that takes part in a room.
  as(identity, room = 'demo') {
    return { MESHAGENT_ROOM: room, MESHAGENT_TOKEN: this.token(identity, { room }), MESHAGENT_ROOM_URL: this.address };
  }

  // environment holds nothing of the one who runs the tests.
  environment(more = {}) {
    return { PATH: process.env.PATH, HOME: this.home, ...more };
  }

  token(identity, { room = 'demo', flags = [] } = {}) {
    return this.run(['room', 'token', '--data', this.data, '--room', room, '--identity', identity, ...flags])
      .toString()
      .trim();
  }

  // connect returns the SDK's client, ready. Handlers are what it does when it
  // is asked.
  async connect(identity, { room = 'demo', flags = [], token = this.token(identity, { room, flags }), ...handlers } = {}) {
    const url = `${this.address.replace('http:', 'ws:')}/rooms/${room}`;
    const client = new RoomClient({
      protocolFactory: () => survivor(new WebSocketClientProtocol({ url, token })),
      ...handlers,
    });
    this.clients.push(client);
    client.ready.catch(() => {}); // start rejects too
    await client.start();
    return client;
  }
}

// survivor keeps the SDK from ending the process when an upgrade is refused:
// start rejects with the status, but the SDK has taken its listener off the
// socket when the socket reports its end.
function survivor(protocol) {
  const { channel } = protocol;
  const dispose = channel.dispose;
  channel.dispose = function () {
    this.webSocket?.on('error', () => {});
    dispose.call(this);
  };
  return protocol;
}

module.exports = { Room, roomenv };
