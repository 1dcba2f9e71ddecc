// The Node client of the matrix: see PROTOCOL.md.
'use strict';

const grpc = require('@grpc/grpc-js');
const xds = require('@grpc/grpc-js-xds');
const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');
const { Tally } = require('./tally');

const DEFAULTS = {
  creds: 'insecure', authority: '', n: 1, concurrency: 1, rps: 100, method: '/mesh.Echo/Call', metadata: {}, timeout: 10,
  wait: false, header: '',
};
// After the last channel is closed. grpc-js-xds takes the end of the stream that goes with it for that of the next one, if
// that has been opened meanwhile; and does not open it again when it really ends.
const STREAM_END_MS = 200;
const asIs = (bytes) => bytes;

// A channel and the load on it, if there is one.
class Channel {
  constructor(target, creds, authority) {
    const plain = grpc.credentials.createInsecure();
    const options = authority ? { 'grpc.default_authority': authority } : {};
    this.client = new grpc.Client(target, creds === 'xds' ? new xds.XdsChannelCredentials(plain) : plain, options);
    this.load = null;
  }

  // Makes a call and counts it.
  one(asked, into) {
    const began = performance.now();
    const metadata = new grpc.Metadata({ waitForReady: asked.wait });
    Object.entries(asked.metadata).forEach(([key, value]) => metadata.set(key, value));
    const deadline = Date.now() + asked.timeout * 1000;
    return new Promise((resolve) => {
      let headers = [];
      const done = (error, body) => {
        into.add(error ? grpc.status[error.code] : 'OK', body, error?.details, performance.now() - began, headers);
        resolve();
      };
      const call = this.client.makeUnaryRequest(asked.method, asIs, asIs, Buffer.alloc(0), metadata, { deadline }, done);
      if (asked.header) call.on('metadata', (received) => { headers = received.get(asked.header); });
    });
  }

  // Makes n calls, so many at a time.
  async calls(asked) {
    const into = new Tally();
    let left = asked.n;
    const work = async () => {
      while (left-- > 0) await this.one(asked, into);
    };
    await Promise.all(Array.from({ length: asked.concurrency }, work));
    return into.take();
  }

  // Begins a steady load: each call at its time, whatever became of the ones before.
  startLoad(asked) {
    if (this.load) throw new Error('there is a load already');
    const begun = { tally: new Tally(), underWay: new Set(), made: 0, began: performance.now() };
    const tick = () => {
      const due = ((performance.now() - begun.began) / 1000) * asked.rps;
      for (; begun.made < due; begun.made++) {
        const call = this.one(asked, begun.tally).finally(() => begun.underWay.delete(call));
        begun.underWay.add(call);
      }
    };
    begun.timer = setInterval(tick, Math.max(1, 1000 / asked.rps));
    this.load = begun;
    return {};
  }

  // Tells what became of the load since it was last asked.
  loaded() {
    if (!this.load) throw new Error('there is no load');
    return this.load.tally.take();
  }

  // Ends the load and waits for what is under way.
  async unload() {
    const ending = this.load;
    if (!ending) throw new Error('there is no load');
    this.load = null;
    clearInterval(ending.timer);
    await Promise.all(ending.underWay);
    return ending.tally.take();
  }
}

const channels = new Map();

// Does what a line asks for and returns the answer.
async function carryOut(line) {
  const asked = { ...DEFAULTS, ...line };
  if (asked.op === 'open') {
    channels.set(asked.channel, new Channel(asked.target, asked.creds, asked.authority));
    return {};
  }
  const on = channels.get(asked.channel);
  if (!on) throw new Error(`no channel ${asked.channel}`);
  switch (asked.op) {
    case 'call': return on.calls(asked);
    case 'load': return on.startLoad(asked);
    case 'loaded': return on.loaded();
    case 'unload': return on.unload();
    case 'close':
      channels.delete(asked.channel);
      on.client.close();
      await sleep(STREAM_END_MS);
      return {};
    default: throw new Error(`no op ${asked.op}`);
  }
}

async function main() {
  xds.register();
  for await (const text of readline.createInterface({ input: process.stdin })) {
    const line = JSON.parse(text);
    carryOut(line).catch((error) => ({ error: String(error) })).then((answer) => {
      process.stdout.write(`${JSON.stringify({ id: line.id, ...answer })}\n`);
    });
  }
  process.exit(0);
}

main();
