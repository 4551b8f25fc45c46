import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunContext } from '../handler.ts';
import { isPublicAddress, publicLookup } from './egress.ts';
import { httpExecutor } from './http.ts';

const open = httpExecutor({ allow_private: true });
const closed = httpExecutor({});
const context = (input_data: unknown, signal = new AbortController().signal): RunContext =>
  ({ input_data, signal, log() {}, progress() {}, checkpoint() {} }) as unknown as RunContext;
// biome-ignore lint/suspicious/noExplicitAny: a result is whatever the executor reports.
const get = async (input: unknown, signal?: AbortSignal): Promise<any> => open(context(input, signal));
// biome-ignore lint/suspicious/noExplicitAny: an error carries what a TaskError does.
const failure = async (executor: typeof open, input: unknown, signal?: AbortSignal): Promise<any> => {
  try {
    return expect.fail(`it returned ${JSON.stringify(await executor(context(input, signal)))}`);
  } catch (error) {
    return error;
  }
};

let one: Server;
let other: Server;
const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

function serve(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://x');
  if (url.pathname === '/to')
    return void response
      .writeHead(Number(url.searchParams.get('status') ?? 302), { location: url.searchParams.get('url') ?? '' })
      .end();
  if (url.pathname === '/loop') return void response.writeHead(302, { location: '/loop' }).end();
  if (url.pathname === '/big') return void response.end('x'.repeat(1_100_000));
  if (url.pathname === '/hang') return;
  if (url.pathname === '/teapot') return void response.writeHead(418).end('short and stout');
  let body = '';
  request.on('data', (chunk) => (body += chunk));
  request.on('end', () => response.end(JSON.stringify({ method: request.method, headers: request.headers, body })));
}

beforeAll(async () => {
  [one, other] = [createServer(serve), createServer(serve)];
  for (const server of [one, other]) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  for (const server of [one, other]) server.closeAllConnections();
  for (const server of [one, other]) server.close();
});

describe('egress', () => {
  test.each([
    'http://127.0.0.1/',
    'http://127.1/',
    'http://2130706433/',
    'http://0x7f.0.0.1/',
    'http://0177.0.0.1/',
    'http://0/',
    'http://10.1.2.3/',
    'http://172.16.0.1/',
    'http://172.31.255.255/',
    'http://192.168.1.1/',
    'http://100.64.0.1/',
    'http://169.254.169.254/latest/meta-data/',
    'http://198.18.0.1/',
    'http://224.0.0.1/',
    'http://255.255.255.255/',
    'http://[::1]/',
    'http://[::]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:7f00:1]/',
    'http://[64:ff9b::a9fe:a9fe]/',
    'http://[2002:7f00:1::]/',
    'http://[2001::1]/',
    'http://[fc00::1]/',
    'http://[fd00:ec2::254]/',
    'http://[fe80::1]/',
    'http://[ff02::1]/',
    'http://[::127.0.0.1]/',
    'http://localhost/',
    'http://127。0。0。1/',
    'file:///etc/passwd',
    'ftp://example.com/',
    'gopher://example.com/',
  ])('refuses %s', async (url) => {
    expect(await failure(closed, { url })).toMatchObject({ code: 'egress-denied', fault: 'task', retryable: false });
  });

  test.each([
    '8.8.8.8',
    '172.32.0.1',
    '100.128.0.1',
    '2606:4700::1111',
    '::ffff:8.8.8.8',
    '64:ff9b::808:808',
    '2002:808:808::1',
  ])('lets %s be reached', (address) => expect(isPublicAddress(address)).toBe(true));

  test('a name is refused if it has a private address', async () => {
    const error = await new Promise((resolve) => publicLookup('localhost', { all: true }, resolve));
    expect(error).toMatchObject({ code: 'egress-denied' });
  });
});

describe('http', () => {
  test('sends what it is told and shows the answer', async () => {
    const result = await get({ method: 'POST', url: urlOf(one), headers: { 'X-One': '1' }, body: { a: 1 } });
    expect(result).toMatchObject({ status: 200, duration_ms: expect.any(Number) });
    const echoed = JSON.parse(result.body);
    expect(echoed).toMatchObject({ method: 'POST', body: '{"a":1}' });
    expect(echoed.headers).toMatchObject({ 'x-one': '1', 'content-type': 'application/json' });
  });

  test('a status of 400 or more is an answer', async () => {
    expect(await get({ url: `${urlOf(one)}/teapot` })).toMatchObject({ status: 418, body: 'short and stout' });
  });

  test('follows redirects, leaving secrets behind at another origin', async () => {
    const headers = { Authorization: 'Bearer x', cookie: 'a=b', 'x-api-key': 'k', 'x-keep': 'y' };
    const within = await get({ url: `${urlOf(one)}/to?url=/`, headers });
    expect(JSON.parse(within.body).headers).toMatchObject({ authorization: 'Bearer x', cookie: 'a=b' });
    const away = JSON.parse((await get({ url: `${urlOf(one)}/to?url=${urlOf(other)}/`, headers })).body).headers;
    expect(away).toMatchObject({ 'x-keep': 'y' });
    for (const secret of ['authorization', 'cookie', 'x-api-key']) expect(away).not.toHaveProperty(secret);
  });

  test.each([
    [302, 'GET', ''],
    [303, 'GET', ''],
    [307, 'POST', 'data'],
    [308, 'POST', 'data'],
  ])('a POST redirected by %i goes on as %s', async (status, method, body) => {
    const result = await get({ method: 'POST', url: `${urlOf(one)}/to?status=${status}&url=/`, body: 'data' });
    expect(JSON.parse(result.body)).toMatchObject({ method, body });
  });

  test.each([
    ['/loop', 'too-many-redirects'],
    ['/big', 'response-too-large'],
    ['/to?url=file:///etc/passwd', 'egress-denied'],
  ])('%s fails as %s', async (path, code) => {
    expect(await failure(open, { url: urlOf(one) + path })).toMatchObject({ code, fault: 'task', retryable: false });
  });

  test('gives up in time, and when the run is aborted', async () => {
    const url = `${urlOf(one)}/hang`;
    expect(await failure(open, { url, timeout_seconds: 0.2 })).toMatchObject({ code: 'http-timeout' });
    const abort = new AbortController();
    const aborted = failure(open, { url }, abort.signal);
    abort.abort(new Error('stop'));
    expect(await aborted).toMatchObject({ message: 'stop' });
  });

  test.each([
    [{}],
    [{ url: 'not a url' }],
    [{ url: 'http://x/', method: 'CONNECT' }],
    [{ url: 'http://x/', headers: { Host: 'y' } }],
    [{ url: 'http://x/', headers: { a: 'b\r\nc: d' } }],
    [{ url: 'http://x/', proxy: 'z' }],
  ])('refuses %j', async (input) => {
    expect(await failure(open, input)).toMatchObject({ code: 'invalid-input', fault: 'task', retryable: false });
  });
});
