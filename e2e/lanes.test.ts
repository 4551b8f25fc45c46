import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { getAgent } from '@muster/shared/contract/agents';
import { createEnrollmentToken, listEnrollmentTokens } from '@muster/shared/contract/enrollment';
import { getWorkload } from '@muster/shared/contract/queue';
import { createSchedule, listExecutions } from '@muster/shared/contract/schedules';
import { createTask } from '@muster/shared/contract/tasks';
import { eventually } from '@muster/testing';
import postgres from 'postgres';
import { expect, onTestFinished, test } from 'vitest';
import { holdTables } from './fixtures/held-tables.ts';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork, startProcessNetwork, supervise, type TestNetwork } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

/** How many requests that are not vital are worked on at once. */
const AT_ONCE = 256;
const many = <T>(n: number, item: (n: number) => T): T[] => Array.from({ length: n }, (_, at) => item(at));
const rank = (took: readonly number[], share: number) =>
  [...took].sort((a, b) => a - b)[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0;

/** Beats, polls and finishes what it gets until it is told to stop; how long each call took, in milliseconds. */
async function workUntil(over: () => boolean, agents: readonly RawAgent[]): Promise<number[]> {
  const took: number[] = [];
  const timed = async <T>(call: Promise<T>): Promise<T> => {
    const since = performance.now();
    const answer = await call;
    took.push(performance.now() - since);
    return answer;
  };
  const live = async (agent: RawAgent) => {
    while (!over()) {
      const { lost } = await timed(agent.beat());
      expect(lost).toEqual([]);
      const { runs } = await timed(agent.poll());
      for (const run of runs) expect((await timed(agent.complete(run))).applied).toBe(true);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  await Promise.all(agents.map(live));
  return took;
}

test('when no more can be worked on, what is not vital is refused before its body is read, and agents are served as ever', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 4 });
  await network.submit({ task_type: 'work', input_data: 1 });
  await network.submit({ task_type: 'work', input_data: 2 });
  const [first, second] = [await agent.take(), await agent.take()];
  const enrollment_token = await network.enrol();
  const authorization = `Bearer ${network.adminKey}`;
  const submit = (who: Record<string, string> = { authorization }) =>
    fetch(`${network.url}/aitp/tasks`, {
      method: 'POST',
      headers: { ...who, 'content-type': 'application/json' },
      body: JSON.stringify({ task_type: 'work', input_data: null }),
    });
  const head = `POST /aitp/tasks HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n`;
  // Whoever sends a body slowly takes no place: as many as there are would take all.
  const slow = await Promise.all(many(AT_ONCE, () => say(network.url, `${head}{`)));

  const release = await holdTables(network.databaseUrl, 'lock table tasks in share mode');
  const refused: Response[] = [];
  const sent = many(AT_ONCE + 100, async () => {
    const response = await submit();
    if (response.status !== 201) refused.push(response);
    return response.status;
  });
  await eventually(() => expect(refused).toHaveLength(100));
  const since = performance.now();
  for (const response of refused) {
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await response.json()).toMatchObject({ code: 'overloaded' });
  }
  expect(await answerTo(await say(network.url, head))).toMatch(/^HTTP\/1\.1 503 /);
  // Who sent a body slowly waits for a place again.
  const rest = '"task_type":"work","input_data":null}'.padStart(999);
  const late = answerTo(slow[0]!);
  slow[0]!.write(rest);
  expect(await late).toMatch(/^HTTP\/1\.1 503 /);
  // Nobody asks who it is, and the answer is what every refusal is.
  const stranger = await submit({ 'x-request-id': 'who-am-i' });
  expect(await stranger.json()).toMatchObject({ status: 503, code: 'overloaded', request_id: 'who-am-i' });
  expect(Object.fromEntries(stranger.headers)).toMatchObject({
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'cross-origin-resource-policy': 'same-origin',
    'x-frame-options': 'DENY',
    'content-type': 'application/problem+json',
    'x-request-id': 'who-am-i',
    'retry-after': '1',
    date: expect.any(String),
  });
  // What reads has places of its own.
  expect((await fetch(`${network.url}/aitp/tasks`, { headers: { authorization } })).status).toBe(200);
  // All an agent ever does.
  await agent.beat({ runs: [{ run_id: first.run_id, fence: first.fence, progress: { percent: 50 } }] });
  await agent.start(second);
  await agent.complete(first);
  await agent.poll({ slots: 0, results: [{ run_id: second.run_id, fence: second.fence, outcome: 'COMPLETED' }] });
  await agent.assert();
  const comer = await RawAgent.register({ url: network.url }, { enrollment_token, capabilities: ['x'] });
  await comer.leave();
  for (const path of ['livez', 'readyz']) expect((await fetch(`${network.url}/${path}`)).status).toBe(200);
  expect(performance.now() - since).toBeLessThan(3_000);

  await release();
  expect((await Promise.all(sent)).filter((status) => status === 201)).toHaveLength(AT_ONCE);
  expect((await submit()).status).toBe(201);
  for (const socket of slow) socket.destroy();
});

async function say(url: string, text: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => {});
  await new Promise((resolve) => socket.write(text, resolve));
  return socket;
}
const answerTo = (socket: Socket) =>
  new Promise<string>((resolve) => socket.once('data', (chunk: Buffer) => resolve(chunk.toString())));

test('under a crowd of 3,000 submitters every beat and every result goes through, no lease ends, and what was acknowledged is there', async () => {
  const supervisor = supervise();
  const network = await startProcessNetwork(supervisor);
  const databaseUrl = network.coordinator.databaseUrl!;
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} });
  onTestFinished(() => sql.end({ timeout: 1 }));
  const enrollment_token = await network.enrol();
  const agents = await Promise.all(
    many(20, () => RawAgent.register({ url: network.url }, { enrollment_token, capabilities: ['crowd'], slots: 2 })),
  );
  const crowd = await supervisor.process({
    name: 'crowd',
    command: process.execPath,
    args: [
      fileURLToPath(new URL('fixtures/submit-load.mjs', import.meta.url)),
      network.url,
      network.coordinator.adminKey,
      'in_flight',
      '3000',
      '5000',
    ],
    ready: ({ msg }) => msg === 'ready',
  });
  let over = false;
  const working = workUntil(() => over, agents);
  // For a moment nothing can be taken in at all: whatever machine this runs on, there is too much.
  const release = await holdTables(databaseUrl, 'lock table tasks in share mode');
  setTimeout(() => void release(), 1_500);
  const done = await crowd.waitForLine(({ msg }) => msg === 'done', { timeoutMs: 40_000 });
  over = true;
  const took = await working;
  const { acked, shed, retry_after, other } = done as unknown as {
    acked: string[];
    shed: number;
    retry_after: number;
    other: object;
  };
  console.log(
    `${acked.length} submits taken, ${shed} shed; ${took.length} calls of agents: p50 ${rank(took, 0.5).toFixed()} ms, p99 ${rank(took, 0.99).toFixed()} ms, max ${rank(took, 1).toFixed()} ms`,
  );
  expect(other).toEqual({});
  expect(shed).toBeGreaterThan(0);
  expect(retry_after).toBe(shed);
  expect(acked.length).toBeGreaterThan(0);
  // Each agent has called a few times: how often is a matter of the machine.
  expect(took.length).toBeGreaterThan(5 * agents.length);
  expect(rank(took, 1)).toBeLessThan(10_000);
  const [missing] = await sql<[{ n: number }]>`
    select count(*)::int as n from unnest(${acked}::text[]) as a(task_id) where not exists (select from tasks t where t.task_id = a.task_id)`;
  expect(missing).toEqual({ n: 0 });
  const [ended] = await sql<[{ lost: number; completed: number }]>`
    select count(*) filter (where status = 'LOST')::int as lost, count(*) filter (where status = 'COMPLETED')::int as completed from runs`;
  expect(ended.lost).toBe(0);
  expect(ended.completed).toBeGreaterThan(0);
  for (const agent of agents.slice(0, 3)) {
    const seen = await network.admin(getAgent, { params: { agent_id: agent.agentId } });
    expect(seen.status).toBe('ACTIVE');
  }
});

/** Resolves when so many connections of those for lists and admins wait for a lock. */
const stuck = ({ sql }: Pick<TestNetwork, 'sql'>, n: number) =>
  eventually(async () => {
    const [row] = await sql<[{ n: number }]>`
      select count(*)::int as n from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and application_name = 'muster admin'`;
    expect(row.n).toBe(n);
  });

test('lists that hold every connection there is for lists do not delay beats, results or the look at a key', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 4 });
  const cron = { task_type: 'never', input_data: null, cron_expression: '0 0 1 1 *' };
  const { schedule_id } = await network.admin(createSchedule, { body: cron });
  await network.submit({ task_type: 'work', input_data: null });
  // Keys that nobody has looked at yet.
  const keys = await Promise.all(
    many(10, () => makeKey(network, { owner: 'acme', scopes: ['tasks:write', 'agents:admin'] })),
  );
  await Promise.all(
    keys.slice(0, 1).map((key) => key.call(createTask, { body: { task_type: 'work', input_data: null } })),
  );
  const { enrollment_token_id } = await network.admin(createEnrollmentToken, { body: { owner: 'acme' } });
  const release = await holdTables(
    network.databaseUrl,
    'lock table executions, enrollment_tokens in access exclusive mode',
  );
  const outcomeOf = (list: Promise<unknown>) =>
    list.then(
      () => 'read',
      ({ code }) => code,
    );
  const executions = many(50, () => outcomeOf(network.admin(listExecutions, { params: { schedule_id } })));
  // One connection is left to what changes something.
  await stuck(network, 3);
  const tokens = many(50, () => outcomeOf(network.admin(listEnrollmentTokens, {})));
  expect(new Set(await Promise.all(tokens)), 'lists that have no connection').toEqual(new Set(['overloaded']));
  const took: number[] = [];
  const timed = async (call: Promise<unknown>) => {
    const since = performance.now();
    await call;
    took.push(performance.now() - since);
  };
  for (let n = 0; n < 40; n += 1) await timed(agent.beat());
  for (const run of (await agent.poll({ wait_ms: 100 })).runs) await timed(agent.complete(run));
  for (const key of keys.slice(1)) await timed(key.call(createTask, { body: { task_type: 'work', input_data: null } }));
  expect(Math.max(...took)).toBeLessThan(2_000);
  expect((await fetch(`${network.url}/readyz`)).status).toBe(200);
  // Whose a thing is has to be looked up too: who asks takes a place.
  const owned = many(AT_ONCE + 100, () =>
    fetch(`${network.url}/ains/enrollment-tokens/${enrollment_token_id}`, {
      headers: { 'x-api-key': keys[0]!.api_key },
    }),
  );
  let shed = 0;
  for (const call of owned) void call.then(({ status }) => (shed += Number(status === 503)));
  await eventually(() => expect(shed).toBeGreaterThanOrEqual(100));
  await release();
  expect(new Set(await Promise.all(executions))).toEqual(new Set(['overloaded', 'read']));
  await Promise.all(owned);
});

test('what reads holds no more connections than it has places, also where it asks twice', async () => {
  const network = await startNetwork();
  const { agentId: agent_id } = await network.rawAgent();
  const release = await holdTables(network.databaseUrl, 'lock table leases, ready in access exclusive mode');
  const seen = Promise.allSettled(many(6, () => network.admin(getWorkload, { params: { agent_id } })));
  await stuck(network, 3);
  await network.admin(createEnrollmentToken, { body: { owner: 'acme' } });
  await stuck(network, 3);
  await release();
  await seen;
});
