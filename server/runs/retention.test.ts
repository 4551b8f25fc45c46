import { newId } from '@muster/shared/ids';
import { eventually } from '@muster/testing/eventually';
import { type Life, openRows, type Rows } from '@muster/testing/rows';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { noteRuns } from '../dispatch/store/heartbeat.ts';
import { applyResults } from '../dispatch/store/results.ts';
import { applyOutcomes, ensureOutcomeReader } from '../schedules/store/tick.ts';
import { insertTasks, type NewTask } from '../tasks/store/submit.ts';
import { cancelTask, expireTasks, retryTask } from '../tasks/store/transitions.ts';
import { countRipe, forgetTasks } from './store/delete.ts';

/** What a task may be like; `goes`: whether it is forgotten once it has ended long ago. */
const KINDS = {
  completed: true,
  failed: true,
  'timed out': true,
  'cancelled unstarted': true,
  'cancelled between tries': true,
  expired: true,
  'ended, retried and ended again': true,
  'scheduled, its outcome known': true,
  'scheduled, its outcome unread': false,
  'ended, but somebody was told to wait for it': false,
  'cancelled, its run not yet stopped': false,
  'ended, then retried': false,
  pending: false,
  delayed: false,
  'held back by its concurrency key': false,
  assigned: false,
  running: false,
};
type Kind = keyof typeof KINDS;

/** `late`: it ended only lately. `limited`: there is a time at which it would have been over. */
const item = fc.record({
  kind: fc.constantFrom(...(Object.keys(KINDS) as Kind[])),
  late: fc.boolean(),
  limited: fc.boolean(),
});
type Item = typeof item extends fc.Arbitrary<infer T> ? T : never;

describe.each([18, 15] as const)('retention on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const end = async (run: Life & { fence: number }, status: string, retryable = false) => {
    const fault = status === 'COMPLETED' ? null : 'agent';
    const said = { ...run, status, fault, retryable, result_data: null, error: null };
    expect(await applyResults(it.db.hot, [said])).toHaveLength(1);
  };

  /** Makes a task of a kind; what is answered ends it. */
  const make = async ({ kind, late, limited }: Item, n: number) => {
    const agent = await it.agent();
    const limits = limited ? { expires_at: '2999-01-01T00:00:00Z', task_timeout_seconds: 9_000_000 } : {};
    const seed = { capability_required: `c${n}`, ...limits };
    const submit = async (more: Partial<NewTask> = {}) => (await it.submit({ ...seed, ...more }))[0]!;
    const lease = async (more: Partial<NewTask> = {}) => {
      const task = await it.task({ ...seed, ...agent, ...more });
      return { task_id: task.task_id, ...agent, fence: (await insertTasks(it.db.hot, [task])).fences.get(0)! };
    };
    const claim = async () => {
      const life = await it.agent();
      const taken = await it.claim(it.db.hot, [{ ...life, want: 1 }], [await it.classOf(`c${n}`)]);
      return { ...life, fence: taken.get(life.agent_id)!.runs[0]!.fence };
    };
    const scheduled = async () => {
      const schedule_id = newId('sched');
      const run = await lease({ schedule_id });
      await it.sql`
        insert into executions (execution_id, schedule_id, status, scheduled_at, task_id, task_status)
        values (${newId('exec')}, ${schedule_id}, 'FIRED', (select muster_now()), ${run.task_id}, ${kind.endsWith('known') ? 'COMPLETED' : null})`;
      return run;
    };
    const ofRun = (run: Life & { fence: number; task_id: string }, ends: () => Promise<unknown>) => ({
      id: run.task_id,
      ends,
    });
    const made: Record<Kind, () => Promise<{ id: string; ends?: () => Promise<unknown> }>> = {
      completed: () => lease().then((run) => ofRun(run, () => end(run, 'COMPLETED'))),
      failed: () => lease().then((run) => ofRun(run, () => end(run, 'FAILED'))),
      'timed out': () => lease().then((run) => ofRun(run, () => end(run, 'TIMED_OUT'))),
      'cancelled unstarted': () => submit().then((id) => ({ id, ends: () => cancelTask(it.sql, id, null) })),
      'cancelled between tries': async () => {
        const run = await lease();
        await end(run, 'FAILED', true);
        return ofRun(run, () => cancelTask(it.sql, run.task_id, null));
      },
      expired: async () => {
        const [{ at }] = (await it.sql`
          select muster_now() + ${late ? 1 : 0} * interval '1 day' as at`) as unknown as [{ at: Date }];
        const id = await submit({ expires_at: at.toISOString() });
        return { id, ends: () => expireTasks(it.sql, 1_000) };
      },
      'ended, retried and ended again': async () => {
        const run = await lease();
        await end(run, 'FAILED');
        await retryTask(it.sql, run.task_id);
        return ofRun(run, async () => end(await claim(), 'COMPLETED'));
      },
      'scheduled, its outcome known': () => scheduled().then((run) => ofRun(run, () => end(run, 'COMPLETED'))),
      'scheduled, its outcome unread': () => scheduled().then((run) => ofRun(run, () => end(run, 'COMPLETED'))),
      'ended, but somebody was told to wait for it': async () => {
        const run = await lease();
        return ofRun(run, async () => {
          await end(run, 'COMPLETED');
          await it.submit({ depends_on: [run.task_id], on_dependency_failure: 'fail' });
        });
      },
      'cancelled, its run not yet stopped': () =>
        lease().then((run) => ofRun(run, () => cancelTask(it.sql, run.task_id, null))),
      'ended, then retried': async () => {
        const run = await lease();
        await end(run, 'FAILED');
        return ofRun(run, () => retryTask(it.sql, run.task_id));
      },
      pending: () => submit().then((id) => ({ id })),
      delayed: () => submit({ run_at: '2998-01-01T00:00:00Z' }).then((id) => ({ id })),
      'held back by its concurrency key': () => submit({ concurrency_key: 'key' }).then((id) => ({ id })),
      assigned: () => lease().then((run) => ({ id: run.task_id })),
      running: async () => {
        const run = await lease();
        await noteRuns(it.db.hot, [{ ...run, started: true, progress: null }]);
        return { id: run.task_id };
      },
    };
    return { kind, late, ...(await made[kind]()) };
  };

  const sweep = async (step: typeof countRipe, limit: number) => {
    const total = { tasks: 0, runs: 0 };
    for (let after: string | null = ''; after !== null; ) {
      const found = await step(it.sql, { olderThanDays: 1, after, limit });
      total.tasks += found.tasks;
      total.runs += found.runs;
      after = found.next;
    }
    return total;
  };
  /** All there is, by the task it is about, and what does not depend on it. */
  const look = async () => ({
    tasks: await it.sql<{ task_id: string }[]>`select task_id, status, attempt, agent_id from task_state order by 1`,
    runs: await it.sql<{ task_id: string }[]>`select * from runs order by fence`,
    expiring: await it.sql<{ task_id: string }[]>`select * from expiring order by 1, 2, 3`,
    trust: await it.sql`select * from trust order by 1, 2`,
    executions: await it.sql`select * from executions order by 1`,
  });

  test('exactly what ended long ago goes, whole, and nothing else changes', async () => {
    const mixes = fc.record({
      items: fc.array(item, { minLength: 1, maxLength: 14 }),
      limit: fc.integer({ min: 1, max: 6 }),
      sweepers: fc.integer({ min: 1, max: 2 }),
    });
    const everyKind = (Object.keys(KINDS) as Kind[]).flatMap((kind) =>
      [false, true].map((late) => ({ kind, late, limited: late })),
    );
    await fc.assert(
      fc
        .asyncProperty(mixes, async ({ items, limit, sweepers }) => {
          await ensureOutcomeReader(it.sql);
          const made = await Promise.all(items.map(make));
          for (const { late, ends } of made) if (!late) await ends?.();
          await it.clock.advance('2d');
          for (const { late, ends } of made) if (late) await ends?.();

          const going = new Set(made.filter(({ kind, late }) => KINDS[kind] && !late).map(({ id }) => id));
          const before = await look();
          const gone = before.runs.filter((run) => going.has(run.task_id)).length;
          expect(await sweep(countRipe, limit)).toEqual({ tasks: going.size, runs: gone });
          expect(await look()).toEqual(before);

          const swept = await Promise.all(Array.from({ length: sweepers }, () => sweep(forgetTasks, limit)));
          expect(swept.reduce((sum, it) => sum + it.tasks, 0)).toBe(going.size);
          const kept = (rows: { task_id: string }[]) => rows.filter((row) => !going.has(row.task_id));
          expect(await look()).toEqual({
            ...before,
            tasks: kept(before.tasks),
            runs: kept(before.runs),
            expiring: kept(before.expiring),
          });

          // Once the schedule has read how its task ended, that goes too.
          await eventually(async () => {
            await applyOutcomes(it.sql);
            expect(
              await it.sql`select task_status from executions where task_status is distinct from 'COMPLETED'`,
            ).toEqual([]);
          });
          const unread = made.filter(({ kind, late }) => kind === 'scheduled, its outcome unread' && !late).length;
          expect(await sweep(forgetTasks, limit)).toEqual({ tasks: unread, runs: unread });
        })
        .afterEach(() => it.finish()),
      { numRuns: 40, examples: [[{ items: everyKind, limit: 5, sweepers: 1 }]] },
    );
  });
});
