import { newId } from '@muster/shared/ids';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createClasses } from '../tasks/classes.ts';
import { insertSchedule } from './store/schedules.ts';
import { tickLoop } from './tick.ts';

describe.each([18, 15] as const)('due times nobody ticked for, on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  /** A whole second so long ago. */
  const ago = async (seconds: number) =>
    new Date(Math.floor((await it.clock.now()).getTime() / 1_000) * 1_000 - seconds * 1_000);
  const schedule = async (next_run_at: Date, cron_expression = '* * * * * *') => {
    const schedule_id = newId('sched');
    await insertSchedule(it.sql, {
      schedule_id,
      owner: 'admin',
      client_id: null,
      cron_expression,
      timezone: 'UTC',
      description: null,
      task_type: 'echo',
      capability_required: 'echo',
      priority: 5,
      timeout_seconds: 60,
      max_retries: 0,
      retry_policy: 'none',
      tags: [],
      input_data: {},
      metadata: {},
      next_run_at,
    });
    return schedule_id;
  };
  const tick = () => {
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const deps = { db: it.db, notifier: { tell() {} }, log } as unknown as Parameters<typeof tickLoop>[0];
    return tickLoop(deps, createClasses(it.sql)).tick();
  };
  /** The times that fired, each with whether it has its task, in seconds after `since`. */
  const fired = async (scheduleId: string, since: Date) => {
    const rows = await it.sql<{ scheduled_at: Date; tasks: number }[]>`
      select scheduled_at, (select count(*)::int from tasks t where t.task_id = e.task_id) as tasks
      from executions e where schedule_id = ${scheduleId} and status = 'FIRED' order by scheduled_at`;
    expect(rows.every(({ tasks }) => tasks === 1)).toBe(true);
    return rows.map(({ scheduled_at }) => (scheduled_at.getTime() - since.getTime()) / 1_000);
  };

  test('five seconds of a schedule of every second fire each of their times once', async () => {
    const since = await ago(4);
    const id = await schedule(since);
    const ticked = await tick();
    const times = await fired(id, since);
    expect(times.slice(0, 5)).toEqual([0, 1, 2, 3, 4]);
    expect(times).toHaveLength(ticked);
    // Not again, whatever the next tick finds.
    await tick();
    const later = await fired(id, since);
    expect(later).toEqual(later.map((_, n) => n));
  });

  test('what is older than catch_up_seconds is missed, and told as one gap', async () => {
    const since = await ago(600);
    const id = await schedule(since);
    await tick();
    const times = await fired(id, since);
    expect(times[0]).toBeGreaterThanOrEqual(540);
    expect(times[0]).toBeLessThan(545);
    // From there on without another gap.
    expect(times).toEqual(times.map((_, n) => times[0]! + n));
    expect(times.at(-1)).toBeGreaterThanOrEqual(600);
    const missed = await it.sql`
      select status, reason, scheduled_at, until, count, task_id from executions where schedule_id = ${id} and status <> 'FIRED'`;
    const until = new Date(since.getTime() + (times[0]! - 1) * 1_000);
    const gap = { status: 'MISSED', reason: 'too-late', scheduled_at: since, until, count: times[0], task_id: null };
    expect(missed).toEqual([gap]);
    expect(await it.sql`select missed, total_runs from schedules`).toEqual([
      { missed: times[0], total_runs: times.length },
    ]);
    expect(await it.eventsOf(id)).toEqual(
      expect.arrayContaining(['schedule.created', 'schedule.missed', 'schedule.fired']),
    );
  });

  test('a time that has its execution already stops neither its own schedule nor others', async () => {
    const since = await ago(2);
    const [poisoned, ...others] = [await schedule(since), await schedule(since), await schedule(since)];
    await it.sql`
      insert into executions (execution_id, schedule_id, status, scheduled_at) values (${newId('exec')}, ${poisoned!}, 'FIRED', ${since.toISOString()})`;
    await tick();
    for (const id of others) expect((await fired(id, since)).slice(0, 3)).toEqual([0, 1, 2]);
    await tick();
    const [{ n }] = (await it.sql`
      select count(*)::int as n from executions where schedule_id = ${poisoned!} and scheduled_at > ${since.toISOString()}`) as unknown as [
      { n: number },
    ];
    expect(n).toBeGreaterThanOrEqual(2);
  });
});
