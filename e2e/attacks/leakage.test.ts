import { createApiKey, listApiKeys, rotateApiKey } from '@muster/shared/contract/access';
import { listAgents } from '@muster/shared/contract/agents';
import { listAuditLogs } from '@muster/shared/contract/audit';
import type { Endpoint } from '@muster/shared/contract/endpoint';
import { createEnrollmentToken, listEnrollmentTokens } from '@muster/shared/contract/enrollment';
import { ENDPOINTS } from '@muster/shared/contract/index';
import { cancelTask, createTask } from '@muster/shared/contract/tasks';
import { newId, runIdOf } from '@muster/shared/ids';
import { eventually, startCoordinator } from '@muster/testing';
import { newKey } from '@muster/testing/jwt';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { makeKey } from '../fixtures/keys.ts';
import { type Network, networkAt, startProcessNetwork, supervise } from '../fixtures/network.ts';
import { RawAgent } from '../fixtures/raw-agent.ts';
import { forge, numbered, read } from './requests.ts';
import { type Answer, type Attack, ask, attacks, post, type Stage, setStage, shout } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(() => stage.coordinator.stop());

/** What stands in a task's input, a result, an error: between submitter and agent, and nobody else's. */
const CANARIES = ['canary-of-the-input', 'canary-of-the-result', 'canary-of-the-error', 'canary-of-the-progress'];

type Row = Omit<Attack, 'id'>;
const refused = (what: string, status: number, code: Attack['code'], send: Attack['send']): Row => ({
  what,
  send,
  status,
  ...(code ? { code } : {}),
});
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** Secrets where they do not belong: the answer does not repeat them. */
const MISPLACED: Row[] = [
  refused('a key in the query', 422, 'validation-failed', (it) =>
    forge(it, { path: `/aitp/tasks?api_key=${it.owner.api_key}` }),
  ),
  refused('a key as the only credential in the query', 401, 'unauthenticated', (it) =>
    forge(it, { as: 'nobody', path: `/aitp/tasks?access_token=${it.owner.api_key}` }),
  ),
  refused('a key as a cursor', 422, 'validation-failed', (it) =>
    forge(it, { path: `/aitp/tasks?cursor=${it.owner.api_key}` }),
  ),
  refused('a key as an id', 400, 'invalid-id', (it) => forge(it, { path: `/ains/api-keys/${it.owner.api_key}` })),
  refused('a token as an id', 400, 'invalid-id', (it) => forge(it, { path: `/ains/agents/${it.agent.token}` })),
  refused('a key as a path', 404, 'not-found', (it) => forge(it, { path: `/${it.owner.api_key}` })),
  refused('a key as a field', 422, 'validation-failed', (it) =>
    forge(it, { path: '/aitp/tasks', body: { task_type: 'x', input_data: 1, [it.owner.api_key]: 1 } }),
  ),
  refused('a key as a value', 422, 'validation-failed', (it) =>
    forge(it, {
      path: '/aitp/tasks',
      body: { task_type: it.owner.api_key, input_data: 1, priority: it.owner.api_key },
    }),
  ),
  refused('a key in JSON that is none', 400, 'malformed-request', (it) =>
    forge(it, { path: '/aitp/tasks', body: `{"api_key":"${it.owner.api_key}"` }),
  ),
  refused('a key as JSON', 400, 'malformed-request', (it) =>
    forge(it, { path: '/aitp/tasks', body: it.owner.api_key }),
  ),
  refused('two keys', 400, 'malformed-request', (it) =>
    ask(`${it.url}/aitp/tasks`, { headers: { ...bearer(it.owner.api_key), 'x-api-key': it.rival.api_key } }),
  ),
  refused('a key with something after it', 401, ['invalid-api-key', 'unauthenticated'], (it) =>
    ask(`${it.url}/aitp/tasks`, { headers: bearer(`${it.owner.api_key} x`) }),
  ),
  refused('an enrolment token as a credential', 401, 'invalid-token', (it) =>
    ask(`${it.url}/aitp/tasks`, { headers: bearer(it.secrets[3]!) }),
  ),
  refused('an enrolment token as a registration', 401, ['invalid-token', 'malformed-request'], (it) =>
    post(`${it.url}/ains/agents`, { registration: it.secrets[3] }),
  ),
  refused('an enrolment token in a registration of another version', 426, 'upgrade-required', async (it) => {
    const agent = new RawAgent({ url: it.url });
    return post(`${it.url}/ains/agents`, {
      registration: await agent.registrationOf(
        { enrollment_token: it.secrets[3]!, capabilities: ['x'] },
        { claims: { protocol_version: 2 } },
      ),
    });
  }),
  refused('the private half of a key in a registration', 401, 'invalid-token', async (it) => {
    const key = newKey();
    const agent = new RawAgent({ url: it.url }, key);
    const answer = await post(`${it.url}/ains/agents`, {
      registration: await agent.registrationOf(
        { enrollment_token: it.secrets[3]!, capabilities: ['x'] },
        { header: { jwk: key } },
      ),
    });
    expect(answer.body).not.toContain(key.d);
    return answer;
  }),
  refused("another's run, with its input", 409, 'stale-lease', (it) =>
    forge(it, {
      as: 'rivalAgent',
      path: `/aitp/runs/${it.run.run_id}/result`,
      body: { fence: it.run.fence, outcome: 'COMPLETED' },
    }),
  ),
  refused("another's task, with its input", 404, 'not-found', (it) =>
    forge(it, { as: 'rival', path: `/aitp/tasks/${it.task_id}` }),
  ),
  refused("another's schedule, with its input", 404, 'not-found', (it) =>
    forge(it, { as: 'rival', path: `/aitp/tasks/schedule/${it.schedule_id}` }),
  ),
  refused('a method that is none of the path', 405, 'method-not-allowed', (it) =>
    forge(it, { method: 'DELETE', path: '/aitp/tasks' }),
  ),
];

attacks(() => stage, numbered('R', MISPLACED));

describe('what is not there and what is not yours look the same', () => {
  const FOREIGN = Object.entries<Endpoint>(ENDPOINTS).filter(
    ([, it]) => it.ownership === 'path' && it.principals.includes('key'),
  );
  const named = (path: string): string => {
    if (path.includes('{agent_id}')) return stage.agent.agentId;
    if (path.includes('{task_id}')) return stage.task_id;
    if (path.includes('{batch_id}')) return stage.batch_id;
    if (path.includes('{run_id}')) return stage.run.run_id;
    if (path.includes('{schedule_id}')) return stage.schedule_id;
    if (path.includes('{api_key_id}')) return stage.owner.api_key_id;
    if (path.includes('{enrollment_token_id}')) return stage.enrollment_token_id;
    throw new Error(`nothing to name in ${path}`);
  };
  const missing = (id: string) => (id.startsWith('run_') ? runIdOf(1_000_000_007) : newId(id.split('_')[0] as 'task'));
  const look = async ({ method, path, body }: Endpoint, id: string): Promise<Answer & { ms: number }> => {
    const since = performance.now();
    const answer = await forge(stage, {
      as: 'rival',
      method,
      path: path.replace(/\{\w+\}/, id),
      ...(body ? { body: {} } : {}),
    });
    return { ...answer, ms: performance.now() - since };
  };
  /** All there is to an answer but for what differs from one to the next. */
  const shape = ({ status, headers, body }: Answer, id: string) => {
    const { 'x-request-id': request, date, ratelimit, ...rest } = headers;
    return { status, headers: rest, body: body.replaceAll(id, 'ID').replaceAll(request!, 'REQUEST') };
  };

  test('there are some of every kind', () => expect(FOREIGN.length).toBeGreaterThanOrEqual(20));
  test.each(FOREIGN)('%s', async (_, endpoint) => {
    const id = named(endpoint.path);
    const other = missing(id);
    const [foreign, none] = [await look(endpoint, id), await look(endpoint, other)];
    // What is an admin's alone is refused before anything is looked for.
    expect(foreign.status).toBe(endpoint.scope === 'admin' ? 403 : 404);
    expect(shape(foreign, id)).toEqual(shape(none, other));
  });

  test('in how long they take, too', async () => {
    // What a busy machine adds is above the lower quartile, and not the same each time.
    const usual = (took: number[]) => took.sort((a, b) => a - b)[Math.floor(took.length / 4)]!;
    for (const path of ['/aitp/tasks/{task_id}', '/ains/agents/{agent_id}', '/ains/api-keys/{api_key_id}']) {
      const endpoint = FOREIGN.find(([, it]) => it.path === path && it.method === 'GET')![1];
      const difference = async () => {
        const [foreign, none]: [number[], number[]] = [[], []];
        for (let n = 0; n < 40; n += 1) {
          foreign.push((await look(endpoint, named(path))).ms);
          none.push((await look(endpoint, missing(named(path)))).ms);
        }
        return Math.abs(usual(foreign) - usual(none)) / usual(none);
      };
      let least = await difference();
      for (let again = 0; again < 7 && least > 0.4; again += 1) least = Math.min(least, await difference());
      expect(least, path).toBeLessThan(0.4);
    }
  });
});

describe('every answer tells browsers to make nothing of it', () => {
  const KINDS: [what: string, status: number, send: () => Promise<Answer>][] = [
    ['a success', 200, () => forge(stage, { path: '/aitp/tasks' })],
    ['a thing made', 201, () => forge(stage, { path: '/aitp/tasks', body: { task_type: 'never', input_data: 1 } })],
    [
      "an agent's beat",
      200,
      () =>
        forge(stage, {
          as: 'agent',
          path: `/ains/agents/${stage.agent.agentId}/heartbeat`,
          body: { boot_id: stage.agent.bootId, status: 'ACTIVE', slots_free: 1, runs: [] },
        }),
    ],
    ['liveness', 200, () => forge(stage, { as: 'nobody', path: '/livez' })],
    ['liveness without its body', 200, () => forge(stage, { as: 'nobody', method: 'HEAD', path: '/livez' })],
    ['the public keys', 200, () => forge(stage, { as: 'nobody', path: '/.well-known/jwks.json' })],
    ['the API', 200, () => forge(stage, { as: 'nobody', path: '/openapi.json' })],
    ['the page', 200, () => forge(stage, { as: 'nobody', path: '/docs' })],
    ["the page's script", 200, () => forge(stage, { as: 'nobody', path: '/docs/start.js' })],
    ['no such file of the page', 404, () => forge(stage, { as: 'nobody', path: '/docs/none.js' })],
    ['no such path', 404, () => forge(stage, { path: '/none' })],
    ['no such thing', 404, () => forge(stage, { path: `/aitp/tasks/${newId('task')}` })],
    ['no credential', 401, () => forge(stage, { as: 'nobody', path: '/aitp/tasks' })],
    ['not enough of one', 403, () => forge(stage, { as: 'agent', path: '/aitp/tasks' })],
    ['no such method', 405, () => forge(stage, { method: 'PUT', path: '/aitp/tasks' })],
    [
      'a question of a browser for leave',
      405,
      () =>
        forge(stage, {
          as: 'nobody',
          method: 'OPTIONS',
          path: '/aitp/tasks',
          headers: { origin: 'https://evil.example', 'access-control-request-method': 'POST' },
        }),
    ],
    [
      'a page of another origin',
      200,
      () => forge(stage, { path: '/aitp/tasks', headers: { origin: 'https://evil.example' } }),
    ],
    ['a body too long', 413, () => forge(stage, { path: '/aitp/tasks', body: 'x'.repeat(2 ** 20 + 1) })],
    ['fields that are wrong', 422, () => forge(stage, { path: '/aitp/tasks', body: {} })],
    ['no HTTP at all', 400, () => shout(stage.url, 'nonsense\r\n\r\n')],
    ['no host', 400, () => shout(stage.url, 'GET /livez HTTP/1.1\r\n\r\n')],
    ['a proxy', 400, () => shout(stage.url, 'CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n')],
    ['a URL too long', 414, () => shout(stage.url, `GET /${'a'.repeat(9_000)} HTTP/1.1\r\nhost: x\r\n\r\n`)],
    ['headers too large', 431, () => shout(stage.url, `GET / HTTP/1.1\r\nhost: x\r\nx: ${'a'.repeat(20_000)}\r\n\r\n`)],
  ];
  const expectHeaders = ({ headers }: Answer) => {
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'x-frame-options': 'DENY',
      'cross-origin-resource-policy': 'same-origin',
    });
    expect(headers['content-security-policy']).toMatch(/default-src 'none'.*frame-ancestors 'none'/);
    for (const name of Object.keys(headers))
      expect(name).not.toMatch(/^(access-control-.*|server|x-powered-by|via|etag)$/);
  };

  test.each(KINDS)('%s', async (_, status, send) => {
    const answer = await send();
    expect(answer.status).toBe(status);
    expectHeaders(answer);
    // This is not HTTPS, and to say so would lock browsers out.
    expect(answer.headers['strict-transport-security']).toBeUndefined();
  });

  test('and, where callers come by HTTPS, to come no other way', async () => {
    await using coordinator = await startCoordinator({ env: { MUSTER_PUBLIC_URL: 'https://muster.example' } });
    const kinds = [
      ask(`${coordinator.url}/livez`),
      ask(`${coordinator.url}/none`),
      ask(`${coordinator.url}/docs`),
      shout(coordinator.url, 'nonsense\r\n\r\n'),
    ];
    for (const answer of await Promise.all(kinds)) {
      expectHeaders(answer);
      expect(answer.headers['strict-transport-security']).toMatch(/^max-age=\d{8}/);
    }
  });
});

/** Everything that is ever secret, used for what it is for and for what it is not. Answers the secrets. */
async function liveDangerously(network: Network, adminKey: string): Promise<string[]> {
  const owner = await makeKey(network, {
    owner: 'acme',
    scopes: ['tasks:write', 'tasks:read', 'agents:admin', 'keys:admin'],
  });
  const made = await owner.call(createApiKey, { body: { name: 'second', scopes: ['tasks:read'] } });
  const rotated = await owner.call(rotateApiKey, { params: { api_key_id: made.api_key_id }, body: {} });
  const { enrollment_token } = await owner.call(createEnrollmentToken, { body: { max_uses: 10 } });
  const agent = new RawAgent({ url: network.url });
  const registration = await agent.registrationOf({ enrollment_token, capabilities: ['work'] });
  await agent.register({ enrollment_token, capabilities: ['work'] });
  const tokens = [agent.token];
  const assertion = await agent.assertionOf();
  await agent.assert();
  tokens.push(agent.token);
  const bound = new RawAgent({ url: network.url, dpop: true });
  await bound.register({ enrollment_token, capabilities: ['bound'] });
  await bound.beat();
  const submit = () =>
    owner.call(createTask, {
      body: { task_type: 'work', input_data: { private: CANARIES[0]! }, metadata: { private: CANARIES[0]! } },
    });
  await submit();
  const first = await agent.take();
  await agent.beat({ runs: [{ run_id: first.run_id, fence: first.fence, progress: { message: CANARIES[3]! } }] });
  await agent.complete(first, { private: CANARIES[1]! });
  await submit();
  await agent.fail(await agent.take(), { message: CANARIES[2]!, retryable: false });
  const { task_id } = await submit();
  await owner.call(cancelTask, { params: { task_id } });
  // And wherever somebody might put one by mistake.
  const all = [
    adminKey,
    owner.api_key,
    made.api_key,
    rotated.api_key,
    enrollment_token,
    ...tokens,
    bound.token,
    registration,
    assertion,
  ];
  for (const secret of all) {
    const url = `${network.url}/aitp/tasks`;
    await ask(`${url}?key=${secret}`, {
      headers: { cookie: `session=${secret}`, 'x-request-id': 'a-request', traceparent: secret },
    });
    await ask(`${url}/${secret}`, { headers: bearer(adminKey) });
    await ask(url, { headers: { authorization: secret } });
    await ask(url, { headers: bearer(`${secret}x`) });
    await post(`${network.url}/ains/agents`, { registration: secret });
    await post(url, { input_data: 1, task_type: secret, priority: 99 }, bearer(adminKey));
    await post(`${network.url}/ains/agents/${agent.agentId}/token`, { assertion: secret });
  }
  return [...all, agent.key.d!, bound.key.d!];
}

const expectNone = (text: string, words: readonly string[], where: string) => {
  for (const word of words) expect(text.includes(word) ? `${where} holds ${word}` : '', text.slice(0, 200)).toBe('');
};

test('a coordinator that logs all it can, through errors too, logs no secret and nothing of tasks; what fails inside stays inside', async () => {
  const network = await startProcessNetwork(supervise(), { MUSTER_LOG_LEVEL: 'trace' });
  const { coordinator } = network;
  const sql = postgres(coordinator.databaseUrl!, { max: 1, onnotice: () => {} });
  onTestFinished(() => sql.end({ timeout: 1 }));
  const secrets = await liveDangerously(network, coordinator.adminKey);
  // What nobody foresees: a table that is not there, a connection that dies.
  await sql`alter table enrollment_tokens rename to gone`;
  const failed = await ask(`${network.url}/ains/enrollment-tokens`, { headers: bearer(coordinator.adminKey) });
  expect([failed.status, read(failed).code]).toEqual([500, 'internal']);
  expect(failed.body).not.toMatch(/enrollment_tokens"|relation|select|\.ts|node_modules|postgres/i);
  await sql`alter table gone rename to enrollment_tokens`;
  await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`;
  await eventually(async () => expect((await ask(`${network.url}/readyz`)).status).toBe(200));
  await coordinator.stop();
  const log = coordinator.tail(10_000);
  expect(log).toContain('unexpected error');
  expectNone(log, [...secrets, ...CANARIES], 'the log');
});

test('rows, the audit log, events and notices hold no secret, and nothing of tasks where it is not theirs', async () => {
  await using here = await startCoordinator();
  // Notices are for others: without one there are none.
  await using _there = await startCoordinator({ databaseUrl: here.databaseUrl });
  const network = networkAt(here.url, here.adminKey);
  const listener = postgres(here.databaseUrl, { max: 1, onnotice: () => {} });
  onTestFinished(() => listener.end({ timeout: 1 }));
  const notices: string[] = [];
  await listener.listen('muster', (payload) => notices.push(payload));
  await here.tick();
  const secrets = await liveDangerously(network, here.adminKey);
  await here.tick();
  await eventually(() => expect(notices.length).toBeGreaterThan(3));
  expectNone(notices.join('\n'), [...secrets, ...CANARIES], 'a notice');

  const tables = await here.sql<
    { name: string }[]
  >`select tablename as name from pg_tables where schemaname = 'public'`;
  for (const { name } of tables) {
    const [row] = await here.sql<
      [{ text: string }]
    >`select coalesce(string_agg(t::text, ' '), '') as text from ${here.sql(name)} t`;
    // What a task is about is with the task and its runs, and nowhere else.
    const kept = ['tasks', 'runs', 'leases'].includes(name) ? [] : CANARIES;
    expectNone(row.text, [...secrets, ...kept], name);
  }
  for (const endpoint of [listApiKeys, listEnrollmentTokens, listAgents, listAuditLogs]) {
    expectNone(
      JSON.stringify(await network.admin(endpoint, {})),
      [...secrets, ...CANARIES, 'secret_hash', 'public_jwk'],
      endpoint.path,
    );
  }
  const open = await Promise.all(
    ['openapi.json', 'docs', '.well-known/jwks.json', 'livez', 'readyz'].map((path) => ask(`${here.url}/${path}`)),
  );
  expectNone(
    open.map(({ body }) => body).join('\n'),
    [...secrets, '"d":', here.databaseUrl, process.cwd()],
    'what everybody may see',
  );
});
