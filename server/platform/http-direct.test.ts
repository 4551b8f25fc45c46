import { EventEmitter, once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { parseConfig } from './config.ts';
import type { Asking } from './http-answer.ts';
import { Direct } from './http-direct.ts';
import { countFlights } from './http-drain.ts';
import { listen } from './http-server.ts';
import { createLog } from './log.ts';

/** A server with a short way to two paths, and one word for whoever takes the long one. */
async function serve(respond = async (_: Asking) => {}) {
  const direct = new Direct();
  const short = async (asking: Asking) => {
    await respond(asking);
    return { status: 200, headers: [], body: JSON.stringify(asking.params) };
  };
  for (const [method, path] of [
    ['GET', '/agents/list'],
    ['GET', '/agents/export'],
    ['GET', '/agents/:agent_id'],
    ['POST', '/agents/:agent_id/poll'],
  ] as const)
    direct.add(method, path, path === '/agents/export' ? undefined : short);
  const flights = countFlights({ direct: direct.answer, fetch: () => new Response('long') });
  const server = await listen(parseConfig({ MUSTER_PORT: '0' }), flights, createLog('silent'));
  onTestFinished(() => void server.close().closeAllConnections());
  return { port: (server.address() as AddressInfo).port, flights };
}

/** What comes back over a connection of its own until it ends. */
async function sent(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let heard = '';
  socket
    .on('error', () => {})
    .on('data', (chunk) => {
      heard += chunk;
    });
  socket.write(text);
  await once(socket, 'close');
  return heard;
}

test.each([
  ['GET /agents/list', 'a', '{}'],
  ['GET /agents/agent_1', 'a.b:8000', '{"agent_id":"agent_1"}'],
  ['POST /agents/agent_1/poll', '127.0.0.1', '{"agent_id":"agent_1"}'],
  ['GET /agents/export', 'a', 'long'],
  ['GET /agents/list?limit=1', 'a', 'long'],
  ['GET /agents/l%69st', 'a', 'long'],
  ['GET /agents/../agents/list', 'a', 'long'],
  ['GET /agents//list', 'a', 'long'],
  ['GET /agents/list/', 'a', 'long'],
  ['GET http://a/agents/list', 'a', 'long'],
  ['GET /agents/list', 'A', 'long'],
  ['GET /agents/list', '[::1]:8000', 'long'],
  ['DELETE /agents/list', 'a', 'long'],
  ['GET /constructor', 'a', 'long'],
])('%s for the host %s', async (line, host, body) => {
  const { port } = await serve();
  const answer = await sent(port, `${line} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  expect(answer.slice(answer.indexOf('\r\n\r\n') + 4)).toBe(body);
});

test('a host that is none is refused on either way', async () => {
  const { port } = await serve();
  for (const host of ['a:99999', 'a b', 'a/b', 'user@a'])
    expect(await sent(port, `GET /agents/list HTTP/1.1\r\nHost: ${host}\r\n\r\n`), host).toMatch(/^HTTP\/1.1 400 /);
});

test('who is answered before all was sent is not listened to for long', async () => {
  const { port } = await serve();
  const began = performance.now();
  const answer = await sent(port, 'POST /agents/a/poll HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{');
  expect(answer).toMatch(/^HTTP\/1.1 200 /);
  expect(performance.now() - began).toBeLessThan(5_000);
});

test('an answer on its way is waited for', async () => {
  const work = new EventEmitter();
  const { port, flights } = await serve(async () => {
    work.emit('begun');
    await once(work, 'done');
  });
  const begun = once(work, 'begun');
  const answer = sent(port, 'GET /agents/list HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  await begun;
  let landed = false;
  const waiting = flights.landed().then(() => {
    landed = true;
  });
  await Promise.resolve();
  expect(landed).toBe(false);
  work.emit('done');
  await waiting;
  expect(await answer).toMatch(/^HTTP\/1.1 200 /);
});
