import { newId } from '@muster/shared/ids';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Fragment } from '../../platform/database.ts';
import { isUniqueViolation } from '../../platform/storage-errors.ts';
import { countByStatus, findBatch, inBatch, listBatchResults, statesOfBatch } from './batches.ts';
import { type BulkFilter, chooseTasks, type Doing } from './bulk.ts';
import { moveRanks } from './priority.ts';
import { chosenOf, retryTasks } from './reopen.ts';
import { insertBatch } from './submit.ts';
import { cancelTasks } from './transitions.ts';

describe.each([18, 15] as const)('many tasks at once on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const insert = async (seeds: Parameters<Rows['task']>[0][], more: { needed?: string[]; key?: string } = {}) => {
    const tasks = await Promise.all(seeds.map((seed) => it.task(seed)));
    const batch_id = newId('batch');
    const inserted = await insertBatch(
      it.db.hot,
      {
        batch_id,
        owner: 'admin',
        atomic: false,
        size: tasks.length + 1,
        others: JSON.stringify([{ index: 0, problem: { code: 'conflict', detail: 'no "room"' } }]),
        idempotency_key: more.key ?? null,
        request_hash: more.key ?? null,
        indexes: tasks.map((_, n) => n + 1),
        needed: more.needed ?? [],
      },
      tasks,
    );
    return { batch_id, ids: tasks.map(({ task_id }) => task_id), ...inserted };
  };
  const choose = (doing: Doing, filter: Partial<BulkFilter> = {}) =>
    chooseTasks(it.sql, doing, { owner: undefined, ...filter }, 100);

  test('a batch is there with its tasks, those in the place each belongs to', async () => {
    const agent = await it.agent();
    const first = newId('task');
    const { batch_id, ids, fences } = await insert(
      [{ task_id: first }, agent, { depends_on: [first], on_dependency_failure: 'fail' }, { concurrency_key: 'k' }],
      { needed: [first] },
    );
    expect(await findBatch(it.sql, batch_id)).toMatchObject({ size: 5, others: [{ index: 0 }] });
    const states = (await statesOfBatch(it.sql, { batch_id, others: [] })).sort((a, b) => a.index! - b.index!);
    expect(states).toEqual(
      ['PENDING', 'ASSIGNED', 'BLOCKED', 'PENDING'].map((status, n) => ({ task_id: ids[n], index: n + 1, status })),
    );
    expect([...fences.keys()]).toEqual([1]);
    expect(await countByStatus(it.sql, batch_id)).toEqual([
      { status: 'ASSIGNED', n: 1 },
      { status: 'BLOCKED', n: 1 },
      { status: 'PENDING', n: 2 },
    ]);
    expect((await listBatchResults(it.sql, batch_id, 1, 2)).map(({ index }) => index)).toEqual([2, 3]);
    const [needed] = await it.sql`select has_dependents from tasks where task_id = ${first}`;
    expect(needed).toEqual({ has_dependents: true });
    expect(await it.eventsOf(ids[3]!)).toEqual(['task.created']);
  });

  test('a batch one of whose keys is taken, or whose request was there before, is not there at all', async () => {
    await it.submit({ unique_key: 'taken' });
    await insert([{}], { key: 'request' });
    const count = () => it.sql`
      select (select count(*) from tasks)::int as tasks, (select count(*) from ready)::int as ready, (select count(*) from batches)::int as batches,
        (select count(*) from unique_keys)::int as keys, (select count(*) from idempotency_keys)::int as requests`;
    const before = await count();
    for (const [seeds, more] of [
      [[{ unique_key: 'free' }, { unique_key: 'taken' }], { key: 'other' }],
      [[{ unique_key: 'free' }, {}], { key: 'request' }],
    ] as const)
      await expect(insert([...seeds], more)).rejects.toSatisfy(isUniqueViolation);
    expect(await count()).toEqual(before);
  });

  test('that what is between its ids is of a batch does not make it fewer to the planner', async () => {
    await it.sql`
      insert into tasks (task_id, class_id, owner, task_type, capability_required, input_data, priority, rank, timeout_seconds, max_retries, retry_policy, tags, metadata, run_at, created_at, batch_id)
      select 'task_' || n, 1, 'admin', 'echo', 'echo', '{}', 5, now(), 300, 3, 'fixed', '{}', '{}', now(), now(), 'batch_' || n / 100 from generate_series(1, 4000) n`;
    await it.sql`analyze tasks`;
    const expected = async (which: Fragment) => {
      const [row] = await it.sql<
        { plan: { Plan: { 'Plan Rows': number } }[] }[]
      >`explain (format json) select from tasks where ${which}`;
      return Object.values(row!)[0]![0]!.Plan['Plan Rows'];
    };
    const between = it.sql`task_id between (select 'a') and (select 'z')`;
    expect(await expected(inBatch(it.sql, 'batch_7'))).toBeGreaterThanOrEqual((await expected(between)) / 2);
    await it.sql`delete from tasks`;
  });

  test('the last run of a task is a step down an index, also where nobody has counted the runs', async () => {
    await it.sql`
      insert into runs (fence, task_id, replica, agent_id, capability, attempt, status, final, assigned_at, finished_at)
      select n, 'task_' || n, 0, 'agent', 'echo', 1, 'COMPLETED', true, now(), now() from generate_series(1, 60000) n`;
    for (const which of [it.sql``, it.sql`where task_id = 'task_1'`]) {
      const plan = JSON.stringify(await it.sql`explain select * from task_state ${which}`);
      expect(plan).toContain('runs_task');
      expect(plan).not.toContain('runs_pkey');
    }
    await it.sql`truncate runs`;
  });

  test('each verb finds what it can be done to, wherever it is, and does it', async () => {
    const agent = await it.agent();
    const later = new Date((await it.clock.now()).getTime() + 60_000).toISOString();
    const first = newId('task');
    const { batch_id, ids } = await insert(
      [
        { task_id: first },
        { run_at: later },
        { depends_on: [first], on_dependency_failure: 'fail' },
        { concurrency_key: 'k' },
        agent,
      ],
      { needed: [first] },
    );
    const [other] = await it.submit({});
    const all = [...ids, other!].sort();
    const waiting = all.filter((id) => id !== ids[4]);
    for (const filter of [{}, { batch_id }]) {
      const own = (found: string[]) => found.filter((id) => !('batch_id' in filter) || id !== other);
      expect((await choose({ verb: 'cancel' }, filter)).taskIds).toEqual(own(all));
      expect((await choose({ verb: 'prioritise', priority: 9 }, filter)).taskIds).toEqual(own(waiting));
      expect(await choose({ verb: 'prioritise', priority: 5 }, filter)).toEqual({ matched: 0, taskIds: [] });
      expect(await choose({ verb: 'retry' }, filter)).toEqual({ matched: 0, taskIds: [] });
    }
    expect((await choose({ verb: 'cancel' }, { status: 'ASSIGNED' })).taskIds).toEqual([ids[4]]);
    expect((await choose({ verb: 'cancel' }, { status: 'BLOCKED', batch_id })).taskIds).toEqual([ids[2]]);
    expect((await moveRanks(it.sql, all, 9)).sort()).toEqual(waiting);
    const cancelled = await cancelTasks(it.sql, all, 'enough');
    expect(cancelled.map(({ task_id }) => task_id).sort()).toEqual(all);
    expect(cancelled.filter(({ agent_id }) => agent_id)).toMatchObject([
      { task_id: ids[4], ...{ agent_id: agent.agent_id } },
    ]);
    expect(await cancelTasks(it.sql, all, 'again')).toEqual([]);
    for (const id of all) expect(await it.status(id)).toBe('CANCELLED');
    expect(await it.sql`select from blocked union all select from dependencies`).toHaveLength(0);
    // The one whose process is not gone yet cannot be begun anew.
    for (const filter of [{}, { batch_id }])
      expect((await choose({ verb: 'retry' }, filter)).taskIds).toEqual(
        waiting.filter((id) => !('batch_id' in filter) || id !== other),
      );
    const choice = { chosen: chosenOf(it.sql, all), ended: ['CANCELLED'] as const };
    expect((await retryTasks(it.sql, choice)).map(({ task_id }) => task_id).sort()).toEqual(waiting);
  });
});
