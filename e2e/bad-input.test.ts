import { createApiKey } from '@muster/shared/contract/access';
import { createBatch } from '@muster/shared/contract/batches';
import type { Endpoint } from '@muster/shared/contract/endpoint';
import { ENDPOINTS } from '@muster/shared/contract/index';
import { createSchedule } from '@muster/shared/contract/schedules';
import type { ProblemCode } from '@muster/shared/errors';
import { type IdPrefix, newId, runIdOf } from '@muster/shared/ids';
import { startCoordinator, type TestCoordinator } from '@muster/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BAD_CURSORS, badBodiesOf, badQueriesOf, goodBodyOf } from './fixtures/bad-input.ts';
import { checkProblem } from './fixtures/checked-client.ts';
import { inParallel, networkAt } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';
import { tableHashes } from './fixtures/tables.ts';

let coordinator: TestCoordinator;
let agent: RawAgent;
/** One real thing of each kind, by the name of the path parameter. */
let real: Record<string, string>;

beforeAll(async () => {
  coordinator = await startCoordinator();
  const network = networkAt(coordinator.url, coordinator.adminKey);
  const enrollment_token = await network.enrol();
  agent = await RawAgent.register({ url: coordinator.url }, { enrollment_token, capabilities: ['work'], slots: 2 });
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  const { run_id } = await agent.take();
  // The run is held however long it all takes: a lease that ends would move rows.
  await coordinator.sql`update presence set lease_expires_at = lease_expires_at + interval '1 day'`;
  const { schedule_id } = await network.admin(createSchedule, {
    body: { task_type: 'work', input_data: null, cron_expression: '0 0 1 1 *' },
  });
  const { batch_id } = await network.admin(createBatch, {
    body: { tasks: [{ task_type: 'work', capability_required: 'nobody', input_data: null }] },
  });
  const { api_key_id } = await network.admin(createApiKey, { body: { name: 'a key', scopes: ['tasks:read'] } });
  // However long this takes, what the agent holds is not taken back meanwhile.
  await coordinator.sql`update presence set lease_expires_at = lease_expires_at + interval '1 day'`;
  // Nobody beats, and nothing is to change by itself, however long this takes.
  await coordinator.sql`update presence set lease_expires_at = lease_expires_at + interval '1 hour'`;
  const [token] = await coordinator.sql<{ id: string }[]>`select enrollment_token_id as id from enrollment_tokens`;
  real = {
    agent_id: agent.agentId,
    task_id,
    run_id,
    batch_id,
    schedule_id,
    enrollment_token_id: token!.id,
    api_key_id,
    capability: 'work',
    scope: 'owner',
    name: 'acme',
  };
});
afterAll(() => coordinator.stop());

interface Sent {
  params?: Record<string, string>;
  search?: string;
  body?: string | Uint8Array<ArrayBuffer>;
  headers?: Record<string, string | undefined>;
}

const credentialFor = ({ principals }: Endpoint): string | undefined =>
  principals.includes('public') ? undefined : principals.includes('key') ? coordinator.adminKey : agent.token;

function send(endpoint: Endpoint, { params = {}, search = '', body, headers = {} }: Sent): Promise<Response> {
  const path = endpoint.path.replace(/\{(\w+)\}/g, (_, name: string) => params[name] ?? real[name]!);
  const credential = credentialFor(endpoint);
  const all = {
    'content-type': body === undefined ? undefined : 'application/json',
    authorization: credential && `Bearer ${credential}`,
    ...headers,
  };
  const given = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return fetch(`${coordinator.url}${path}${search && `?${search}`}`, {
    method: endpoint.method,
    headers: given,
    ...(body === undefined ? {} : { body }),
  });
}

/** The request is refused with this problem, which names the field if there is one. */
async function expectRefused(endpoint: Endpoint, sent: Sent, code: ProblemCode | ProblemCode[], pointer?: string) {
  const response = await send(endpoint, sent);
  const about = `${endpoint.method} ${endpoint.path} ${JSON.stringify(sent).slice(0, 300)}`;
  expect(response.ok, about).toBe(false);
  const problem = await checkProblem(response);
  expect([code].flat(), `${about} -> ${problem.detail}`).toContain(problem.code);
  expect(problem.status, about).toBeLessThan(500);
  if (pointer === undefined) return problem;
  const named = problem.errors?.map((error) => error.pointer) ?? [];
  expect(named, about).toContain(pointer);
  // Nothing else was wrong.
  expect(
    named.every((other) => other.startsWith(pointer)),
    `${about} -> ${named}`,
  ).toBe(true);
  return problem;
}

const ALL = Object.entries(ENDPOINTS);
const having = (part: 'query' | 'body') => ALL.filter(([, endpoint]) => endpoint[part]);
/** Those that name a thing by an id; a capability is a word that names itself. */
const idsOf = ({ path }: Endpoint) => [...path.matchAll(/\{(\w+_id)\}/g)].map(([, name]) => name!);
const named = ALL.filter(([, endpoint]) => idsOf(endpoint).length > 0);
const guarded = ALL.filter(([, { principals }]) => !principals.includes('public'));

/** Each of these leaves every row as it was. */
const refused = (name: string, among: [string, Endpoint][], check: (endpoint: Endpoint) => Promise<unknown>) =>
  describe(name, () => {
    test.for(among)('%s', async ([, endpoint]) => {
      const before = await tableHashes(coordinator.sql);
      await check(endpoint);
      expect(await tableHashes(coordinator.sql)).toEqual(before);
    });
  });

test('there are endpoints to test, and the values that are spoiled were good', () => {
  expect(ALL.length).toBeGreaterThan(30);
  for (const [name, endpoint] of having('body')) {
    expect(endpoint.body!.safeParse(goodBodyOf(endpoint)).error, name).toBeUndefined();
    for (const { value, what, pointer } of badBodiesOf(endpoint)) {
      // What is in a task of a batch is looked at one by one, by its verb.
      if (!/NUL|surrogate/.test(what) && !pointer.startsWith('#/tasks/0'))
        expect(endpoint.body!.safeParse(value).success, `${name} ${what} ${pointer}`).toBe(false);
    }
  }
});

refused('a body with a field that is wrong is refused by name', having('body'), (endpoint) =>
  inParallel(badBodiesOf(endpoint), 8, ({ value, pointer }) =>
    expectRefused(endpoint, { body: JSON.stringify(value) }, 'validation-failed', pointer),
  ),
);

refused('a query with a parameter that is wrong is refused by name', having('query'), async (endpoint) => {
  await inParallel(badQueriesOf(endpoint), 8, ({ value, pointer }) =>
    expectRefused(endpoint, { search: value }, 'validation-failed', pointer),
  );
  if (!endpoint.query!.shape.cursor) return;
  for (const cursor of BAD_CURSORS)
    await expectRefused(endpoint, { search: `cursor=${cursor}` }, 'validation-failed', '#/query/cursor');
});

refused('a body that is no JSON, too large or of another type is refused', having('body'), async (endpoint) => {
  const body = JSON.stringify(goodBodyOf(endpoint));
  for (const malformed of ['{', '{"a":1,}', "{'a':1}", 'nonsense', '\u0000', '{"a":1}{"a":1}', '[1', 'NaN'])
    await expectRefused(endpoint, { body: malformed }, 'malformed-request');
  await expectRefused(endpoint, { body: new Uint8Array([0x22, 0xff, 0xfe, 0x22]) }, 'malformed-request');
  for (const other of ['[]', 'null', '5', '"text"'])
    await expectRefused(endpoint, { body: other }, 'validation-failed', '#');
  if (!endpoint.bodyOptional) await expectRefused(endpoint, { body: '' }, 'validation-failed', '#');
  const large = `{"surprise":"${'x'.repeat(endpoint.bodyBytes ?? 1_048_576)}"}`;
  await expectRefused(endpoint, { body: large }, 'payload-too-large');
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/jsonp',
    'multipart/form-data; boundary=x',
  ])
    await expectRefused(endpoint, { body, headers: { 'content-type': type } }, 'unsupported-media-type');
});

refused('what is no id of its kind in the path is refused', named, async (endpoint) => {
  for (const name of idsOf(endpoint)) {
    const id = real[name]!;
    const other = newId(id.startsWith('sched') ? 'task' : 'sched');
    for (const wrong of [
      '0',
      'nonsense',
      other,
      id.toUpperCase(),
      `${id}0`,
      id.slice(0, -1),
      'x'.repeat(3_000),
      '%00',
      `${id}%00`,
      '%E0%A4%A',
      '..%2F..',
      '%F0%9F%92%A5',
      "'%20or%201=1--",
    ]) {
      const problem = await expectRefused(
        endpoint,
        { params: { [name]: wrong }, body: bodyFor(endpoint) },
        'invalid-id',
      );
      expect(problem.detail).toContain(name);
    }
  }
});

const bodyFor = (endpoint: Endpoint) => (endpoint.body ? JSON.stringify(goodBodyOf(endpoint)) : (undefined as never));

refused('an id of nothing is answered as such', named, async (endpoint) => {
  for (const name of idsOf(endpoint)) {
    const prefix = real[name]!.split('_')[0] as IdPrefix;
    const id = prefix === 'run' ? runIdOf(1_000_000_007) : newId(prefix);
    const isAgents = !endpoint.principals.includes('key');
    const body =
      prefix === 'run' && isAgents
        ? JSON.stringify({ ...(goodBodyOf(endpoint) as object), fence: 1_000_000_007 })
        : bodyFor(endpoint);
    const code: ProblemCode =
      prefix === 'run' && isAgents
        ? 'stale-lease'
        : endpoint.principals.includes('public')
          ? 'token-revoked'
          : isAgents
            ? 'insufficient-scope'
            : 'not-found';
    await expectRefused(endpoint, { params: { [name]: id }, body }, code);
  }
});

refused(
  'without credentials, or with ones that are wrong, nothing is done and nothing told',
  guarded,
  async (endpoint) => {
    const body = bodyFor(endpoint);
    const as = (headers: Sent['headers'], code: ProblemCode | ProblemCode[]) =>
      expectRefused(endpoint, { body, headers: { authorization: undefined, ...headers } }, code);
    await as({}, 'unauthenticated');
    await as({ authorization: 'Basic YWRtaW46YWRtaW4=' }, 'unauthenticated');
    await as({ authorization: 'Bearer ' }, 'unauthenticated');
    await as({ authorization: 'Bearer wrong-wrong-wrong-wrong-wrong' }, 'invalid-api-key');
    await as({ 'x-api-key': `${coordinator.adminKey}x` }, 'invalid-api-key');
    await as({ authorization: 'Bearer a.b.c' }, 'invalid-token');
    const [head, claims, signature] = agent.token.split('.') as [string, string, string];
    await as({ authorization: `Bearer ${head}.${claims}.${signature.split('').reverse().join('')}` }, 'invalid-token');
    const none = Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url');
    await as({ authorization: `Bearer ${none}.${claims}.` }, 'invalid-token');
    // A body that is wrong tells a stranger nothing.
    const problem = await as({ authorization: 'Bearer wrong-wrong-wrong-wrong-wrong' }, 'invalid-api-key');
    expect(problem.errors).toBeUndefined();
    const response = await send(endpoint, { headers: { authorization: undefined } });
    expect(response.headers.get('www-authenticate')).toBe('Bearer');
  },
);

refused('those an endpoint is not for are turned away', guarded, async (endpoint) => {
  const body = bodyFor(endpoint);
  const { principals } = endpoint;
  const wrong = { key: `Bearer ${coordinator.adminKey}`, agent: `Bearer ${agent.token}` };
  for (const kind of ['key', 'agent'] as const) {
    if (!principals.includes(kind))
      await expectRefused(endpoint, { body, headers: { authorization: wrong[kind] } }, 'insufficient-scope');
  }
  if (principals.includes('agent') && endpoint.path.includes('{agent_id}')) {
    const sent = { body, params: { agent_id: newId('agent') }, headers: { authorization: wrong.agent } };
    await expectRefused(endpoint, sent, 'insufficient-scope');
  }
});

describe('what is not there', () => {
  test.for([
    '/',
    '/nowhere',
    '/ains',
    '/aitp/tasks/',
    '/AITP/tasks',
    '/ains/agents/x/y/z',
    '/aitp/tasks%00',
    '/%',
    '//aitp/tasks',
    '/docs/../../etc/passwd',
    '/docs/%2e%2e%2fpackage.json',
  ])('the path %s is not-found', async (path) => {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const response = await fetch(coordinator.url + path, { method });
      expect((await checkProblem(response)).code, `${method} ${path}`).toBe('not-found');
    }
  });

  test('a path that does not take a method says which it takes', async () => {
    for (const path of new Set(ALL.map(([, endpoint]) => endpoint.path))) {
      const takes = ALL.filter(([, endpoint]) => endpoint.path === path).map(([, { method }]) => method);
      const at = path.replace(/\{(\w+)\}/g, (_, name: string) => real[name]!);
      for (const method of (['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const).filter((it) => !takes.includes(it))) {
        // `/agents/leaderboard` and the like are themselves what `/agents/{agent_id}` could be.
        const response = await fetch(coordinator.url + at, {
          method,
          headers: { authorization: `Bearer ${coordinator.adminKey}` },
        });
        const problem = await checkProblem(response);
        if (problem.code === 'invalid-id') continue;
        expect(problem.code, `${method} ${path}`).toBe('method-not-allowed');
        const allow = response.headers.get('allow')?.split(', ') ?? [];
        expect(allow, `${method} ${path}`).toEqual(expect.arrayContaining(takes));
        expect(allow).not.toContain(method);
      }
    }
  });
});
