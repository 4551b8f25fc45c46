import * as contract from '@muster/shared/contract/schedules';
import { newId } from '@muster/shared/ids';
import { eventually } from '@muster/testing/eventually';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { applyResults } from '../../dispatch/store/results.ts';
import { createClock } from '../../platform/clock.ts';
import type { Ctx } from '../../platform/ctx.ts';
import { createClasses } from '../../tasks/classes.ts';
import { cancelTask } from '../../tasks/store/transitions.ts';
import { createSchedule, validateSchedule } from '../create.ts';
import { deleteSchedule, pauseSchedule, resumeSchedule } from '../move.ts';
import { planDue } from '../plan.ts';
import { getSchedule, listExecutions } from '../read.ts';
import { tickLoop } from '../tick.ts';
import { carryOut } from './fire.ts';
import { applyOutcomes, ensureOutcomeReader } from './outcomes.ts';
import { insertSchedule, moveSchedule } from './schedules.ts';
import { findPlanned, listDue } from './tick.ts';

describe.each([18, 15] as const)('schedules on Postgres %i', (major) => {
  let it: Rows;
  let ctx: Ctx;
  beforeAll(async () => {
    it = await openRows(major);
    // Half past: no hour begins while the tests run, on which what is due might depend.
    const hour = 3_600_000;
    await it.clock.advance(hour + (hour / 2 + 10_000) - ((await it.clock.now()).getTime() % hour));
    ctx = {
      db: it.db,
      clock: createClock(it.sql),
      config: { minScheduleSeconds: 1 },
      principal: { kind: 'key', owner: 'admin', api_key_id: 'admin', scopes: ['admin'] },
      requestId: 'req_test',
    } as unknown as Ctx;
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  /** A schedule that is due since a while. */
  const due = async (seconds = 10, over: Partial<Parameters<typeof insertSchedule>[1]> = {}) => {
    const schedule_id = newId('sched');
    await insertSchedule(it.sql, {
      schedule_id,
      owner: 'admin',
      client_id: 'c',
      cron_expression: '0 * * * *',
      timezone: 'UTC',
      description: null,
      task_type: 'echo',
      capability_required: 'echo',
      priority: 7,
      timeout_seconds: 11,
      max_retries: 2,
      retry_policy: 'linear',
      tags: ['a"b'],
      input_data: { x: 1 },
      metadata: { m: 2 },
      next_run_at: new Date((await it.clock.now()).getTime() - seconds * 1_000),
      ...over,
    });
    return schedule_id;
  };
  const ticker = (db = it.db) => {
    const heard: number[] = [];
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const deps = { db, notifier: { tell: (_: string, ids: number[]) => void heard.push(...ids) }, log };
    const loop = tickLoop(deps as unknown as Parameters<typeof tickLoop>[0], createClasses(db.admin));
    return { tick: () => loop.tick(), heard };
  };
  /** What a tick makes of a schedule as it is now. */
  const firing = async (schedule_id: string) => {
    const it_ = (await findPlanned(it.sql, schedule_id))!;
    const plan = planDue({ ...it_, next_run_at: it_.next_run_at! }, 100);
    return { ...plan, class_id: await it.classOf('echo') };
  };
  const made = async () =>
    (
      await it.sql`select (select count(*)::int from tasks) as tasks, (select count(*)::int from executions) as executions`
    )[0];

  test('what is due makes its task, its execution and its next time', async () => {
    const id = await due(40);
    const before = await getSchedule(ctx, id);
    const { tick, heard } = ticker();
    expect(await tick()).toBe(1);
    expect(heard).toEqual([await it.classOf('echo')]);
    const [task] =
      await it.sql`select t.*, extract(epoch from t.run_at - t.rank)::int as ahead, s.status from tasks t join task_state s using (task_id)`;
    expect(task).toMatchObject({
      schedule_id: id,
      status: 'PENDING',
      input_data: { x: 1 },
      metadata: { m: 2 },
      tags: ['a"b'],
      priority: 7,
      ahead: 7 * 300,
      timeout_seconds: 11,
      max_retries: 2,
      retry_policy: 'linear',
      client_id: 'c',
    });
    // Its whole time counts from when it came to be, not from when that was due.
    expect(task!.run_at).toEqual(task!.created_at);
    const after = await getSchedule(ctx, id);
    expect(after).toMatchObject({ status: 'ACTIVE', last_run_at: before.next_run_at, total_runs: 1 });
    const now = (await it.clock.now()).getTime();
    expect(Date.parse(after.next_run_at!) % 3_600_000).toBe(0);
    expect(Date.parse(after.next_run_at!)).toBeGreaterThan(now);
    expect(Date.parse(after.next_run_at!)).toBeLessThanOrEqual(now + 3_600_000);
    const { data } = await listExecutions(ctx, {
      params: { schedule_id: id },
      query: { limit: 10 },
      body: {},
    } as Parameters<typeof listExecutions>[1]);
    expect(data).toMatchObject([
      {
        status: 'FIRED',
        task_id: task!.task_id,
        scheduled_at: before.next_run_at,
        task_status: 'PENDING',
        execution_number: 1,
      },
    ]);
    expect(data[0]!.lateness_ms).toBeGreaterThanOrEqual(40_000);
    expect(await it.eventsOf(id)).toEqual(['schedule.created', 'schedule.fired']);
    expect(await it.eventsOf(task!.task_id)).toEqual(['task.created']);
    expect(await tick()).toBe(0);
  });

  test('a tick that is cut off when it makes executions has not moved the schedule on: the next one makes them', async () => {
    const id = await due(3);
    const { next_run_at } = await getSchedule(ctx, id);
    const { tick } = ticker();
    // As a connection that is lost, or a coordinator that is killed, wherever in a tick executions are made.
    await it.sql.unsafe(`
      create function cut_off() returns trigger language plpgsql as $$ begin raise exception 'cut off' using errcode = '57P01'; end $$;
      create trigger cut_off before insert on executions for each row execute function cut_off()`);
    try {
      await expect(tick()).rejects.toThrow('cut off');
    } finally {
      await it.sql`drop function cut_off cascade`;
    }
    expect(await getSchedule(ctx, id)).toMatchObject({ next_run_at, total_runs: 0 });
    expect(await tick()).toBe(1);
    expect(await it.sql`select scheduled_at, status from executions`).toEqual([
      { scheduled_at: new Date(next_run_at!), status: 'FIRED' },
    ]);
  });

  test('two coordinators fire two hundred due schedules once each', async () => {
    for (let n = 0; n < 200; n += 20) await Promise.all(Array.from({ length: 20 }, () => due((n % 50) + 1)));
    const groups = [it.db, it.openMore()].flatMap((db) => [ticker(db), ticker(db), ticker(db)]);
    const fired = await Promise.all(groups.map(({ tick }) => tick()));
    // Who found a schedule in another's hand left it there; that other may be done by now.
    const rest = await groups[0]!.tick();
    expect(fired.reduce((a, b) => a + b) + rest).toBe(200);
    expect(await made()).toEqual({ tasks: 200, executions: 200 });
    expect(await it.sql`select distinct total_runs from schedules`).toEqual([{ total_runs: 1 }]);
  });

  test.each([
    ['paused', (id: string) => moveSchedule(it.sql, { scheduleId: id, event: 'pause' }), 'PAUSED'],
    ['deleted', (id: string) => moveSchedule(it.sql, { scheduleId: id, event: 'delete' }), 'DELETED'],
    ['changed', (id: string) => it.sql`update schedules set version = version + 1 where schedule_id = ${id}`, 'ACTIVE'],
    ['fired by another', async (id: string) => carryOut(it.sql, [await firing(id)]), 'ACTIVE'],
  ] as const)('one that was %s meanwhile does not fire', async (_, meanwhile, status) => {
    const [id, other] = [await due(), await due()];
    const firings = [await firing(id), await firing(other)];
    await meanwhile(id);
    const before = await made();
    expect((await carryOut(it.sql, firings)).map((it) => it.schedule_id)).toEqual([other]);
    expect(await made()).toEqual({ tasks: before!.tasks + 1, executions: before!.executions + 1 });
    expect((await getSchedule(ctx, id)).status).toBe(status);
  });

  test('one that is being paused is left alone, and is paused', async () => {
    const id = await due();
    const due_ = await firing(id);
    const { admin } = it.openMore({ adminConnections: 1 });
    await admin`begin`;
    await moveSchedule(admin, { scheduleId: id, event: 'pause' });
    expect(await carryOut(it.sql, [due_])).toEqual([]);
    await admin`commit`;
    expect(await carryOut(it.sql, [due_])).toEqual([]);
    expect(await made()).toEqual({ tasks: 0, executions: 0 });
  });

  test('one with no further time ends', async () => {
    const id = await due();
    const plan = await firing(id);
    await carryOut(it.sql, [{ ...plan, becomes: { status: 'ENDED', next_run_at: null, jitter_ms: 0 } }]);
    expect(await getSchedule(ctx, id)).toMatchObject({ status: 'ENDED', next_run_at: null, total_runs: 1 });
    expect(await resumeSchedule(ctx, id).catch((problem) => problem.code)).toBe('conflict');
  });

  test('pause, resume and delete go as the table says; what was due while it was paused stays undone', async () => {
    await ctx.clock.sync();
    const id = await due(10);
    const input = { params: { schedule_id: id }, query: {}, body: { note: 'n' } } as Parameters<
      typeof pauseSchedule
    >[1];
    expect(await pauseSchedule(ctx, input)).toMatchObject({ status: 'PAUSED', next_run_at: null, pause_note: 'n' });
    expect(await pauseSchedule(ctx, input)).toMatchObject({ status: 'PAUSED' });
    await it.clock.advance('5h');
    await ctx.clock.sync();
    expect(await ticker().tick()).toBe(0);
    const resumed = await resumeSchedule(ctx, id);
    expect(resumed).toMatchObject({ status: 'ACTIVE', pause_note: null, skipped: 6 });
    expect(Date.parse(resumed.next_run_at!)).toBeGreaterThan((await it.clock.now()).getTime());
    expect(await ticker().tick()).toBe(0);
    expect(await resumeSchedule(ctx, id)).toMatchObject({ status: 'ACTIVE' });
    expect(await deleteSchedule(ctx, id)).toMatchObject({ status: 'DELETED', next_run_at: null });
    expect(await resumeSchedule(ctx, id).catch((problem) => problem.code)).toBe('conflict');
    expect(await pauseSchedule(ctx, input).catch((problem) => problem.code)).toBe('conflict');
    expect(await it.eventsOf(id)).toEqual([
      'schedule.created',
      'schedule.paused',
      'schedule.resumed',
      'schedule.skipped',
      'schedule.deleted',
    ]);
    expect(await made()).toEqual({ tasks: 0, executions: 1 });
  });

  test('what is due is found by an index, and fired without a look at the others', async () => {
    const { admin } = it.openMore({ adminConnections: 1 });
    const ids = [await due(), await due(), await due()];
    await it.sql`
      insert into schedules (schedule_id, owner, status, interval_seconds, timezone, task_type, capability_required, input_data, priority, timeout_seconds, max_retries,
        retry_policy, tags, metadata, next_run_at, created_at, updated_at)
      select 'sched_' || n, 'admin', 'ACTIVE', 60, 'UTC', 'echo', 'echo', '{}', 5, 60, 0, 'none', '{}', '{}', now + n * interval '1 h', now, now
      from (select muster_now() as now) c, generate_series(1, 10000) n`;
    await it.sql`analyze schedules`;
    const plans = await Promise.all(ids.map(firing));
    // Counted within a transaction: of this session alone.
    await admin`begin`;
    const found = await listDue(admin, 500);
    await carryOut(admin, plans);
    const [read] = await admin`select seq_scan, idx_scan from pg_stat_xact_user_tables where relname = 'schedules'`;
    await admin`commit`;
    expect(found.map((row) => row.schedule_id).sort()).toEqual(ids.sort());
    expect(read).toMatchObject({ seq_scan: '0' });
    expect(Number(read!.idx_scan)).toBeGreaterThan(0);
    expect(await admin`select count(*)::int as n from executions`).toEqual([{ n: 3 }]);
  });

  test('how the tasks ended comes home, once, and failures are counted', async () => {
    await ensureOutcomeReader(it.sql);
    const id = await due();
    const ends = ['COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT'];
    const agent = await it.agent();
    const classIds = [await it.classOf('echo')];
    for (const [n, status] of ends.entries()) {
      // Each later than the one before: a due time that was there makes no task.
      await it.sql`update schedules set next_run_at = (select muster_now()) - ${ends.length - n} * interval '1 s', max_retries = 0`;
      const [fired] = await carryOut(it.sql, [await firing(id)]);
      const { runs } = (await it.claim(it.db.hot, [{ ...agent, want: 1 }], classIds)).get(agent.agent_id)!;
      if (status === 'CANCELLED') await cancelTask(it.sql, fired!.task_id!, null);
      const rest = { fault: status === 'COMPLETED' ? null : 'agent', retryable: true, result_data: null, error: null };
      await applyResults(it.db.hot, [{ ...agent, fence: runs[0]!.fence, status, ...rest }]);
    }
    const seen = () => it.sql`select task_status from executions order by execution_id`;
    const other = it.openMore();
    await eventually(async () => {
      await Promise.all([applyOutcomes(it.sql), applyOutcomes(other.admin)]);
      expect((await seen()).map((row) => row.task_status)).toEqual(ends);
    });
    await applyOutcomes(it.sql);
    expect(await getSchedule(ctx, id)).toMatchObject({ total_runs: 4, failed_runs: 2 });
  });

  test('a schedule is made with its first time; what never fires is not made', async () => {
    await ctx.clock.sync();
    const create = (cron_expression: string, timezone = 'UTC') => {
      const body = contract.createSchedule.body.parse({ task_type: 'echo', input_data: {}, cron_expression, timezone });
      return createSchedule(ctx, { params: {}, query: { dry_run: false }, body } as Parameters<
        typeof createSchedule
      >[1]);
    };
    expect(await create('*/5 * * * *')).toMatchObject({
      status: 'ACTIVE',
      capability_required: 'echo',
      total_runs: 0,
      input_data: {},
    });
    await expect(create('0 0 30 2 *')).rejects.toMatchObject({ code: 'schedule-never-fires' });
    await expect(create('* * * * *', '+02:00')).rejects.toMatchObject({ code: 'invalid-timezone' });
    expect(await it.sql`select 1 from schedules`).toHaveLength(1);
    const validate = (cron_expression: string) =>
      validateSchedule(ctx, {
        params: {},
        query: {},
        body: contract.validateSchedule.body.parse({ cron_expression }),
      } as Parameters<typeof validateSchedule>[1]);
    expect(validate('0 0 1 1 *')).toMatchObject({ valid: true, next_runs: { length: 5 } });
    expect(validate('0 0 30 2 *')).toMatchObject({ valid: false, message: expect.stringContaining('never comes') });
    expect(validate('*'.repeat(300))).toMatchObject({ valid: false, message: expect.stringContaining('256') });
  });
});
