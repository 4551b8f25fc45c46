import { once } from 'node:events';
import { connect } from 'node:net';
import { createTask } from '@muster/shared/contract/tasks';
import { startCoordinator } from '@muster/testing';
import { expect, test } from 'vitest';
import { checkProblem } from './fixtures/checked-client.ts';
import { supervise } from './fixtures/network.ts';

/** The key of RFC 8037, appendix A. */
const PRINTED_KEY = JSON.stringify({
  kty: 'OKP',
  crv: 'Ed25519',
  d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A',
  x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
});

test.each<[what: string, env: Record<string, string>, reason: RegExp, secret?: string]>([
  ['others could listen in', { MUSTER_HOST: '0.0.0.0' }, /MUSTER_HOST: "0\.0\.0\.0" is not allowed without TLS/],
  [
    'the admin key is an example',
    { MUSTER_ADMIN_KEY: 'changeme-changeme-changeme' },
    /MUSTER_ADMIN_KEY: .*example/,
    'changeme-',
  ],
  ['everybody has the signing key', { MUSTER_SIGNING_KEY: PRINTED_KEY }, /MUSTER_SIGNING_KEY: .*RFC 8037/, 'nWGxne'],
  [
    'the public URL has a user',
    { MUSTER_PUBLIC_URL: 'https://me:hidden@muster.test' },
    /MUSTER_PUBLIC_URL: .*URL/,
    'hidden',
  ],
  ['a switch is neither on nor off', { MUSTER_BEHIND_PROXY: 'maybe' }, /MUSTER_BEHIND_PROXY: "maybe".*true or false/],
])('nothing is started where %s', async (_, env, reason, secret) => {
  const failed = supervise().coordinator({ env: { DATABASE_URL: '', ...env } });
  const { message } = await failed.then(
    () => new Error('it started'),
    (error: Error) => error,
  );
  expect(message).toMatch(reason);
  expect(message).not.toMatch(/\n\s+at /);
  if (secret) expect(message).not.toContain(secret);
});

test('an answer is the same however the path is written', async () => {
  await using coordinator = await startCoordinator();
  const key = { authorization: `Bearer ${coordinator.adminKey}` };
  const json = { ...key, 'content-type': 'application/json', 'x-request-id': 'mine' };
  const asked: [path: string, init: RequestInit][] = [
    ['/livez', {}],
    ['/aitp/tasks', {}],
    ['/aitp/tasks', { headers: { 'x-api-key': 'mk_wrong' } }],
    ['/aitp/tasks', { headers: key }],
    ['/aitp/runs/export', { headers: key }],
    ['/aitp/tasks/task_x', { headers: key }],
    ['/aitp/tasks/task_01j00000000000000000000000', { headers: key }],
    ['/aitp/tasks', { headers: json, method: 'POST', body: '{' }],
    ['/aitp/tasks', { headers: json, method: 'POST', body: '{"task_type":"","priority":11,"more":1}' }],
    ['/aitp/tasks', { headers: json, method: 'POST', body: 'x'.repeat(2_000_000) }],
    ['/aitp/tasks/schedule/validate', { headers: json, method: 'POST', body: '{"cron_expression":"0 0 1 1 *"}' }],
  ];
  for (const [path, init] of asked) {
    const [usual, unusual] = await Promise.all(
      [path, path.replace(/[a-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`)].map(async (written) => {
        const reply = await fetch(`${coordinator.url}${written}`, init);
        const { date: _, 'x-request-id': id, ...headers } = Object.fromEntries(reply.headers);
        return { status: reply.status, headers, body: (await reply.text()).replaceAll(id!, 'its id') };
      }),
    );
    expect(unusual, path).toEqual(usual);
  }
});

test('whatever the answer is, a browser is told to make nothing of it', async () => {
  await using coordinator = await startCoordinator({ env: { MUSTER_PUBLIC_URL: 'https://muster.test' } });
  const key = { authorization: `Bearer ${coordinator.adminKey}` };
  const json = { ...key, 'content-type': 'application/json' };
  const kinds: [path: string, init: RequestInit, status: number][] = [
    ['/livez', {}, 200],
    ['/readyz', {}, 200],
    ['/openapi.json', {}, 200],
    ['/.well-known/jwks.json', {}, 200],
    ['/docs', {}, 200],
    ['/docs/swagger-ui-bundle.js', {}, 200],
    ['/docs/nothing', {}, 404],
    ['/nothing', {}, 404],
    ['/aitp/tasks', {}, 401],
    ['/aitp/tasks', { headers: key }, 200],
    ['/aitp/tasks', { headers: key, method: 'DELETE' }, 405],
    ['/aitp/tasks/task_x', { headers: key }, 400],
    ['/aitp/tasks', { headers: json, method: 'POST', body: '{' }, 400],
    ['/aitp/tasks', { headers: json, method: 'POST', body: '{}' }, 422],
    ['/aitp/tasks', { headers: key, method: 'POST', body: 'x=1' }, 415],
    ['/aitp/tasks', { headers: json, method: 'POST', body: 'x'.repeat(2_000_000) }, 413],
    ['/aitp/tasks', { headers: json, method: 'POST', body: '{"task_type":"work","input_data":1}' }, 201],
    [`/${'x'.repeat(9_000)}`, {}, 414],
    ['/livez', { headers: { 'x-long': 'x'.repeat(20_000) } }, 431],
  ];
  for (const [path, init, status] of kinds) {
    const reply = await fetch(`${coordinator.url}${path}`, init);
    const about = `${init.method ?? 'GET'} ${path.slice(0, 40)}`;
    expect(reply.status, about).toBe(status);
    expect(Object.fromEntries(reply.headers), about).toMatchObject({
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
      'x-frame-options': 'DENY',
      'strict-transport-security': 'max-age=31536000',
      'content-security-policy': expect.stringContaining("default-src 'none'"),
    });
    expect(reply.headers.has('x-powered-by') || reply.headers.has('server'), about).toBe(false);
    if (reply.ok) await reply.arrayBuffer();
    else await checkProblem(reply);
  }
});

const CANARY = 'cAnArY0123456789abcdefXYZ';
const SECRETS = [`mk_k7f3_${CANARY}${CANARY}`, `eyJhbGciOiJFZERTQSJ9.${CANARY}.${CANARY}`];

/** Sends a secret wherever a caller can put one. */
async function sendEverywhere(url: string, adminKey: string, secret: string): Promise<number[]> {
  const json = { 'content-type': 'application/json' };
  const known = { ...json, authorization: `Bearer ${adminKey}` };
  const bodies = ['registration', 'assertion', 'task_type', 'input_data', secret].map((name) =>
    JSON.stringify({ [name]: secret, input_data: { access_token: secret }, task_type: 'work' }),
  );
  const sent: [path: string, init: RequestInit][] = [
    ...[
      'authorization',
      'x-api-key',
      'cookie',
      'dpop',
      'x-request-id',
      'traceparent',
      'user-agent',
      'idempotency-key',
    ].flatMap((name): [string, RequestInit][] => [
      ['/aitp/tasks', { headers: { [name]: secret } }],
      ['/aitp/tasks', { headers: { ...(name === 'authorization' ? {} : known), [name]: `Bearer ${secret}` } }],
    ]),
    ['/aitp/tasks', { headers: { authorization: `DPoP ${secret}`, dpop: secret } }],
    [`/aitp/tasks?status=${secret}&access_token=${secret}`, { headers: known }],
    [`/aitp/tasks/${secret}`, { headers: known }],
    [`/${secret}`, {}],
    ...['/ains/agents', '/aitp/tasks', '/ains/enrollment-tokens'].flatMap((path) =>
      bodies.map((body): [string, RequestInit] => [path, { method: 'POST', headers: known, body }]),
    ),
    ['/aitp/tasks', { method: 'POST', headers: known, body: `${secret}{` }],
  ];
  const statuses: number[] = [];
  for (const [path, init] of sent) {
    const reply = await fetch(`${url}${path}`, init);
    await reply.arrayBuffer();
    statuses.push(reply.status);
  }
  return statuses;
}

/** A request that is none, and one that ends before its end. */
async function sendRaw(url: string, secret: string): Promise<void> {
  const { hostname, port } = new URL(url);
  for (const text of [
    `${secret}\r\n\r\n`,
    `POST /ains/agents HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n{"registration":"${secret}`,
  ]) {
    const socket = connect(Number(port), hostname).on('error', () => {});
    await once(socket, 'connect');
    socket.write(text, () => socket.end());
    await once(socket.resume(), 'close');
  }
}

test('no secret that callers send gets into the log, not even while nothing works', async () => {
  const supervisor = supervise();
  const postgres = await supervisor.postgres();
  const env = { DATABASE_URL: postgres.url, MUSTER_LOG_LEVEL: 'trace' };
  const coordinator = await supervisor.coordinator({ env });
  for (const secret of SECRETS) {
    const statuses = await sendEverywhere(coordinator.url, coordinator.adminKey, secret);
    expect(statuses.filter((status) => status >= 500)).toEqual([]);
    await sendRaw(coordinator.url, secret);
  }
  await coordinator.admin(createTask, { body: { task_type: 'work', input_data: SECRETS } });
  postgres.kill();
  for (const secret of SECRETS) {
    const statuses = await sendEverywhere(coordinator.url, coordinator.adminKey, secret);
    expect(statuses).toContain(503);
  }
  const log = coordinator.tail(500);
  expect(log).toContain('storage-unavailable');
  expect(log).not.toContain('cAnArY');
  expect(log).not.toContain(coordinator.adminKey);
}, 60_000);
