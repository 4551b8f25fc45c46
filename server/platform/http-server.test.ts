import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { parseConfig } from './config.ts';
import type { Handler } from './http-drain.ts';
import { HTTP_LIMITS, type HttpLimits } from './http-limits.ts';
import { listen, urlOf } from './http-server.ts';
import { createLog } from './log.ts';
import { SECURITY_HEADERS } from './security-headers.ts';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** What the application saw. */
interface Seen {
  method: string;
  url: string;
  body: string;
}

/** A server with an application that tells what it saw, takes bodies, and waits where it is told to. */
async function serve(limits: Partial<HttpLimits> = {}, fetch?: Handler['fetch']) {
  const seen: Seen[] = [];
  const config = parseConfig({ MUSTER_PORT: '0' });
  const app: Handler['fetch'] = async (request, env) => {
    const path = new URL(request.url).pathname;
    if (path === '/broken') throw new Error('select secret_hash from api_keys');
    const body = await request.text().catch(() => 'cut off');
    seen.push({ method: request.method, url: request.url, body });
    if (path === '/wait') await pause(1_000);
    if (path === '/large') return new Response('x'.repeat(30_000_000));
    return Response.json({ from: env.incoming.socket.remoteAddress, body });
  };
  const server = await listen(config, { fetch: fetch ?? app }, createLog('silent'), { ...HTTP_LIMITS, ...limits });
  servers.push(server);
  const { port } = server.address() as AddressInfo;
  return { server, seen, port, url: urlOf(config, server) };
}

/** A connection that keeps all it is sent. */
class Line {
  readonly socket: Socket;
  text = '';
  readonly closed: Promise<void>;
  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.setEncoding('latin1');
    this.socket.on('data', (chunk: string) => {
      this.text += chunk;
    });
    this.socket.on('error', () => {});
    this.closed = once(this.socket, 'close').then(() => {});
  }

  /** Sends this and waits until the other side has ended the connection. */
  async last(text: string): Promise<Answer> {
    this.socket.write(text, 'latin1');
    await this.closed;
    return answers(this.text)[0]!;
  }
}

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** All the answers in what came over a connection. */
function answers(text: string): Answer[] {
  const found: Answer[] = [];
  for (let rest = text; rest !== ''; ) {
    const end = rest.indexOf('\r\n\r\n');
    const [status, ...lines] = rest.slice(0, end).split('\r\n');
    const headers = Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    );
    const length = Number(headers['content-length'] ?? 0);
    found.push({ status: Number(status!.split(' ')[1]), headers, body: rest.slice(end + 4, end + 4 + length) });
    rest = rest.slice(end + 4 + length);
  }
  return found;
}

/** It is a problem document with all it should have, and says nothing of our insides. */
function expectProblem({ status, headers, body }: Answer, code: string) {
  expect(headers).toMatchObject({
    ...SECURITY_HEADERS,
    'content-type': 'application/problem+json',
    connection: 'close',
  });
  const problem = JSON.parse(body);
  expect(problem).toMatchObject({ code, status, type: `https://muster.dev/problems/${code}` });
  expect(problem.request_id).toBe(headers['x-request-id']);
  expect(body).not.toMatch(/\.ts\b|\.js\b|node:|\bat \w|select|HPE_/);
  return problem;
}

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: a\r\n';
const header = (length: number) => `X-Long: ${'x'.repeat(length)}\r\n`;

describe('is refused as a problem, and the connection ends', () => {
  test.each<[what: string, sent: string, code: string]>([
    ['no HTTP at all', 'hello\r\n\r\n', 'malformed-request'],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'malformed-request'],
    ['HTTP of another age', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'malformed-request'],
    ['an unknown method', 'STEAL / HTTP/1.1\r\nHost: a\r\n\r\n', 'malformed-request'],
    ['a header name with a blank', `${GET}X Y: z\r\n\r\n`, 'malformed-request'],
    ['a blank before the colon', `${POST}Content-Length : 5\r\n\r\nhello`, 'malformed-request'],
    ['a folded header', `${GET}X-A: b\r\n c\r\n\r\n`, 'malformed-request'],
    ['a NUL in a header', `${GET}X-A: b\0c\r\n\r\n`, 'malformed-request'],
    ['a bare CR in a header', `${GET}X-A: b\rX-B: c\r\n\r\n`, 'malformed-request'],
    [
      'Content-Length and Transfer-Encoding',
      `${POST}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG`,
      'malformed-request',
    ],
    [
      'Transfer-Encoding and Content-Length',
      `${POST}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG`,
      'malformed-request',
    ],
    ['two Content-Lengths', `${POST}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, 'malformed-request'],
    ['a negative Content-Length', `${POST}Content-Length: -1\r\n\r\n`, 'malformed-request'],
    ['a Content-Length of letters', `${POST}Content-Length: 0x5\r\n\r\nhello`, 'malformed-request'],
    ['a Content-Length that overflows', `${POST}Content-Length: 99999999999999999999\r\n\r\n`, 'malformed-request'],
    ['chunked twice over', `${POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 'malformed-request'],
    ['an obscured chunked', `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 'malformed-request'],
    ['a chunk size of letters', `${POST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, 'malformed-request'],
    [
      'a chunk longer than it says',
      `${POST}Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n`,
      'malformed-request',
    ],
    [
      'endless chunk extensions',
      `${POST}Transfer-Encoding: chunked\r\n\r\n2;${'x'.repeat(20_000)}\r\nab\r\n0\r\n\r\n`,
      'payload-too-large',
    ],
    ['packed chunks', `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n`, 'malformed-request'],
    [
      'chunks of an age that has none',
      'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n',
      'malformed-request',
    ],
    ['a target with a user', 'GET http://me@a/ HTTP/1.1\r\nHost: a\r\n\r\n', 'malformed-request'],
    ['HTTP of 1991', 'GET /\r\n\r\n', 'malformed-request'],
    ['an age of its own', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 'malformed-request'],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 'malformed-request'],
    ['two hosts', `${GET}Host: b\r\n\r\n`, 'malformed-request'],
    ['a host that is none', 'GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n', 'malformed-request'],
    ['a host with a user', 'GET / HTTP/1.1\r\nHost: me@a\r\n\r\n', 'malformed-request'],
    ['two credentials', `${GET}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n`, 'malformed-request'],
    ['two keys', `${GET}X-API-Key: a\r\nx-api-key: b\r\n\r\n`, 'malformed-request'],
    ['two proofs', `${GET}DPoP: a\r\nDPOP: b\r\n\r\n`, 'malformed-request'],
    ['an absolute target that is no URL', 'GET http://[a HTTP/1.1\r\nHost: a\r\n\r\n', 'malformed-request'],
    ['a target of another scheme', 'GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n', 'malformed-request'],
    ['a backslash in the path', 'GET /\\..\\etc HTTP/1.1\r\nHost: a\r\n\r\n', 'malformed-request'],
    ['OPTIONS *', 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', 'malformed-request'],
    ['CONNECT', 'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n', 'malformed-request'],
    ['an expectation nobody knows', `${POST}Expect: the-moon\r\nContent-Length: 2\r\n\r\nab`, 'malformed-request'],
    ['a URL over 8 KiB', `GET /${'x'.repeat(8_192)} HTTP/1.1\r\nHost: a\r\n\r\n`, 'uri-too-long'],
    ['a URL over 16 KiB', `GET /${'x'.repeat(17_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 'uri-too-long'],
    ['a URL of 100 kB', `GET /${'x'.repeat(100_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 'uri-too-long'],
    ['a header over 16 KiB', `${GET}${header(16_384)}\r\n`, 'headers-too-large'],
    ['headers over 16 KiB together', `${GET}${header(4_000).repeat(5)}\r\n`, 'headers-too-large'],
    ['a header of 1 MB', `${GET}${header(1_000_000)}\r\n`, 'headers-too-large'],
    ['101 headers', `${GET}${'X-A: b\r\n'.repeat(100)}\r\n`, 'headers-too-large'],
    ['1,000 headers', `${GET}${'X-A: b\r\n'.repeat(999)}\r\n`, 'headers-too-large'],
    ['what the application throws', 'GET /broken HTTP/1.1\r\nHost: a\r\n\r\n', 'internal'],
  ])('%s', async (_, sent, code) => {
    const { port, seen } = await serve();
    const line = new Line(port);
    expectProblem(await line.last(sent), code);
    expect(answers(line.text)).toHaveLength(1);
    expect(seen).toEqual([]);
  });
});

describe('is served', () => {
  test.each<[what: string, sent: string, seen: Partial<Seen>]>([
    ['a URL of 8 KiB', `GET /${'x'.repeat(8_191)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`, { method: 'GET' }],
    ['100 headers', `${GET}Connection: close\r\n${'X-A: b\r\n'.repeat(98)}\r\n`, { method: 'GET' }],
    ['HTTP/1.0 without a host', 'GET /a HTTP/1.0\r\n\r\n', { url: 'http://127.0.0.1/a' }],
    ['the absolute form', 'GET http://a/b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', { url: 'http://a/b' }],
    [
      'TRACE, as any other method',
      `TRACE /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Secret: canary\r\n\r\n`,
      { method: 'TRACE' },
    ],
    [
      'an upgrade, as what it is without one',
      `${POST}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nabGET /2 HTTP/1.0\r\n\r\n`,
      { body: 'ab' },
    ],
    [
      'an upgrade to HTTP/2, likewise',
      `${GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\nGET /2 HTTP/1.0\r\n\r\n`,
      { method: 'GET' },
    ],
    [
      'a body in chunks',
      `${POST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\nTrailer: x\r\n\r\n`,
      { body: 'ab' },
    ],
  ])('%s', async (_, sent, expected) => {
    const { port, seen } = await serve();
    const { status, body } = await new Line(port).last(sent);
    expect(status).toBe(200);
    expect(body).not.toContain('canary');
    expect(seen[0]).toMatchObject(expected);
  });

  test('the application is told who calls', async () => {
    const { url } = await serve();
    expect(await (await fetch(url)).json()).toMatchObject({ from: '127.0.0.1' });
  });

  test('a body that asks first, with what it was told', async () => {
    const { port, seen } = await serve();
    const line = new Line(port);
    line.socket.write(`${POST}Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
    await once(line.socket, 'data');
    expect(line.text).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    line.socket.write('ab');
    await line.closed;
    expect(seen).toMatchObject([{ body: 'ab' }]);
  });

  test('many requests at once on one connection, in their order', async () => {
    const { port } = await serve();
    const line = new Line(port);
    const bodies = Array.from({ length: 200 }, (_, n) => String(n));
    const requests = bodies.map((body) => `${POST}Content-Length: ${body.length}\r\n\r\n${body}`);
    await line.last(`${requests.join('')}${GET}Connection: close\r\n\r\n`);
    expect(answers(line.text).map(({ body }) => JSON.parse(body).body)).toEqual([...bodies, '']);
  });
});

test('what comes after a good request and is none never passes for its answer', async () => {
  const { port } = await serve();
  const line = new Line(port);
  await line.last('GET /wait HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n');
  expect(line.text).toBe('');
  // Once it has its answer, what follows is told.
  const patient = new Line(port);
  patient.socket.write(`${GET}\r\n`);
  await once(patient.socket, 'data');
  await patient.last('nonsense\r\n\r\n');
  expect(answers(patient.text).map(({ status }) => status)).toEqual([200, 400]);
});

describe('time', () => {
  const QUICK = { headersMs: 300, requestMs: 600, answerMs: 500, checkMs: 50 };

  test('headers that do not come to an end are told so, and so is who says nothing', async () => {
    const { port } = await serve(QUICK);
    const silent = new Line(port);
    const slow = new Line(port);
    const drip = setInterval(() => slow.socket.write('X-A: b\r\n'), 20);
    expectProblem(await slow.last(GET).finally(() => clearInterval(drip)), 'request-timeout');
    expectProblem(await silent.last(''), 'request-timeout');
  });

  test('a body that does not come to an end is told so, however steadily it drips', async () => {
    const { port } = await serve(QUICK);
    const line = new Line(port);
    const drip = setInterval(() => line.socket.write('x'), 20);
    const began = performance.now();
    expectProblem(
      await line.last(`${POST}Content-Length: 1000\r\n\r\n`).finally(() => clearInterval(drip)),
      'request-timeout',
    );
    expect(performance.now() - began).toBeGreaterThan(500);
  });

  test('an answer that takes longer than a request may is waited for', async () => {
    const { url } = await serve({ ...QUICK, requestMs: 300 });
    const began = performance.now();
    const reply = await fetch(`${url}/wait`, { method: 'POST', body: 'a poll' });
    expect(reply.status).toBe(200);
    expect(performance.now() - began).toBeGreaterThan(900);
  });

  test('an answer that nobody reads is thrown away, by us and by the kernel', async () => {
    const { port, server } = await serve(QUICK);
    const line = new Line(port);
    line.socket.pause();
    line.socket.write('GET /large HTTP/1.1\r\nHost: a\r\n\r\n');
    const [socket] = (await once(server, 'connection')) as [Socket];
    const began = performance.now();
    await once(socket, 'close');
    expect(performance.now() - began).toBeGreaterThan(400);
    // What had arrived is still there; what was on its way (megabytes) is not.
    line.socket.resume();
    await line.closed;
    expect(line.text.length).toBeLessThan(1_000_000);
  });

  test('a connection that is kept open without need is closed', async () => {
    const { port } = await serve({ keepAliveMs: 200 });
    const line = new Line(port);
    expect((await line.last(`${GET}\r\n`)).status).toBe(200);
  });
});

test('connections beyond the limit are closed, and those there are go on', async () => {
  const { port } = await serve({ connections: 2 });
  const [one, two] = [new Line(port), new Line(port)];
  await Promise.all([once(one.socket, 'connect'), once(two.socket, 'connect')]);
  await new Line(port).closed;
  expect((await two.last(`${GET}Connection: close\r\n\r\n`)).status).toBe(200);
  expect((await one.last(`${GET}Connection: close\r\n\r\n`)).status).toBe(200);
});

const CROWD = 1_000;
const SOMAXCONN = '/proc/sys/net/core/somaxconn';
const kernelKeeps = existsSync(SOMAXCONN) ? Number(readFileSync(SOMAXCONN, 'utf8')) : 0;
test.runIf(kernelKeeps >= CROWD)('a crowd that comes while the server is busy waits to be taken in', async () => {
  const { port } = await serve();
  const crowd = `
    let there = 0;
    const come = () => { if (++there === ${CROWD}) process.exit(0); };
    for (let n = 0; n < ${CROWD}; n += 1) require('node:net').connect(${port}, '127.0.0.1', come);
    setTimeout(() => process.exit(1), 5_000);`;
  // Meanwhile this process does nothing else.
  expect(spawnSync(process.execPath, ['-e', crowd]).status).toBe(0);
});

test('a caller that is gone before it is refused harms nobody', async () => {
  const { port, url } = await serve();
  for (const sent of [
    'nonsense\r\n\r\n',
    'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n',
    `${POST}Content-Length: 9\r\n\r\nab`,
  ]) {
    const { socket } = new Line(port);
    await once(socket, 'connect');
    socket.write(sent);
    socket.resetAndDestroy();
  }
  expect((await fetch(url)).status).toBe(200);
});
