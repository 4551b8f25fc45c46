import { runIdOf } from '@muster/shared/ids';
import { type Life, openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { applyResults } from '../dispatch/store/results.ts';
import { insertTasks, type NewTask } from '../tasks/store/submit.ts';
import { cancelTask, retryTask } from '../tasks/store/transitions.ts';
import { deleteRun, forgetTasks } from './store/delete.ts';
import { listRecords, listRuns, type RunFilter } from './store/read.ts';

describe.each([18, 15] as const)('runs on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  type Run = Life & { fence: number; task_id: string };
  const lease = async (agent: Life, seed: Partial<NewTask> = {}): Promise<Run> => {
    const task = await it.task({ ...seed, ...agent });
    return { task_id: task.task_id, ...agent, fence: (await insertTasks(it.db.hot, [task])).fences.get(0)! };
  };
  const end = async (run: Run, status: string, over: { retryable?: boolean; result_data?: string } = {}) => {
    const fault = status === 'COMPLETED' ? null : 'agent';
    const said = { ...run, status, fault, retryable: false, result_data: null, error: null, ...over };
    expect(await applyResults(it.db.hot, [said])).toHaveLength(1);
  };
  const fences = async () => (await it.sql`select fence::int as fence from runs order by 1`).map((row) => row.fence);

  test('a live run cannot be deleted, nor one of a task that goes on, nor the one a task ended with', async () => {
    const agent = await it.agent();
    const live = await lease(agent);
    const tried = await lease(agent);
    await end(tried, 'FAILED', { retryable: true });
    const done = await lease(agent);
    await end(done, 'COMPLETED');
    for (const { fence } of [live, tried, done]) expect(await deleteRun(it.sql, fence)).toBe(false);
    expect(await fences()).toEqual([tried.fence, done.fence]);
  });

  test('an earlier run of a task that has ended can, once', async () => {
    const agent = await it.agent();
    const first = await lease(agent);
    await end(first, 'FAILED');
    await retryTask(it.sql, first.task_id);
    expect(await deleteRun(it.sql, first.fence), 'while it waits again').toBe(false);
    await cancelTask(it.sql, first.task_id, null);
    const by = { actor: 'admin', address: null, request_id: 'req' };
    expect(await deleteRun(it.sql, first.fence, by)).toBe(true);
    expect(await deleteRun(it.sql, first.fence, by)).toBe(false);
    expect(await fences()).toEqual([]);
    expect(await it.status(first.task_id)).toBe('CANCELLED');
    expect(await it.sql`select count(*)::int as n from events where kind = 'run.deleted'`).toEqual([{ n: 1 }]);
    const audited = await it.sql`select subject_id, owner, before from audit_logs where action = 'run.delete'`;
    const before = { task_id: first.task_id, attempt: 1, status: 'FAILED', agent_id: agent.agent_id };
    expect(audited).toEqual([{ subject_id: runIdOf(first.fence), owner: 'admin', before }]);
  });

  test('a task that somebody retries while it is being forgotten is either gone or waits, whole', async () => {
    const agent = await it.agent({ slots: 200 });
    const runs = await Promise.all(Array.from({ length: 120 }, () => lease(agent)));
    for (const run of runs) await end(run, 'FAILED');
    await it.clock.advance('3d');
    const other = it.openMore({ adminConnections: 8 });
    const sweep = async () => {
      for (let after: string | null = ''; after !== null; )
        ({ next: after } = await forgetTasks(it.sql, { olderThanDays: 1, after, limit: 7 }));
    };
    const [retried] = await Promise.all([
      Promise.all(runs.map(({ task_id }) => retryTask(other.admin, task_id))),
      sweep(),
      sweep(),
    ]);
    for (const [n, { task_id, fence }] of runs.entries()) {
      expect(await it.status(task_id)).toBe(retried[n] ? 'PENDING' : undefined);
      expect((await it.sql`select from runs where fence = ${fence}`).length).toBe(retried[n] ? 1 : 0);
    }
  });

  test('a list has what each filter says, live and finished in one order; pages join without a gap', async () => {
    const [one, two] = [await it.agent({ slots: 50 }), await it.agent({ slots: 50, capabilities: ['echo', 'other'] })];
    const runs: Run[] = [];
    for (let n = 0; n < 24; n += 1)
      runs.push(
        await lease(n % 2 ? one : two, {
          owner: n % 3 ? 'admin' : 'acme',
          capability_required: n % 4 ? 'echo' : 'other',
          task_type: n % 5 ? 'echo' : 'odd',
        }),
      );
    for (const [n, run] of runs.entries()) if (n % 6 > 1) await end(run, n % 6 === 2 ? 'FAILED' : 'COMPLETED');
    const newestFirst = runs.map((run, n) => ({ ...run, n })).reverse();
    const found = async (filter: Partial<RunFilter>) =>
      (await listRuns(it.sql, { limit: 100, ...filter })).map((row) => Number(row.fence));
    const expectFound = async (filter: Partial<RunFilter>, those: (n: number) => boolean) =>
      expect(await found(filter), JSON.stringify(filter)).toEqual(
        newestFirst.filter(({ n }) => those(n)).map((run) => run.fence),
      );
    await expectFound({}, () => true);
    await expectFound({ owner: 'acme' }, (n) => n % 3 === 0);
    await expectFound({ agent_id: one.agent_id }, (n) => n % 2 === 1);
    await expectFound({ capability: 'other' }, (n) => n % 4 === 0);
    await expectFound({ task_type: 'odd' }, (n) => n % 5 === 0);
    await expectFound({ task_id: runs[7]!.task_id }, (n) => n === 7);
    await expectFound({ status: 'ASSIGNED' }, (n) => n % 6 <= 1);
    await expectFound({ status: 'RUNNING' }, () => false);
    await expectFound({ status: 'FAILED' }, (n) => n % 6 === 2);
    await expectFound({ from: '2000-01-01T00:00:00Z' }, (n) => n % 6 > 1);
    await expectFound({ to: '2000-01-01T00:00:00Z' }, () => false);
    await expectFound({ status: 'ASSIGNED', from: '2000-01-01T00:00:00Z' }, () => false);
    for (const limit of [1, 5, 24]) {
      const paged: number[] = [];
      for (
        let page = await found({ limit });
        page.length > 0;
        page = await found({ limit, after: String(paged.at(-1)) })
      )
        paged.push(...page);
      expect(paged).toEqual(newestFirst.map((run) => run.fence));
    }
  });

  test('a part of an export holds so many bytes, and one run at least', async () => {
    const agent = await it.agent({ slots: 9 });
    for (let n = 0; n < 5; n += 1) {
      const run = await lease(agent);
      await end(run, 'COMPLETED', { result_data: JSON.stringify('x'.repeat(1_000)) });
    }
    const part = (bytes: number, after?: string) => listRecords(it.sql, { limit: 100, after }, bytes);
    expect((await part(2_500)).map((row) => row.result_data?.length)).toEqual([1_002, 1_002]);
    expect(await part(10)).toHaveLength(1);
    expect(await part(1_000_000)).toHaveLength(5);
    expect(Object.keys((await part(10))[0]!)).not.toContain('size');
  });
});
