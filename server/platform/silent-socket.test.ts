import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { eventually } from '@muster/testing/eventually';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { watchedSocket } from './silent-socket.ts';

/** Sockets are looked at once a second. */
const LOOK_MS = 1_000;

describe('a watched socket', () => {
  let server: Server;
  let far: Socket[];
  beforeEach(async () => {
    far = [];
    server = createServer((socket) => far.push(socket.on('error', () => {})));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of far) socket.destroy();
    await closed;
  });
  const opener = (silenceMs: number) => {
    const open = watchedSocket(silenceMs);
    return async () => {
      const target = { host: ['127.0.0.1'], port: [portOf(server)] };
      const socket = open(target).on('error', () => {});
      await new Promise((resolve) => socket.once('connect', resolve));
      return socket;
    };
  };
  /** Resolves when the socket has ended itself, with the milliseconds that took. */
  const endOf = (socket: Socket) => {
    const since = performance.now();
    return new Promise<number>((resolve) => socket.once('close', () => resolve(performance.now() - since)));
  };

  test('that is owed an answer for too long ends, and takes those of its pool with it that were as quiet, no others', async () => {
    const silenceMs = 2 * LOOK_MS;
    const open = opener(silenceMs);
    const [silent, quiet, talks] = [await open(), await open(), await open()];
    const stranger = await opener(silenceMs)();
    await eventually(() => far.length === 4);
    const ends = [endOf(silent), endOf(quiet)];
    silent.write('a question');
    // Heard of since the question, by more than a look: it is alive.
    await elapsed(LOOK_MS + 200);
    far[2]!.write('news');
    talks.resume();
    await eventually(() => talks.bytesRead > 0);
    for (const took of await Promise.all(ends)) expect(took).toBeLessThan(3 * (silenceMs + LOOK_MS));
    expect([talks.destroyed, stranger.destroyed]).toEqual([false, false]);
  });

  test('that is owed nothing, or hears something, stays', async () => {
    const open = opener(1_500);
    const [idle, slow] = [await open(), await opener(1_500)()];
    slow.resume();
    slow.write('a question');
    const drip = setInterval(() => far[1]?.write('.') && slow.write('more'), 200);
    try {
      await expect(Promise.race([endOf(idle), endOf(slow), elapsed(3_200)])).resolves.toBe('nobody');
    } finally {
      clearInterval(drip);
      idle.destroy();
      slow.destroy();
    }
  });

  test('that has gone has no say about others, even where nobody listens to it any more', async () => {
    const open = opener(100);
    const [gone, quiet] = [await open(), await open()];
    gone.write('a question');
    gone.removeAllListeners().destroy();
    await expect(Promise.race([endOf(quiet), elapsed(1_300)])).resolves.toBe('nobody');
    quiet.destroy();
  });
});

const portOf = (server: Server) => (server.address() as AddressInfo).port;
const elapsed = (ms: number) => new Promise((resolve) => setTimeout(() => resolve('nobody'), ms));
