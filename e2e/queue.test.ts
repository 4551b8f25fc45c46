import { cordonAgent } from '@muster/shared/contract/agents';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import {
  explainTask,
  getQueueStats,
  getWorkload,
  listQueueCapabilities,
  pauseCapability,
  prioritiseTask,
  resumeCapability,
} from '@muster/shared/contract/queue';
import { createTask } from '@muster/shared/contract/tasks';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { holdSweeps } from './fixtures/held-tables.ts';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';
import { tableHashes } from './fixtures/tables.ts';

const work = { task_type: 'work', input_data: null };
const SCOPES = ['tasks:read', 'tasks:write', 'agents:read', 'agents:admin'] as const;
const ownerAt = (network: TestNetwork, owner: string) => makeKey(network, { owner, scopes: [...SCOPES] });

test('the queue says what waits and runs by capability and priority, and for how long', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ capabilities: ['work', 'other'], slots: 5 });
  const stats = (capability?: string) => network.admin(getQueueStats, { query: capability ? { capability } : {} });
  expect(await stats()).toMatchObject({ data: [], totals: { ready: 0, age_ms: null, oldest: null }, estimated: false });

  const first = await network.submit({ ...work, priority: 9 });
  await agent.take();
  await network.clock.advance('60s');
  const { run_at } = await network.task(await network.submit(work));
  await network.clock.advance('60s');
  for (const priority of [5, 10, 10]) await network.submit({ ...work, priority });
  await network.submit({ ...work, run_at: '2099-01-01T00:00:00Z' });
  await network.submit({ ...work, depends_on: [first] });
  await network.submit({ ...work, concurrency_key: 'one', run_at: '2099-01-01T00:00:00Z' });
  await network.submit({ ...work, capability_required: 'other' });

  const { data, totals } = await stats();
  expect(data.map((it) => it.capability)).toEqual(['work', 'other']);
  expect(data[0]).toMatchObject({
    ready: 4,
    delayed: 2,
    blocked: 1,
    gated: 0,
    running: 1,
    oldest: run_at,
    paused: false,
  });
  expect(data[0]!.by_priority).toMatchObject({ 1: 0, 5: 2, 10: 2 });
  const { p50, p99, max } = data[0]!.age_ms!;
  expect(p50).toBeLessThan(60_000);
  expect(max).toBeGreaterThanOrEqual(60_000);
  expect(p99).toBe(max);
  expect(totals).toMatchObject({ ready: 5, delayed: 2, blocked: 1, running: 1, oldest: run_at });
  expect((await stats('other')).totals).toMatchObject({ ready: 1, running: 0 });
});

test('an owner sees its own queue, and pauses its own tasks alone', async () => {
  const network = await startNetwork();
  const [acme, rival] = [await ownerAt(network, 'acme'), await ownerAt(network, 'rival')];
  const agent = await network.rawAgent({ enrollment_token: await network.enrol({ serves: 'all' }), slots: 5 });
  const params = { capability: 'work' };
  expect(await acme.call(pauseCapability, { params })).toMatchObject({
    owner: 'acme',
    paused: true,
    paused_by: 'owner',
  });
  const mine = await acme.call(createTask, { body: work });
  const theirs = await rival.call(createTask, { body: work });
  expect((await agent.take()).task_id).toBe(theirs.task_id);
  expect((await agent.poll()).runs).toEqual([]);

  expect((await acme.call(getQueueStats, {})).totals).toMatchObject({ ready: 1, running: 0 });
  expect((await rival.call(getQueueStats, {})).totals).toMatchObject({ ready: 0, running: 1 });
  expect((await network.admin(getQueueStats, {})).totals).toMatchObject({ ready: 1, running: 1 });
  expect((await rival.call(listQueueCapabilities, {})).data).toEqual([
    { owner: 'rival', capability: 'work', paused: false, paused_at: null, paused_by: null },
  ]);
  // Another's word changes nothing, whatever it says.
  await rival.call(resumeCapability, { params });
  expect((await agent.poll()).runs).toEqual([]);
  const foreign = { params: { task_id: mine.task_id } };
  await expect(rival.call(explainTask, foreign)).rejects.toMatchObject({ code: 'not-found' });
  await expect(rival.call(prioritiseTask, { ...foreign, body: { priority: 1 } })).rejects.toMatchObject({
    code: 'not-found',
  });
  await expect(rival.call(getWorkload, { params: { agent_id: agent.agentId } })).rejects.toMatchObject({
    code: 'not-found',
  });
  await acme.call(resumeCapability, { params });
  expect((await agent.take()).task_id).toBe(mine.task_id);
  const { data } = await network.admin(getQueueStats, {});
  expect(data).toMatchObject([{ capability: 'work', paused: false, running: 2 }]);
});

test('a paused capability is neither claimed nor handed to polls that wait; a resume wakes them at once', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ capabilities: ['work:v1', 'other'], slots: 5 });
  const before = await network.submit(work);
  const run = await agent.take();
  const waiting = agent.poll({ wait_ms: 20_000 });
  await eventually(() => network.coordinator.tick());
  const params = { capability: 'work' };
  expect(await network.admin(pauseCapability, { params })).toMatchObject({ owner: '*', paused_by: 'network' });
  // Of the same capability, of a class that comes up only now, and one that was delayed.
  const task_id = await network.submit(work);
  const labelled = await network.submit({ ...work, labels_preferred: { zone: 'eu' } });
  await network.submit({ ...work, run_at: new Date((await network.clock.now()).getTime() + 1_000).toISOString() });
  await network.clock.advance('2s');
  expect(await network.admin(getQueueStats, {})).toMatchObject({ data: [{ ready: 3, paused: true, running: 1 }] });
  expect((await network.admin(explainTask, { params: { task_id } })).reason).toBe('work is paused');
  // The poll still waits, and for the rest as before.
  const other = await network.submit({ ...work, capability_required: 'other' });
  expect((await waiting).runs.map((it) => it.task_id)).toEqual([other]);
  expect((await agent.poll()).runs).toEqual([]);
  await agent.complete(run);
  expect((await network.task(before)).status).toBe('COMPLETED');

  const again = agent.poll({ wait_ms: 20_000, slots: 3 });
  await eventually(() => network.coordinator.tick());
  const release = await holdSweeps(network.databaseUrl);
  await network.admin(resumeCapability, { params });
  const runs = (await again).runs.map((it) => it.task_id);
  await release();
  expect(runs).toEqual(expect.arrayContaining([task_id, labelled]));
});

test('a pause holds at every coordinator, at one that starts later too', async () => {
  const one = await startNetwork();
  const start = () => startNetwork({ databaseUrl: one.databaseUrl, env: { MUSTER_ADMIN_KEY: one.adminKey } });
  const other = await start();
  const agent = await other.rawAgent({ slots: 5 });
  const waiting = agent.poll({ wait_ms: 20_000 });
  await other.coordinator.tick();
  const params = { capability: 'work' };
  await one.admin(pauseCapability, { params });
  await eventually(async () =>
    expect((await other.admin(listQueueCapabilities, {})).data).toMatchObject([{ capability: 'work', paused: true }]),
  );
  await other.coordinator.tick();
  const task_id = await other.submit(work);
  const late = await start();
  const newcomer = await late.rawAgent();
  expect((await newcomer.poll()).runs).toEqual([]);
  expect((await one.task(task_id)).status).toBe('PENDING');
  await one.admin(resumeCapability, { params });
  expect((await waiting).runs.map((it) => it.task_id)).toEqual([task_id]);
});

test('a pause is of what a task requires, and audited once', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ capabilities: ['work:v1'], slots: 5 });
  const params = { capability: 'work:v1' };
  for (const verb of [pauseCapability, pauseCapability]) await network.admin(verb, { params });
  const any = await network.submit(work);
  await network.submit({ ...work, capability_required: 'work:v1' });
  expect((await agent.poll({ slots: 5 })).runs.map((it) => it.task_id)).toEqual([any]);
  for (const verb of [resumeCapability, resumeCapability]) await network.admin(verb, { params });
  expect((await agent.poll({ slots: 5 })).runs).toHaveLength(1);
  expect(
    await network.sql`select action, subject_id from audit_logs where action like 'capability.%' order by audit_id`,
  ).toEqual([
    { action: 'capability.pause', subject_id: 'work:v1' },
    { action: 'capability.resume', subject_id: 'work:v1' },
  ]);
  const acme = await ownerAt(network, 'acme');
  await network.sql`insert into pauses select 'acme', 'p' || n, muster_now() from generate_series(1, 1000) n`;
  await expect(acme.call(pauseCapability, { params })).rejects.toMatchObject({ code: 'conflict' });
  await acme.call(pauseCapability, { params: { capability: 'p7' } });
  await expect(network.admin(pauseCapability, { params: { capability: 'no such!' } })).rejects.toMatchObject({
    code: 'invalid-id',
  });
});

test('a workload is what an agent runs and what there is for it', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ capabilities: ['work', 'other'], slots: 2 });
  const params = { agent_id: agent.agentId };
  const workload = () => network.admin(getWorkload, { params });
  expect(await workload()).toMatchObject({
    slots: 2,
    slots_used: 0,
    able: true,
    reason: null,
    runs: [],
    capabilities: [],
  });
  const task_id = await network.submit(work);
  const run = await agent.take();
  await agent.start(run);
  await network.submit(work);
  await network.submit({ ...work, labels_required: { zone: 'eu' } });
  for (const capability_required of ['other', 'third']) await network.submit({ ...work, capability_required });
  await network.admin(pauseCapability, { params: { capability: 'other' } });
  const now = await workload();
  expect(now.runs).toMatchObject([{ run_id: run.run_id, task_id, capability: 'work', attempt: 1 }]);
  expect(now.runs[0]!.started_at).not.toBeNull();
  expect(now).toMatchObject({ slots_used: 1, able: true });
  expect(now.capabilities).toEqual([
    { capability: 'work', ready: 1, paused: false },
    { capability: 'other', ready: 0, paused: true },
  ]);
  await agent.take();
  expect(await workload()).toMatchObject({ slots_used: 2, able: false, reason: 'has no free slot' });
});

test('a task is explained wherever it is, and nothing changes by it', async () => {
  const network = await startNetwork();
  const explain = async (task_id: string) => {
    const before = await tableHashes(network.sql);
    const answer = await network.admin(explainTask, { params: { task_id } });
    expect(await tableHashes(network.sql)).toEqual(before);
    return answer;
  };
  const settings = { ...work, labels_required: { zone: 'eu' } };
  const first = await network.submit(settings);
  expect(await explain(first)).toMatchObject({
    place: 'ready',
    status: 'PENDING',
    ahead: 0,
    candidates: [],
    reason: 'there is no agent that serves its owner',
  });
  const labels = { zone: 'eu' };
  const join = async (over: object, labelled = true) => {
    const agent = await network.rawAgent({ ...over });
    if (labelled)
      await network.sql`update agents set labels = ${network.sql.json(labels)} where agent_id = ${agent.agentId}`;
    return agent.agentId;
  };
  const cannot = await join({ capabilities: ['other'] });
  const unlabelled = await join({}, false);
  const closed = await join({});
  await network.admin(cordonAgent, { params: { agent_id: closed } });
  const gone = await join({});
  const reasons = async () =>
    Object.fromEntries((await explain(first)).candidates.map((it) => [it.agent_id, it.reason]));
  expect((await reasons())[cannot]).toBe('cannot do work');
  expect(await reasons()).toMatchObject({
    [unlabelled]: 'has not the label zone=eu',
    [closed]: 'is CORDONED',
    [gone]: null,
  });
  await network.clock.advance('31s', { beats: 'missed' });
  expect(await reasons()).toMatchObject({ [gone]: 'does not beat' });
  expect((await explain(first)).reason).toMatch(/^no agent may have it now; the one that comes closest does not beat/);

  const able = await network.rawAgent({ slots: 1 });
  await network.sql`update agents set labels = ${network.sql.json(labels)} where agent_id = ${able.agentId}`;
  const second = await network.submit(settings);
  const urgent = await network.submit({ ...settings, priority: 10 });
  const seen = await explain(second);
  expect(seen.candidates[0]).toEqual({ agent_id: able.agentId, able: true, reason: null });
  expect(seen).toMatchObject({ ahead: 2, reason: '1 agents may have it, and 2 tasks like it stand before it' });
  await eventually(async () => expect((await able.poll()).runs).toMatchObject([{ task_id: urgent }]));
  expect(await explain(urgent)).toMatchObject({
    place: 'leased',
    status: 'ASSIGNED',
    agent_id: able.agentId,
    candidates: [],
  });
  expect((await explain(second)).candidates[0]).toMatchObject({ able: false, reason: 'has no free slot' });

  const delayed = await network.submit({ ...work, run_at: '2099-01-01T00:00:00Z' });
  expect(await explain(delayed)).toMatchObject({ place: 'delayed', until: '2099-01-01T00:00:00.000Z', ahead: null });
  const [held, gated] = [
    await network.submit({ ...work, concurrency_key: 'one' }),
    await network.submit({ ...work, concurrency_key: 'one' }),
  ];
  await network.coordinator.tick();
  expect(await explain(held)).toMatchObject({ place: 'ready' });
  expect(await explain(gated)).toMatchObject({
    place: 'gated',
    status: 'PENDING',
    reason: 'of its concurrency key one 1 of 1 are under way',
  });
  expect((await network.admin(getQueueStats, {})).totals.gated).toBe(1);
  const blocked = await network.submit({ ...work, depends_on: [first, second] });
  expect(await explain(blocked)).toMatchObject({
    place: 'blocked',
    status: 'BLOCKED',
    reason: 'it waits for 2 other tasks',
  });
  await network.cancel(delayed);
  expect(await explain(delayed)).toMatchObject({ place: 'ended', reason: 'it is CANCELLED', candidates: [] });
});

test("an owner's explanation names its own agents and those that serve all", async () => {
  const network = await startNetwork();
  const [acme, rival] = [await ownerAt(network, 'acme'), await ownerAt(network, 'rival')];
  const own = async (key: typeof acme) =>
    network.rawAgent({ enrollment_token: (await key.call(createEnrollmentToken, { body: {} })).enrollment_token });
  const [mine] = [await own(acme), await own(rival)];
  const shared = await network.rawAgent({ enrollment_token: await network.enrol({ serves: 'all' }) });
  const { task_id } = await acme.call(createTask, { body: work });
  const { candidates } = await acme.call(explainTask, { params: { task_id } });
  expect(candidates.map((it) => it.agent_id).sort()).toEqual([mine.agentId, shared.agentId].sort());
});

test('a task that waits is moved by its priority, wherever it waits; one that runs or has ended is not', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 9 });
  const [a, b] = [await network.submit(work), await network.submit(work)];
  const give = (task_id: string, priority: number) =>
    network.admin(prioritiseTask, { params: { task_id }, body: { priority } });
  expect(await give(b, 10)).toMatchObject({ task_id: b, priority: 10, status: 'PENDING' });
  expect((await agent.take()).task_id).toBe(b);
  await expect(give(b, 1)).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('is ASSIGNED') });
  await give(a, 5);
  const run_at = new Date((await network.clock.now()).getTime() + 5_000).toISOString();
  const [late, later] = [await network.submit({ ...work, run_at }), await network.submit({ ...work, run_at })];
  await give(later, 6);
  const blocked = await network.submit({ ...work, depends_on: [a] });
  await give(blocked, 7);
  const run = await agent.take();
  expect(run.task_id).toBe(a);
  await agent.complete(run);
  await expect(give(a, 1)).rejects.toMatchObject({
    code: 'task-terminal',
    message: expect.stringContaining('COMPLETED'),
  });
  await network.clock.advance('6s');
  const order = (await agent.poll({ slots: 3 })).runs.map((it) => it.task_id);
  expect(order).toEqual([blocked, later, late]);
  expect(await network.sql`select count(*)::int as n from audit_logs where action = 'task.prioritise'`).toEqual([
    { n: 4 },
  ]);
});
