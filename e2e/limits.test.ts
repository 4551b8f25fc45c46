import type { Handler } from '@muster/agent';
import { listAuditLogs } from '@muster/shared/contract/audit';
import { deleteLimit, explainTask, getQueueStats, listLimits, putLimit } from '@muster/shared/contract/queue';
import { createTask } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { inParallel, type Network, startNetwork, startSdkAgent } from './fixtures/network.ts';

type Bounds = { max_running?: number; starts_per_second?: number; weight?: number };
const work = { task_type: 'work', input_data: null };
const limit = (network: Network, scope: 'global' | 'owner' | 'capability', name: string, body: Bounds) =>
  network.admin(putLimit, { params: { scope, name }, body });
const why = async (network: Network, task_id: string) =>
  (await network.admin(explainTask, { params: { task_id } })).reason;

test('no more of an owner run than may, whoever asks where, and a poll that waits has the room as it comes', async () => {
  const one = await startNetwork();
  const other = await startNetwork({ databaseUrl: one.databaseUrl, env: { MUSTER_ADMIN_KEY: one.adminKey } });
  // Said to both, so that neither has yet to hear of it.
  for (const network of [other, one])
    expect(await limit(network, 'owner', 'admin', { max_running: 2 })).toMatchObject({ max_running: 2, running: 0 });
  const enrollment_token = await one.enrol();
  const [first, second] = await inParallel([one, other], 2, ({ rawAgent }) => rawAgent({ enrollment_token, slots: 5 }));
  const ids = await inParallel([1, 2, 3, 4], 1, () => one.submit(work));
  const { runs } = await first!.poll({ slots: 5, wait_ms: 5_000 });
  expect(runs.map((run) => run.task_id)).toEqual(ids.slice(0, 2));
  expect((await second!.poll({ slots: 5 })).runs).toEqual([]);
  expect(await why(other, ids[2]!)).toBe('owner admin runs 2 of 2');
  expect((await one.admin(getQueueStats, {})).limits).toEqual([
    { scope: 'owner', name: 'admin', max_running: 2, starts_per_second: null, running: 2 },
  ]);

  const waiting = second!.poll({ slots: 5, wait_ms: 20_000 });
  const asked = performance.now();
  await first!.complete(runs[0]!);
  expect((await waiting).runs.map((run) => run.task_id)).toEqual([ids[2]]);
  expect(performance.now() - asked).toBeLessThan(3_000);

  // Without a limit all goes on, and so does the poll that waits.
  const further = first!.poll({ slots: 5, wait_ms: 20_000, holding: [runs[1]!.run_id] });
  await one.admin(deleteLimit, { params: { scope: 'owner', name: 'admin' } });
  expect((await further).runs.map((run) => run.task_id)).toEqual([ids[3]]);
});

test('a limit holds everywhere by the next look of each coordinator, and what was begun before is counted', async () => {
  const one = await startNetwork();
  const other = await startNetwork({ databaseUrl: one.databaseUrl, env: { MUSTER_ADMIN_KEY: one.adminKey } });
  const agent = await other.rawAgent({ slots: 10 });
  await inParallel([1, 2, 3, 4, 5, 6], 2, () => other.submit(work));
  const before = await agent.poll({ slots: 2, wait_ms: 5_000 });
  expect(before.runs).toHaveLength(2);
  expect(await limit(one, 'global', '*', { max_running: 3 })).toMatchObject({ running: 2 });
  await other.coordinator.tick();
  expect((await agent.poll({ slots: 10 })).runs).toHaveLength(1);
  expect((await agent.poll({ slots: 10 })).runs).toEqual([]);
});

test('runs of a capability begin at their pace', async () => {
  const network = await startNetwork();
  await limit(network, 'capability', 'work', { starts_per_second: 5 });
  const agent = await network.rawAgent({ slots: 100 });
  const ids = await inParallel(Array.from({ length: 12 }), 4, () => network.submit(work));
  expect(await why(network, ids[11]!)).toContain('capability work starts at most 5 a second');
  for (let begun = 0; begun < 12; ) {
    const { runs } = await agent.poll({ slots: 100, wait_ms: 10_000 });
    expect(runs.length).toBeGreaterThan(0);
    begun += runs.length;
  }
  const tasks = await inParallel(ids, 4, (id) => network.task(id));
  const times = tasks.map(({ runs }) => Date.parse(runs[0]!.assigned_at)).sort((a, b) => a - b);
  for (const [n, at] of times.entries()) expect(at - times[0]!).toBeGreaterThanOrEqual(n * 200 - 2);
  // Eleven fifths of a second, with thrice the slack.
  expect(times.at(-1)! - times[0]!).toBeLessThan(6_600);
});

test('a task of several slots runs where they are free, and its agent knows', async () => {
  const network = await startNetwork();
  const small = await network.rawAgent({ slots: 2 });
  const agent = await network.rawAgent({ slots: 4 });
  const big = await network.submit({ ...work, slot_cost: 3 });
  expect((await small.poll({ slots: 2 })).runs).toEqual([]);
  const run = await agent.take();
  expect(run).toMatchObject({ task_id: big, slot_cost: 3 });
  expect((await network.task(big)).slot_cost).toBe(3);
  const next = await network.submit({ ...work, slot_cost: 3 });
  const { candidates } = await network.admin(explainTask, { params: { task_id: next } });
  expect(candidates).toEqual([
    { agent_id: agent.agentId, able: false, reason: 'has 1 slots free and not 3' },
    { agent_id: small.agentId, able: false, reason: 'has 2 slots and not 3' },
  ]);
  // What fits beside it is not kept back.
  const fits = await network.submit(work);
  expect((await agent.poll({ slots: 4 })).runs).toMatchObject([{ task_id: fits }]);
  const waiting = agent.poll({ slots: 1, wait_ms: 10_000 });
  await agent.complete(run);
  expect((await waiting).runs).toMatchObject([{ task_id: next }]);
  // Nobody could ever run it; it waits for somebody who can.
  const huge = await network.submit({ ...work, slot_cost: 1_000 });
  expect((await network.task(huge)).status).toBe('PENDING');
});

test('a task of several slots does not wait for ever behind small ones', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 2 });
  const take = async () => (await agent.poll({ slots: 2 })).runs;
  await network.submit({ ...work, priority: 10 });
  const [first] = await take();
  const big = await network.submit({ ...work, slot_cost: 2 });
  await network.submit({ ...work, priority: 10 });
  const [second] = await take();
  expect(second).toBeDefined();
  await network.clock.advance('61s');
  await agent.assert();
  await network.submit({ ...work, priority: 10 });
  await agent.complete(first!);
  expect(await take()).toEqual([]);
  await agent.complete(second!);
  expect(await take()).toMatchObject([{ task_id: big }]);
});

test('all limits hold at once, of the network, owners, capabilities, keys and agents', async () => {
  const network = await startNetwork();
  const other = await startNetwork({ databaseUrl: network.databaseUrl, env: { MUSTER_ADMIN_KEY: network.adminKey } });
  for (const at of [network, other]) {
    await limit(at, 'global', '*', { max_running: 6 });
    await limit(at, 'owner', 'acme', { max_running: 3 });
    await limit(at, 'capability', 'other', { max_running: 2 });
  }
  const most: Record<string, number> = { all: 6, acme: 3, other: 2, key: 1 };
  const running = new Map<string, number>();
  const seen = new Map<string, number>();
  const count = (names: readonly string[], n: number) => {
    for (const name of names) {
      running.set(name, (running.get(name) ?? 0) + n);
      seen.set(name, Math.max(seen.get(name) ?? 0, running.get(name)!));
    }
  };
  const handlerOf =
    (agent: string): Handler =>
    async ({ input_data }) => {
      const names = ['all', agent, ...(input_data as string[])];
      count(names, 1);
      await new Promise((resolve) => setTimeout(resolve, 50));
      count(names, -1);
    };
  const acme = await makeKey(network, { owner: 'acme', scopes: ['tasks:read', 'tasks:write'] });
  const ids = await inParallel(
    Array.from({ length: 80 }, (_, n) => n),
    8,
    async (n) => {
      const task_type = n % 3 ? 'work' : 'other';
      const owned = n % 2 ? 'acme' : 'mine';
      const keyed = n % 10 < 2;
      const call = owned === 'acme' ? acme.call : network.admin;
      const input_data = [owned, task_type, ...(keyed ? [`${owned} key`] : [])];
      const key = keyed ? { concurrency_key: 'key', concurrency_limit: 1 } : {};
      return (await call(createTask, { body: { task_type, input_data, ...key } })).task_id;
    },
  );
  await inParallel(['one', 'two', 'three', 'four'], 2, async (name, n) => {
    most[name] = 2;
    const handler = handlerOf(name);
    const handlers = { work: handler, other: handler };
    const enrollment_token = await network.enrol({ serves: 'all' });
    await startSdkAgent(n % 2 ? network : other, { enrollment_token, slots: 2, handlers });
  });
  await inParallel(ids, 4, (id) => network.until(id, 'COMPLETED', 25_000));
  most['acme key'] = 1;
  most['mine key'] = 1;
  for (const [name, n] of seen) if (most[name] !== undefined) expect(n, name).toBeLessThanOrEqual(most[name]);
  // There was something to exceed.
  expect(seen.get('all')).toBeGreaterThan(3);
});

test('limits are listed and audited, and one that makes no sense is refused', async () => {
  const network = await startNetwork();
  await limit(network, 'owner', 'acme', { max_running: 5, weight: 3 });
  await limit(network, 'owner', 'acme', { max_running: 7 });
  const params = { scope: 'owner', name: 'acme' } as const;
  expect((await network.admin(listLimits, {})).data).toMatchObject([{ ...params, max_running: 7, weight: null }]);
  for (const [scope, name, body, pointer] of [
    ['global', 'acme', { max_running: 1 }, '#/name'],
    ['owner', '*', { max_running: 1 }, '#/name'],
    ['capability', 'work', { weight: 2 }, '#/weight'],
  ] as const)
    await expect(limit(network, scope, name, body)).rejects.toMatchObject({
      code: 'validation-failed',
      errors: [{ pointer }],
    });
  await network.admin(deleteLimit, { params });
  await expect(network.admin(deleteLimit, { params })).rejects.toMatchObject({ code: 'not-found' });
  expect((await network.admin(listLimits, {})).data).toEqual([]);
  const { data } = await network.admin(listAuditLogs, {});
  expect(
    data.filter((it) => it.action.startsWith('limit.')).map(({ action, before, after }) => [action, before, after]),
  ).toEqual([
    ['limit.delete', { max_running: 7 }, null],
    ['limit.set', { weight: 3, max_running: 5 }, { max_running: 7 }],
    ['limit.set', null, { weight: 3, max_running: 5 }],
  ]);
});
