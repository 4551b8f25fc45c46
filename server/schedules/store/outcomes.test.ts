import { newId } from '@muster/shared/ids';
import { eventually } from '@muster/testing/eventually';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { applyResults } from '../../dispatch/store/results.ts';
import { insertTasks } from '../../tasks/store/submit.ts';
import { cancelTask, retryTask } from '../../tasks/store/transitions.ts';
import { forgetExecutions, forgetSchedules, listExecutions } from './executions.ts';
import { applyOutcomes, ensureOutcomeReader } from './outcomes.ts';
import { insertSchedule, moveSchedule } from './schedules.ts';
import { findPlanned } from './tick.ts';

describe.each([18, 15] as const)('how scheduled tasks ended, on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const schedule = async (pause_on_failure: number | null = null) => {
    const schedule_id = newId('sched');
    const task = {
      task_type: 'echo',
      capability_required: 'echo',
      input_data: {},
      priority: 5,
      timeout_seconds: 60,
      max_retries: 0,
      retry_policy: 'none',
    };
    const next_run_at = new Date((await it.clock.now()).getTime() + 86_400_000);
    const rule = {
      cron_expression: '0 0 * * *',
      timezone: 'UTC',
      tags: [],
      metadata: {},
      next_run_at,
      pause_on_failure,
    };
    await insertSchedule(it.sql, { schedule_id, owner: 'admin', ...task, ...rule });
    return schedule_id;
  };
  /** A task that an agent has, and that a schedule made. */
  const leased = async (schedule_id: string | null) => {
    const agent = await it.agent();
    const task = await it.task({ ...agent, schedule_id });
    const fence = (await insertTasks(it.db.hot, [task])).fences.get(0)!;
    if (schedule_id) {
      await it.sql`
        insert into executions (execution_id, schedule_id, status, scheduled_at, fired_at, task_id)
        values (${newId('exec')}, ${schedule_id}, 'FIRED', (select clock_timestamp()), (select muster_now()), ${task.task_id})`;
    }
    return { ...agent, fence, task_id: task.task_id };
  };
  const end = async (run: Awaited<ReturnType<typeof leased>>, status: string) => {
    const said = {
      ...run,
      status,
      fault: status === 'COMPLETED' ? null : 'task',
      retryable: false,
      result_data: null,
      error: null,
    };
    await applyResults(it.db.hot, [said]);
  };
  /** All that happened comes home at once: not before it can be read, which a transaction of another database holds up as well. */
  const home = async () => {
    await eventually(async () => {
      const [row] = await it.sql<[{ readable: boolean }]>`
        select not exists (select from events where tx >= pg_snapshot_xmin(pg_current_snapshot())) as readable`;
      return row.readable;
    });
    await applyOutcomes(it.sql);
  };
  const looked = async (id: string) =>
    (
      await it.sql`select status, failed_runs, consecutive_failures, last_completed_task_id, next_run_at from schedules where schedule_id = ${id}`
    )[0];

  test.each([
    ['all at once', false],
    ['one by one', true],
  ])('failures in a row are counted as they ended, heard of %s', async (_, one) => {
    await ensureOutcomeReader(it.sql);
    const [id, other] = [await schedule(), await schedule()];
    let completed: string | undefined;
    for (const status of ['FAILED', 'COMPLETED', 'FAILED', 'TIMED_OUT']) {
      const run = await leased(id);
      await it.clock.advance('1s');
      await end(run, status);
      if (status === 'COMPLETED') completed = run.task_id;
      if (one) await home();
    }
    await end(await leased(other), 'FAILED');
    const cancelled = await leased(other);
    await cancelTask(it.sql, cancelled.task_id, null);
    await home();
    expect(await looked(id)).toMatchObject({
      status: 'ACTIVE',
      failed_runs: 3,
      consecutive_failures: 2,
      last_completed_task_id: completed,
    });
    expect(await looked(other)).toMatchObject({
      failed_runs: 1,
      consecutive_failures: 1,
      last_completed_task_id: null,
    });
    const statuses =
      await it.sql`select task_status from executions where schedule_id = ${other} order by execution_id`;
    expect(statuses.map((row) => row.task_status)).toEqual(['FAILED', 'CANCELLED']);
  });

  test('a schedule pauses after so many in a row, once, and tells so; resumed it counts on', async () => {
    await ensureOutcomeReader(it.sql);
    const id = await schedule(2);
    const { next_run_at } = (await looked(id))!;
    await end(await leased(id), 'FAILED');
    await home();
    expect(await looked(id)).toMatchObject({ status: 'ACTIVE', consecutive_failures: 1 });
    await end(await leased(id), 'FAILED');
    await end(await leased(id), 'FAILED');
    await home();
    const [paused] =
      await it.sql`select status, next_run_at, paused_from, pause_note, version from schedules where schedule_id = ${id}`;
    expect(paused).toEqual({
      status: 'PAUSED',
      next_run_at: null,
      paused_from: next_run_at,
      pause_note: '3 failures in a row',
      version: 1,
    });
    await end(await leased(id), 'FAILED');
    await home();
    expect(await it.eventsOf(id)).toEqual(['schedule.created', 'schedule.paused']);
    await moveSchedule(it.sql, { scheduleId: id, event: 'resume', next: { next_run_at, jitter_ms: 0 } });
    await end(await leased(id), 'COMPLETED');
    await home();
    expect(await looked(id)).toMatchObject({ status: 'ACTIVE', consecutive_failures: 0 });
  });

  test('one that was resumed after failures pauses again by the next failure, not by anything else that ends', async () => {
    await ensureOutcomeReader(it.sql);
    const id = await schedule(1);
    const { next_run_at } = (await looked(id))!;
    const waiting = await leased(id);
    await end(await leased(id), 'FAILED');
    await home();
    await moveSchedule(it.sql, { scheduleId: id, event: 'resume', next: { next_run_at, jitter_ms: 0 } });
    await cancelTask(it.sql, waiting.task_id, null);
    await end(waiting, 'CANCELLED');
    await home();
    expect(await looked(id)).toMatchObject({ status: 'ACTIVE', consecutive_failures: 1 });
    await end(await leased(id), 'FAILED');
    await home();
    expect(await looked(id)).toMatchObject({ status: 'PAUSED', consecutive_failures: 2 });
  });

  test('a task that is queued again is open again, and counts as it ends then', async () => {
    await ensureOutcomeReader(it.sql);
    const id = await schedule();
    const run = await leased(id);
    await end(run, 'FAILED');
    await home();
    expect(await looked(id)).toMatchObject({ failed_runs: 1 });
    const known = async () =>
      (await it.sql`select task_status from executions where schedule_id = ${id}`)[0]!.task_status;
    await retryTask(it.sql, run.task_id);
    const [now] = await listExecutions(it.sql, { scheduleId: id, after: undefined, limit: 1 });
    expect(now!.task_status).toBe('PENDING');
    await home();
    expect([await known(), await looked(id)]).toMatchObject([null, { failed_runs: 0 }]);
    await it.sql`update schedules set overlap = 'SKIP'`;
    expect((await findPlanned(it.sql, id))!.open).toEqual([run.task_id]);
    await cancelTask(it.sql, run.task_id, null);
    await home();
    expect([await known(), await looked(id)]).toMatchObject(['CANCELLED', { failed_runs: 0 }]);
    await retryTask(it.sql, run.task_id);
    await cancelTask(it.sql, run.task_id, null);
    await home();
    expect([await known(), await looked(id)]).toMatchObject(['CANCELLED', { failed_runs: 0 }]);
  });

  test('whether few are open among many that end, or many among few, each comes home', async () => {
    await ensureOutcomeReader(it.sql);
    const id = await schedule();
    // More that end than are open.
    const [mine, ...others] = [await leased(id), await leased(null), await leased(null), await leased(null)];
    for (const run of [mine!, ...others]) await end(run, 'COMPLETED');
    await home();
    expect(await it.sql`select count(*)::int as n from executions where task_status = 'COMPLETED'`).toEqual([{ n: 1 }]);
    // More that are open than end.
    const open = [await leased(id), await leased(id), await leased(id)];
    await end(open[1]!, 'FAILED');
    await home();
    expect(
      (await it.sql`select task_status from executions order by execution_id`).map((row) => row.task_status),
    ).toEqual(['COMPLETED', null, 'FAILED', null]);
  });

  test('what schedules did long ago is forgotten once it is known how it ended, and then a schedule that was deleted', async () => {
    await ensureOutcomeReader(it.sql);
    const [id, kept] = [await schedule(), await schedule()];
    const done = await leased(id);
    await leased(kept);
    await end(done, 'COMPLETED');
    await home();
    await it.sql`
      insert into executions (execution_id, schedule_id, status, reason, scheduled_at, until, count)
      select ${newId('exec')}, ${id}, 'SKIPPED', 'paused', now - interval '9 days', now - interval '1 day', 9 from (select muster_now() as now) c`;
    await moveSchedule(it.sql, { scheduleId: id, event: 'delete' });
    const forget = async () => {
      let gone = 0;
      for (let after: string | null = ''; after !== null; ) {
        const found: Awaited<ReturnType<typeof forgetExecutions>> = await forgetExecutions(it.sql, {
          olderThanDays: 2,
          after,
          limit: 2,
        });
        gone += found.gone;
        after = found.next;
      }
      return [gone, await forgetSchedules(it.sql, 2, 10)];
    };
    expect(await forget()).toEqual([0, 0]);
    await it.clock.advance('3d');
    expect(await forget()).toEqual([2, 0]);
    await it.sql`delete from runs`;
    await it.sql`delete from tasks where schedule_id = ${id}`;
    await it.sql`delete from events`;
    await it.sql`delete from trust`;
    expect(await forget()).toEqual([0, 1]);
    expect((await it.sql`select schedule_id from schedules`).map((row) => row.schedule_id)).toEqual([kept]);
    // How that one ended is not known yet.
    expect(await it.sql`select schedule_id from executions`).toEqual([{ schedule_id: kept }]);
    await it.sql`delete from executions`;
    await it.sql`delete from leases`;
    await it.sql`delete from tasks`;
    await it.sql`update agents set slots_used = 0`;
  });
});
