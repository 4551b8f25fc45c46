import { createBatch } from '@muster/shared/contract/batches';
import { cancelTasks, prioritiseTasks, retryTasks } from '@muster/shared/contract/bulk';
import { createSchedule } from '@muster/shared/contract/schedules';
import { listTasks } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';

const work = { task_type: 'work', input_data: null, max_retries: 0 };
const DRY = { dry_run: 'true' } as const;

const batchOf = async (network: TestNetwork, count: number, more: object = {}) =>
  network.admin(createBatch, { body: { tasks: Array.from({ length: count }, () => ({ ...work, ...more })) } });
const auditOf = (network: TestNetwork, action: string) =>
  network.sql`select owner, subject_id, after from audit_logs where action = ${action} order by audit_id`;

test('what has not ended is cancelled wherever it is, and what runs is stopped; what waits for it ends', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 2 });
  const tagged = { ...work, tags: ['old'] };
  const [done, running] = [await network.submit(tagged), await network.submit(tagged)];
  const { runs } = await agent.poll({ slots: 2 });
  await agent.complete(runs.find(({ task_id }) => task_id === done)!);
  const run = runs.find(({ task_id }) => task_id === running)!;
  await agent.start(run);
  const nobody = { ...tagged, capability_required: 'nobody' };
  const waiting = [
    await network.submit(nobody),
    await network.submit({ ...nobody, run_at: '2099-01-01T00:00:00Z' }),
    await network.submit({ ...nobody, depends_on: [running] }),
    await network.submit({ ...nobody, concurrency_key: 'k' }),
    await network.submit({ ...nobody, unique_key: 'u' }),
  ];
  const other = await network.submit({ ...work, capability_required: 'nobody' });
  const follower = await network.submit({ ...work, depends_on: [waiting[0]!], on_dependency_failure: 'skip' });
  const chosen = [running, ...waiting].sort();
  const body = { tag: 'old', reason: 'too old' };
  expect(await network.admin(cancelTasks, { body, query: DRY })).toEqual({
    matched: 6,
    changed: 0,
    remaining: 6,
    task_ids: chosen,
  });
  expect((await network.task(running)).status).toBe('RUNNING');
  const change = await network.admin(cancelTasks, { body });
  expect(change).toEqual({
    matched: 6,
    changed: 6,
    remaining: 0,
    task_ids: chosen,
  });
  expect((await agent.beat({ runs: [{ run_id: run.run_id, fence: run.fence }] })).cancel).toEqual([run.run_id]);
  for (const task_id of chosen)
    expect(await network.task(task_id)).toMatchObject({ status: 'CANCELLED', error: { message: 'too old' } });
  expect((await network.task(done)).status).toBe('COMPLETED');
  expect((await network.task(other)).status).toBe('PENDING');
  await network.until(follower, 'SKIPPED');
  // The keys of what was cancelled are free again.
  await network.submit({ ...nobody, unique_key: 'u' });
  await network.coordinator.tick();
  expect(await network.sql`select held from concurrency_limits`).toEqual([{ held: 0 }]);
  expect(await network.admin(cancelTasks, { body })).toMatchObject({ matched: 1, changed: 1 });
  const [first] = await auditOf(network, 'task.bulk_cancel');
  expect(first).toEqual({
    owner: 'admin',
    subject_id: 'tasks',
    after: { filter: { tag: 'old', reason: 'too old' }, changed: 6 },
  });
  expect(await auditOf(network, 'task.cancel')).toEqual([]);
});

test('ended tasks are queued again but those that cannot be, up to a limit', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 10 });
  const { batch_id, results } = await batchOf(network, 6);
  const { runs } = await agent.poll({ slots: 10 });
  for (const [n, run] of runs.entries()) await (n < 2 ? agent.complete(run) : agent.fail(run));
  const unique = { ...work, unique_key: 'u', capability_required: 'nobody' };
  const loser = await network.submit(unique);
  await network.cancel(loser);
  await network.submit(unique);
  const retry = (body: object, query = {}) => network.admin(retryTasks, { body: body as never, query });
  expect(await retry({ status: 'CANCELLED' })).toEqual({ matched: 1, changed: 0, remaining: 1, task_ids: [] });
  const failed = results.slice(2).map(({ task_id }) => task_id);
  expect(await retry({ batch_id }, DRY)).toEqual({ matched: 4, changed: 0, remaining: 4, task_ids: failed });
  expect(await retry({ batch_id, limit: 3 })).toEqual({
    matched: 4,
    changed: 3,
    remaining: 1,
    task_ids: failed.slice(0, 3),
  });
  expect(await retry({ batch_id })).toMatchObject({ matched: 1, changed: 1, remaining: 0 });
  const again = await agent.poll({ slots: 10 });
  expect(again.runs.map(({ task_id, attempt }) => [task_id, attempt])).toEqual(failed.map((id) => [id, 1]));
  expect(await auditOf(network, 'task.bulk_retry')).toMatchObject([
    { after: { filter: { batch_id }, changed: 3 } },
    { after: { changed: 1 } },
  ]);
});

test('what waits is given another priority, and goes first', async () => {
  const network = await startNetwork();
  await batchOf(network, 2, { client_id: 'a' });
  const { batch_id, results } = await batchOf(network, 2, { client_id: 'b' });
  const later = await network.submit({ ...work, client_id: 'b', run_at: '2099-01-01T00:00:00Z' });
  const urgent = await network.submit({ ...work, client_id: 'b', priority: 9 });
  const body = { client_id: 'b', priority: 9 };
  // What has it already is not to be changed.
  expect(await network.admin(prioritiseTasks, { body })).toMatchObject({ matched: 3, changed: 3, remaining: 0 });
  expect(await network.admin(prioritiseTasks, { body })).toMatchObject({ matched: 0, changed: 0, remaining: 0 });
  expect((await network.task(later)).priority).toBe(9);
  const agent = await network.rawAgent({ slots: 3 });
  const { runs } = await agent.poll({ slots: 3 });
  expect(runs.map(({ task_id }) => task_id)).toEqual([...results.map(({ task_id }) => task_id), urgent]);
  expect(await network.admin(cancelTasks, { body: { batch_id, status: 'PENDING' } })).toMatchObject({ matched: 0 });
});

test('a filter finds what a list by it shows, and nothing is chosen by no filter', async () => {
  const network = await startNetwork();
  const { schedule_id } = await network.admin(createSchedule, {
    body: { ...work, cron_expression: '* * * * * *', metadata: { team: 'red' } },
  });
  await network.clock.advance('3s');
  const red = await network.admin(listTasks, { query: { metadata: 'team=red' } });
  expect(red.data.length).toBeGreaterThan(0);
  const middle = (await network.clock.now()).toISOString();
  await network.clock.advance('1ms');
  const { batch_id } = await batchOf(network, 3, { task_type: 'job', metadata: { team: 'blue' }, tags: ['x'] });
  const matched = async (body: object) =>
    (await network.admin(cancelTasks, { body: body as never, query: DRY })).matched;
  expect(await matched({ metadata: 'team=red', to: middle })).toBe(red.data.length);
  expect(await matched({ schedule_id, to: middle })).toBe(red.data.length);
  for (const body of [
    { task_type: 'job' },
    { capability: 'job' },
    { tag: 'x' },
    { metadata: 'team=blue' },
    { batch_id },
    { from: middle, tag: 'x' },
    { status: 'PENDING', tag: 'x' },
  ])
    expect(await matched(body), JSON.stringify(body)).toBe(3);
  for (const body of [{ status: 'COMPLETED' }, { status: 'RUNNING' }, { tag: 'y' }, { to: middle, tag: 'x' }])
    expect(await matched(body), JSON.stringify(body)).toBe(0);
  await expect(matched({})).rejects.toMatchObject({ code: 'validation-failed' });
  await expect(matched({ limit: 5 })).rejects.toMatchObject({ code: 'validation-failed' });
  await expect(matched({ metadata: 'red' })).rejects.toMatchObject({ message: '#/metadata is not key=value' });
});

test('an owner changes its own alone, and an admin’s change is told to each owner', async () => {
  const network = await startNetwork();
  const scopes = ['tasks:read', 'tasks:write'] as const;
  const [acme, rival] = [
    await makeKey(network, { owner: 'acme', scopes: [...scopes] }),
    await makeKey(network, { owner: 'rival', scopes: [...scopes] }),
  ];
  const tasks = [work, work].map((task) => ({ ...task, client_id: 'c' }));
  for (const { call } of [acme, acme, rival]) await call(createBatch, { body: { tasks } });
  const body = { client_id: 'c' };
  expect(await rival.call(cancelTasks, { body })).toMatchObject({ matched: 2, changed: 2 });
  expect(await acme.call(prioritiseTasks, { body: { ...body, priority: 7 } })).toMatchObject({ changed: 4 });
  expect(await rival.call(retryTasks, { body })).toMatchObject({ changed: 2 });
  expect(await network.admin(cancelTasks, { body })).toMatchObject({ matched: 6, changed: 6 });
  const told = (await auditOf(network, 'task.bulk_cancel')).map(({ owner, after }) => `${owner} ${after.changed}`);
  expect(told.sort()).toEqual(['acme 4', 'rival 2', 'rival 2']);
});

test('several thousand are changed by one call, and calls at the same moment change each once', async () => {
  const network = await startNetwork();
  for (let n = 0; n < 3; n += 1) await batchOf(network, 1_000, { client_id: 'c' });
  const body = { client_id: 'c' };
  const answers = await Promise.all([1, 2, 3].map(() => network.admin(cancelTasks, { body })));
  expect(answers.reduce((sum, { changed }) => sum + changed, 0)).toBe(3_000);
  expect(answers.map(({ remaining }) => remaining)).toEqual([0, 0, 0]);
  const [events] = await network.sql`
    select sum(cardinality(subject_ids))::int as n from events where kind = 'task.cancelled'`;
  expect(events).toEqual({ n: 3_000 });
  expect(await network.admin(retryTasks, { body: { ...body, limit: 1_500 } })).toMatchObject({
    matched: 3_000,
    changed: 1_500,
    remaining: 1_500,
  });
  expect(await network.sql`select count(*)::int as n from ready`).toEqual([{ n: 1_500 }]);
}, 30_000);
