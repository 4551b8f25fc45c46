import { connect, type Socket } from 'node:net';
import { createTask } from '@muster/shared/contract/tasks';
import { eventually } from '@muster/testing';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { makeKey } from '../fixtures/keys.ts';
import { inParallel } from '../fixtures/network.ts';
import { type Forged, forge, numbered, read } from './requests.ts';
import { type Answer, type Attack, attacks, type Stage, setStage, shout } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(() => stage.coordinator.stop());
beforeEach(() => Promise.all([stage.agent.beat(), stage.rivalAgent.beat()]));

/** What one refusal, or a flood of them, may take of everybody's time, in milliseconds: far from a lease, on a machine with other things to do too. */
const AT_MOST_MS = 5_000;

type Row = Omit<Attack, 'id'>;
const refused = (
  what: string,
  request: Forged | ((stage: Stage) => Forged),
  status = 422,
  code: Attack['code'] = 'validation-failed',
): Row => ({
  what,
  status,
  ...(code ? { code } : {}),
  async send(it) {
    const since = performance.now();
    const answer = await forge(it, typeof request === 'function' ? request(it) : request);
    expect(performance.now() - since).toBeLessThan(AT_MOST_MS);
    return answer;
  },
});
const bytes = (what: string, text: (stage: Stage) => string, status: number, code: Attack['code']): Row => ({
  what,
  status,
  ...(code ? { code } : {}),
  send: (it) => shout(it.url, text(it)),
});

const work = { task_type: 'never', input_data: null };
const cron = { ...work, cron_expression: '0 0 1 1 *' };
const many = <T>(n: number, item: (n: number) => T) => Array.from({ length: n }, (_, at) => item(at));
const record = (n: number) => Object.fromEntries(many(n, (at) => [`k${at}`, 'v']));
const deep = (levels: number) => `{"task_type":"never","input_data":${'['.repeat(levels)}${']'.repeat(levels)}}`;
const head = (it: Stage, more: string) =>
  `POST /aitp/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${it.owner.api_key}\r\ncontent-type: application/json\r\n${more}\r\n`;

const LISTS: [path: (stage: Stage) => string, as?: Forged['as']][] = [
  [() => '/aitp/tasks'],
  [() => '/aitp/tasks/schedule'],
  [(it) => `/aitp/tasks/schedule/${it.schedule_id}/executions`],
  [() => '/ains/agents'],
  [() => '/ains/agents/leaderboard'],
  [(it) => `/ains/agents/${it.agent.agentId}/trust/history`],
  [() => '/ains/enrollment-tokens'],
  [() => '/ains/api-keys'],
  [() => '/ains/audit-logs'],
];

const MORE_THAN_A_PAGE: Row[] = [
  ...LISTS.map(([path], n) =>
    refused(`a billion of list ${n + 1}`, (it) => ({ path: `${path(it)}?limit=1000000000` })),
  ),
  ...['201', '0', '-1', '1e9', '1.5', 'Infinity', ''].map((limit) =>
    refused(`limit=${limit}`, { path: `/aitp/tasks?limit=${limit}` }),
  ),
  refused('a cursor of 513 characters', { path: `/aitp/tasks?cursor=${'a'.repeat(513)}` }),
  refused('a page by number', { path: '/aitp/tasks?page=1000000000' }),
  refused('an order nothing is kept in', { path: '/aitp/tasks?sort=metadata' }),
  refused('a filter of 129 characters', { path: `/aitp/tasks?client_id=${'a'.repeat(129)}` }),
  refused('a million least runs of a million', { path: '/ains/agents/leaderboard?min_runs=1e999' }),
];

const TOO_MUCH_OF_A_THING: Row[] = [
  refused('33 tags', { path: '/aitp/tasks', body: { ...work, tags: many(33, (n) => `t${n}`) } }),
  refused('a tag of 65 characters', { path: '/aitp/tasks', body: { ...work, tags: ['t'.repeat(65)] } }),
  refused('metadata of 65 entries', { path: '/aitp/tasks', body: { ...work, metadata: record(65) } }),
  refused('a week and a second', { path: '/aitp/tasks', body: { ...work, timeout_seconds: 604_801 } }),
  refused('101 retries', { path: '/aitp/tasks', body: { ...work, max_retries: 101 } }),
  refused('a task type of 100,000 characters', {
    path: '/aitp/tasks',
    body: { ...work, task_type: 'a'.repeat(100_000) },
  }),
  refused('33 labels', (it) => ({
    as: 'agent',
    method: 'PATCH',
    path: `/ains/agents/${it.agent.agentId}`,
    body: { labels: record(33) },
  })),
  refused('101 capabilities', (it) => ({
    as: 'agent',
    method: 'PUT',
    path: `/ains/agents/${it.agent.agentId}/capabilities`,
    body: { capabilities: many(101, (n) => `c${n}`) },
  })),
  refused('10,001 slots', (it) => ({
    as: 'agent',
    method: 'PATCH',
    path: `/ains/agents/${it.agent.agentId}`,
    body: { slots: 10_001 },
  })),
  refused('a metric whose name has 65 characters', (it) => ({
    as: 'agent',
    path: `/ains/agents/${it.agent.agentId}/heartbeat`,
    body: { boot_id: it.agent.bootId, status: 'ACTIVE', slots_free: 0, runs: [], metrics: { ['m'.repeat(65)]: 1 } },
  })),
  refused('an enrolment for 100,001 agents', { path: '/ains/enrollment-tokens', body: { max_uses: 100_001 } }),
  refused('an enrolment of 91 days', { path: '/ains/enrollment-tokens', body: { ttl_seconds: 91 * 86_400 } }),
  refused('a key for more requests than there are', {
    path: '/ains/api-keys',
    body: { name: 'k', scopes: ['tasks:read'], requests_per_minute: 10_000_001 },
  }),
  refused('a key for 65 addresses', {
    path: '/ains/api-keys',
    body: { name: 'k', scopes: ['tasks:read'], allowed_addresses: many(65, () => '10.0.0.1') },
  }),
  refused('a registration of 16 KiB', {
    as: 'nobody',
    path: '/ains/agents',
    body: { registration: 'a'.repeat(16_385) },
  }),
];

const HARD_TO_READ: Row[] = [
  refused('a capability that backtracks', {
    path: '/aitp/tasks',
    body: { ...work, capability_required: `${'a.-_'.repeat(31)}:!` },
  }),
  refused('the same, as long as a body may be', {
    path: '/aitp/tasks',
    body: { ...work, capability_required: `${'a'.repeat(1_000_000)}!` },
  }),
  refused('an owner that backtracks', { path: '/ains/enrollment-tokens', body: { owner: `${'a.@'.repeat(21)}!` } }),
  refused('a time of many digits', {
    path: '/aitp/tasks',
    body: { ...work, run_at: `2026-01-01T00:00:00.${'0'.repeat(500_000)}Z!` },
  }),
  refused('an address of many parts', {
    path: '/ains/api-keys',
    body: { name: 'k', scopes: ['tasks:read'], allowed_addresses: [`${'0:'.repeat(30)}0`] },
  }),
  refused(
    'a cron expression of 257 characters',
    { path: '/aitp/tasks/schedule', body: { ...cron, cron_expression: `${'*/1,'.repeat(63)}* * * *` } },
    422,
    'invalid-cron',
  ),
  refused(
    'a cron expression that never comes',
    { path: '/aitp/tasks/schedule', body: { ...cron, cron_expression: '0 0 30 2 *' } },
    422,
    ['schedule-never-fires', 'invalid-cron'],
  ),
  refused(
    'the same, by lists of all there is',
    {
      path: '/aitp/tasks/schedule',
      body: { ...cron, cron_expression: `${many(40, (n) => n).join()} 0 31 2,4,6,9,11 *` },
    },
    422,
    ['schedule-never-fires', 'invalid-cron'],
  ),
  refused(
    'a time zone of 65 characters',
    { path: '/aitp/tasks/schedule', body: { ...cron, timezone: 'A'.repeat(65) } },
    422,
    'invalid-timezone',
  ),
  refused('257 levels', { path: '/aitp/tasks', body: deep(257) }),
  refused('500,000 levels', { path: '/aitp/tasks', body: deep(500_000) }),
  refused('100,000 unknown fields', { path: '/aitp/tasks', body: { ...work, ...record(50_000) } }),
  refused('a number of 100,000 digits', {
    path: '/aitp/tasks',
    body: `{"task_type":"never","input_data":1${'0'.repeat(100_000)}}`,
  }),
  refused(
    'a body of a byte too much',
    { path: '/aitp/tasks', body: `"${'x'.repeat(2 ** 20 - 1)}"` },
    413,
    'payload-too-large',
  ),
  bytes(
    'a body that is said to have 10 GiB',
    (it) => head(it, 'content-length: 10737418240\r\n'),
    413,
    'payload-too-large',
  ),
  bytes(
    'a body in chunks without end',
    (it) => `${head(it, 'transfer-encoding: chunked\r\n')}${`10000\r\n${' '.repeat(65_536)}\r\n`.repeat(17)}`,
    413,
    'payload-too-large',
  ),
  bytes(
    'chunks that are nearly all extension',
    (it) => `${head(it, 'transfer-encoding: chunked\r\n')}${`1;${'a'.repeat(20_000)}\r\n \r\n`}0\r\n\r\n`,
    413,
    'payload-too-large',
  ),
  bytes(
    'a URL of 9,000 characters',
    () => `GET /aitp/tasks?tag=${'a'.repeat(9_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
    414,
    'uri-too-long',
  ),
  bytes(
    '101 headers',
    () => `GET /livez HTTP/1.1\r\nhost: x\r\n${many(100, (n) => `x-${n}: 1\r\n`).join('')}\r\n`,
    431,
    'headers-too-large',
  ),
  bytes(
    '20 KiB of headers',
    () => `GET /livez HTTP/1.1\r\nhost: x\r\nx: ${'a'.repeat(20_480)}\r\n\r\n`,
    431,
    'headers-too-large',
  ),
];

attacks(() => stage, numbered('O', [...MORE_THAN_A_PAGE, ...TOO_MUCH_OF_A_THING, ...HARD_TO_READ]));

/** How long those take who mean well, meanwhile, in milliseconds. */
async function healthy(times = 20): Promise<number[]> {
  const took: number[] = [];
  for (let n = 0; n < times; n += 1) {
    const since = performance.now();
    await stage.agent.beat();
    took.push(performance.now() - since);
  }
  return took.sort((a, b) => a - b);
}

const open: Socket[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
});
/** Connections that have said this much. */
async function hang(count: number, said: string): Promise<void> {
  const { hostname, port } = new URL(stage.url);
  const sockets = many(count, () => connect(Number(port), hostname));
  open.push(...sockets);
  await Promise.all(
    sockets.map((socket) => new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))),
  );
  for (const socket of sockets) {
    socket.on('error', () => {});
    if (said) socket.write(said);
  }
}

test('2,000 connections that say nothing, half a request or half a body take nothing from others, not even a place', async () => {
  await hang(800, '');
  await hang(300, 'GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ');
  // More than are worked on at once, each of a client that is known.
  await hang(900, `${head(stage, 'content-length: 1000\r\n')}{"task_type":`);
  const took = await healthy();
  const { status } = await forge(stage, { path: '/aitp/tasks', body: work });
  expect(status).toBe(201);
  expect(took.at(-1)).toBeLessThan(AT_MOST_MS);
});

test('300 requests in one breath on one connection are answered, and beats between them', async () => {
  const one = 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n';
  const last = 'GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';
  const { hostname, port } = new URL(stage.url);
  const answers = new Promise<number>((resolve, reject) => {
    let text = '';
    connect(Number(port), hostname, function (this: Socket) {
      this.write(one.repeat(299) + last);
    })
      .on('data', (chunk) => {
        text += chunk;
      })
      .on('error', reject)
      .on('close', () => resolve(text.split('HTTP/1.1 200 ').length - 1));
  });
  const [count, took] = await Promise.all([answers, healthy()]);
  expect(count).toBe(300);
  expect(took.at(-1)).toBeLessThan(AT_MOST_MS);
});

test('an agent that polls 200 times at once waits once: its earlier polls are answered, and others get their work', async () => {
  const { rivalAgent: greedy } = stage;
  let ended = 0;
  const polls = many(200, async () => {
    const { runs } = await greedy.poll({ wait_ms: 30_000 });
    ended += 1;
    return runs;
  });
  const waiting = stage.agent.take();
  const work = { task_type: 'work', input_data: null };
  const since = performance.now();
  await stage.owner.call(createTask, { body: work });
  await stage.agent.complete(await waiting);
  await eventually(() => expect(ended).toBe(199));
  expect(performance.now() - since).toBeLessThan(AT_MOST_MS);
  await stage.rival.call(createTask, { body: work });
  const runs = (await Promise.all(polls)).flat();
  expect(runs).toHaveLength(1);
  await greedy.complete(runs[0]!);
});

test('a key that asks more often than it may is told when to come again; other keys of its owner, and agents, are not', async () => {
  // No more than are read for at once: none of them waits for its turn.
  const limited = await makeKey(stage, { owner: 'acme', scopes: ['tasks:read'], requests_per_minute: 3 });
  const ask = () => forge(stage, { as: 'nobody', path: '/aitp/tasks', headers: { 'x-api-key': limited.api_key } });
  const answers = await Promise.all(many(40, ask));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(3);
  const refusals = answers.filter(({ status }) => status === 429);
  expect(refusals).toHaveLength(37);
  for (const { headers, body } of refusals) {
    expect(read({ body } as Answer)).toMatchObject({ code: 'rate-limited' });
    expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    expect(Number(headers['retry-after'])).toBeLessThanOrEqual(60);
    expect(headers['ratelimit-policy']).toBe('"default";q=3;w=60');
    expect(headers.ratelimit).toMatch(/^"default";r=0;t=\d+$/);
  }
  expect((await forge(stage, { path: '/aitp/tasks' })).status).toBe(200);
  await healthy(3);
});

test('1,000 keys that are none are refused without a look at those there are', async () => {
  const held = await stage.coordinator.sql.reserve();
  try {
    await held`begin`;
    await held`lock table api_keys in access exclusive mode`;
    const forged = stage.owner.api_key.slice(0, -6);
    const [answers, took] = await Promise.all([
      inParallel(
        many(1_000, (n) => `${forged}${String(n).padStart(6, '0')}`),
        100,
        (key) => forge(stage, { as: 'nobody', path: '/aitp/tasks', headers: { 'x-api-key': key } }),
      ),
      healthy(),
    ]);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401]));
    expect(took.at(-1)).toBeLessThan(AT_MOST_MS);
  } finally {
    await held`rollback`;
    held.release();
  }
});

test('30 bodies as long and as nested as a body may be do not hold up a beat', async () => {
  const body = `{"task_type":"never","surprise":[${many(15_000, () => '[[[[{"a":[1,2,3,4,5,6]}]]]]').join()}]}`;
  const [answers, took] = await Promise.all([
    Promise.all(many(30, () => forge(stage, { path: '/aitp/tasks', body }))),
    healthy(),
  ]);
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([422]));
  expect(took.at(-1)).toBeLessThan(AT_MOST_MS);
});

test('tasks of 500 kinds that nobody can do are no burden to those who poll', async () => {
  await inParallel(
    many(500, (n) => n),
    50,
    (n) => stage.owner.call(createTask, { body: { ...work, capability_required: `unknown-${n}` } }),
  );
  const since = performance.now();
  await stage.rivalAgent.poll();
  expect(performance.now() - since).toBeLessThan(AT_MOST_MS);
});

test('2,000 schedules that are due at once fire once each, and beats go on', async () => {
  const { sql } = stage.coordinator;
  const columns = await sql<{ name: string }[]>`
    select column_name as name from information_schema.columns where table_name = 'schedules' and is_generated = 'NEVER'`;
  const names = sql(columns.map(({ name }) => name));
  await sql`
    insert into schedules (${names}) select ${names} from (
      select (jsonb_populate_record(s, jsonb_build_object(
        'schedule_id', left(s.schedule_id, -5) || lpad(n::text, 5, '0'), 'next_run_at', muster_now()))).*
      from schedules s cross join generate_series(1, 2000) n where s.schedule_id = ${stage.schedule_id}) copies`;
  const took = await healthy(50);
  const counts = await eventually(
    async () => {
      const [row] = await sql<{ fired: number; distinct: number }[]>`
        select count(*)::int as fired, count(distinct schedule_id)::int as distinct from executions where status = 'FIRED'`;
      expect(row!.fired).toBeGreaterThanOrEqual(2_000);
      return row;
    },
    { timeoutMs: 10_000 },
  );
  expect(counts).toEqual({ fired: 2_000, distinct: 2_000 });
  expect(took.at(-1)).toBeLessThan(AT_MOST_MS);
});
