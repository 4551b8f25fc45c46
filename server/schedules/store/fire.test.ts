import type { Overlap } from '@muster/shared/contract/schedule-rule';
import { newId } from '@muster/shared/ids';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { applyResults } from '../../dispatch/store/results.ts';
import { createClasses } from '../../tasks/classes.ts';
import { setLimits } from '../../tasks/store/concurrency.ts';
import { settleDependencies } from '../../tasks/store/dependencies.ts';
import { unblock } from '../../tasks/unblock.ts';
import { jitterMs } from '../jitter.ts';
import { planAsked, planDue } from '../plan.ts';
import { runSchedule } from '../run.ts';
import { carryOutPlans, tickLoop } from '../tick.ts';
import { listExecutions } from './executions.ts';
import { carryOut } from './fire.ts';
import { applyOutcomes, ensureOutcomeReader } from './outcomes.ts';
import { insertSchedule, moveSchedule, type NewSchedule } from './schedules.ts';
import { findPlanned, listDue } from './tick.ts';

describe.each([18, 15] as const)('what firing makes, on Postgres %i', (major) => {
  let it: Rows;
  let tick: () => Promise<number>;
  beforeAll(async () => {
    it = await openRows(major);
    tick = () => tickLoop(parts(), createClasses(it.sql)).tick();
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const errors: unknown[] = [];
  const parts = () => {
    const log = { debug() {}, info() {}, warn() {}, error: (_: unknown, said: string) => void errors.push(said) };
    return { db: it.db, notifier: { tell() {} }, log } as unknown as Parameters<typeof tickLoop>[0];
  };
  const ago = async (seconds: number) =>
    new Date(Math.floor((await it.clock.now()).getTime() / 1_000 - seconds) * 1_000);
  /** A schedule whose only due time so far was so many seconds ago. */
  const schedule = async (over: Partial<NewSchedule> & { ago?: number } = {}) => {
    const { ago: seconds = 1, schedule_id = newId('sched'), ...more } = over;
    await insertSchedule(it.sql, {
      schedule_id,
      owner: 'admin',
      cron_expression: null,
      interval_seconds: 86_400,
      phase_seconds: 0,
      timezone: 'UTC',
      task_type: 'echo',
      capability_required: 'echo',
      priority: 5,
      timeout_seconds: 60,
      max_retries: 0,
      retry_policy: 'none',
      tags: [],
      input_data: { n: 1 },
      metadata: {},
      next_run_at: await ago(seconds),
      ...more,
    });
    return schedule_id;
  };
  /** It is due once more. */
  const again = (id: string) =>
    it.sql`update schedules set next_run_at = date_trunc('second', muster_now()) where schedule_id = ${id}`;
  interface Row {
    execution_id: string;
    status: string;
    reason: string | null;
    scheduled_at: Date;
    task_id: string | null;
    now: string | null;
  }
  const executions = (id: string) => it.sql<Row[]>`
    select e.*, (select status from task_state t where t.task_id = e.task_id) as now from executions e where schedule_id = ${id} order by execution_id`;
  const shown = async (id: string) => (await executions(id)).map((row) => [row.status, row.reason ?? row.now]);
  const end = async (status = 'COMPLETED', result_data: string | null = null) => {
    const agent = await it.agent();
    const { runs } = (await it.claim(it.db.hot, [{ ...agent, want: 1 }], [await it.classOf('echo')])).get(
      agent.agent_id,
    )!;
    const said = {
      ...agent,
      fence: runs[0]!.fence,
      status,
      fault: status === 'COMPLETED' ? null : 'task',
      retryable: false,
      result_data,
      error: null,
    };
    await applyResults(it.db.hot, [said]);
  };

  test.each([
    [
      'SKIP',
      [
        ['FIRED', 'PENDING'],
        ['SKIPPED', 'overlap'],
        ['SKIPPED', 'overlap'],
      ],
      [
        ['FIRED', 'COMPLETED'],
        ['SKIPPED', 'overlap'],
        ['SKIPPED', 'overlap'],
        ['FIRED', 'PENDING'],
      ],
    ],
    [
      'BUFFER_ONE',
      [
        ['FIRED', 'PENDING'],
        ['FIRED', 'BLOCKED'],
        ['SKIPPED', 'overlap'],
      ],
      [
        ['FIRED', 'COMPLETED'],
        ['FIRED', 'PENDING'],
        ['SKIPPED', 'overlap'],
        ['FIRED', 'BLOCKED'],
      ],
    ],
    [
      'BUFFER_ALL',
      [
        ['FIRED', 'PENDING'],
        ['FIRED', 'BLOCKED'],
        ['FIRED', 'BLOCKED'],
      ],
      [
        ['FIRED', 'COMPLETED'],
        ['FIRED', 'PENDING'],
        ['FIRED', 'BLOCKED'],
        ['FIRED', 'BLOCKED'],
      ],
    ],
    [
      'CANCEL_OTHER',
      [
        ['FIRED', 'CANCELLED'],
        ['FIRED', 'CANCELLED'],
        ['FIRED', 'PENDING'],
      ],
      [
        ['FIRED', 'CANCELLED'],
        ['FIRED', 'CANCELLED'],
        ['FIRED', 'COMPLETED'],
        ['FIRED', 'PENDING'],
      ],
    ],
    [
      'ALLOW_ALL',
      [
        ['FIRED', 'PENDING'],
        ['FIRED', 'PENDING'],
        ['FIRED', 'PENDING'],
      ],
      [
        ['FIRED', 'COMPLETED'],
        ['FIRED', 'PENDING'],
        ['FIRED', 'PENDING'],
        ['FIRED', 'PENDING'],
      ],
    ],
  ] as [Overlap, string[][], string[][]][])(
    '%s: what is due while a task is open, and once it has ended',
    async (overlap, before, after) => {
      const id = await schedule({ overlap });
      for (let n = 0; n < 3; n += 1) {
        if (n > 0)
          await it.sql`update schedules set next_run_at = ${await ago(1)}::timestamptz + make_interval(secs => ${n}) where schedule_id = ${id}`;
        if (n > 0) await it.clock.advance('2s');
        await tick();
      }
      expect(await shown(id)).toEqual(before);
      await end();
      await unblock(parts());
      await it.clock.advance('5s');
      await again(id);
      await tick();
      expect(await shown(id)).toEqual(after);
      const [counted] = await it.sql`select total_runs, skipped from schedules`;
      const all = await executions(id);
      expect(counted).toEqual({
        total_runs: all.filter((row) => row.task_id).length,
        skipped: all.filter((row) => !row.task_id).length,
      });
    },
  );

  test('those that became due together overlap as those that did not: each waits for the one before it', async () => {
    const id = await schedule({ overlap: 'BUFFER_ALL', interval_seconds: 1, ago: 3 });
    await tick();
    const waits = await it.sql<
      { task_id: string; depends_on: string[] | null }[]
    >`select task_id, depends_on from tasks order by task_id`;
    expect(waits.length).toBeGreaterThanOrEqual(4);
    expect(waits.map((row) => row.depends_on?.[0] ?? null)).toEqual([
      null,
      ...waits.slice(0, -1).map((row) => row.task_id),
    ]);
    await it.sql`delete from schedules where schedule_id = ${id}`;
    for (const _ of waits) {
      await end('FAILED');
      await unblock(parts());
    }
    expect(await it.sql`select distinct status from task_state`).toEqual([{ status: 'FAILED' }]);
  });

  test('a task that ends between the look and the firing does not leave another waiting for it', async () => {
    const id = await schedule({ overlap: 'BUFFER_ONE' });
    await tick();
    await again(id);
    const [seen] = await listDue(it.sql, 1);
    expect(seen!.open).toHaveLength(1);
    await end();
    const plan = planDue({ ...seen!, next_run_at: seen!.next_run_at! }, 1);
    const [fired] = await carryOut(it.sql, [{ ...plan, class_id: await it.classOf('echo') }]);
    expect(fired).toMatchObject({ waits: 'task' });
    await settleDependencies(it.sql, { taskIds: [fired!.task_id!] });
    await unblock(parts());
    expect(await it.status(fired!.task_id!)).toBe('PENDING');
  });

  test('a plan that comes too late cancels nothing; one that is carried out cancels what runs, too, and its agent is told', async () => {
    const id = await schedule({ overlap: 'CANCEL_OTHER' });
    await tick();
    const agent = await it.agent();
    const claims = await it.claim(it.db.hot, [{ ...agent, want: 1 }], [await it.classOf('echo')]);
    const [run] = claims.get(agent.agent_id)!.runs;
    await again(id);
    const seen = (await findPlanned(it.sql, id))!;
    const plan = planDue({ ...seen, next_run_at: seen.next_run_at! }, 1);
    expect(plan.cancel).toEqual([run!.task_id]);
    await it.sql`update schedules set version = version + 1 where schedule_id = ${id}`;
    const told: unknown[] = [];
    const hearing = { ...parts(), notifier: { tell: (...word: unknown[]) => void told.push(word) } };
    expect(await carryOutPlans(hearing as never, [{ ...plan, class_id: await it.classOf('echo') }])).toEqual([]);
    expect(await it.status(run!.task_id)).toBe('ASSIGNED');
    await tickLoop(hearing as never, createClasses(it.sql)).tick();
    expect(await shown(id)).toEqual([
      ['FIRED', 'CANCELLED'],
      ['FIRED', 'PENDING'],
    ]);
    expect((await it.eventsOf(run!.task_id)).filter((kind) => kind === 'task.cancelled')).toHaveLength(1);
    expect(told).toContainEqual(['cancelled', { agent_id: agent.agent_id, fence: run!.fence }]);
  });

  test('a run by hand that is the last ends it; what was due by then and no tick has come to is told as skipped', async () => {
    const id = await schedule({ interval_seconds: 1, max_runs: 1, ago: 3 });
    const made = await runSchedule(parts(), createClasses(it.sql), id, {
      status: 'TRIGGERED',
      times: ({ now }) => [now],
      overlap: 'ALLOW_ALL',
      by: undefined,
    });
    const [triggered, gap] = await it.sql`select * from executions order by execution_number nulls last`;
    expect(made).toEqual([triggered!.execution_id]);
    expect([triggered, gap]).toMatchObject([
      { status: 'TRIGGERED', execution_number: 1 },
      { status: 'SKIPPED', reason: 'ended', task_id: null },
    ]);
    expect(gap!.count).toBeGreaterThanOrEqual(4);
    const [ended] = await it.sql`select status, total_runs, skipped, next_run_at from schedules`;
    expect(ended).toEqual({ status: 'ENDED', total_runs: 1, skipped: gap!.count, next_run_at: null });
  });

  test('it ends after max_runs, at ends_at, and after its one time; what is due later is not', async () => {
    const next_run_at = await ago(4);
    const ends_at = new Date(next_run_at.getTime() + 2_000);
    const ids = [
      await schedule({ interval_seconds: 1, max_runs: 2, next_run_at }),
      await schedule({ interval_seconds: 1, ends_at, next_run_at }),
      await schedule({ interval_seconds: null, at: await ago(1) }),
    ];
    await tick();
    for (const [n, runs] of [2, 3, 1].entries()) {
      expect((await shown(ids[n]!)).map(([status]) => status)).toEqual(Array(runs).fill('FIRED'));
      expect(
        await it.sql`select status, total_runs, next_run_at, fire_at from schedules where schedule_id = ${ids[n]!}`,
      ).toEqual([{ status: 'ENDED', total_runs: runs, next_run_at: null, fire_at: null }]);
      expect(await it.eventsOf(ids[n]!)).toEqual(expect.arrayContaining(['schedule.fired', 'schedule.ended']));
    }
    expect(await tick()).toBe(0);
  });

  test('jitter puts a time off, by the same for whoever fires it', async () => {
    const next_run_at = await ago(0);
    // By some that is longer than it takes to look: the id says by how much.
    let schedule_id = newId('sched');
    while (jitterMs(schedule_id, next_run_at, 600) < 60_000) schedule_id = newId('sched');
    const jitter_ms = jitterMs(schedule_id, next_run_at, 600);
    const id = await schedule({ schedule_id, next_run_at, jitter_seconds: 600 });
    await it.sql`update schedules set jitter_ms = ${jitter_ms} where schedule_id = ${id}`;
    await it.clock.advance(jitter_ms - 30_000);
    expect(await tick()).toBe(0);
    await it.clock.advance('31s');
    expect(await tick()).toBe(1);
    const [row] = await it.sql`select scheduled_at, lateness_ms from executions`;
    expect(row!.scheduled_at).toEqual(next_run_at);
    expect(row!.lateness_ms).toBeLessThan(5_000);
    const [{ fire_at, next_run_at: next }] = (await it.sql`select fire_at, next_run_at from schedules`) as unknown as [
      { fire_at: Date; next_run_at: Date },
    ];
    expect(fire_at.getTime() - next.getTime()).toBe(jitterMs(id, next, 600));
  });

  test('one whose filled input is longer than a body may be pauses and says so; the others fire', async () => {
    const id = await schedule({ input_data: ['x'.repeat(1_048_560), '{{scheduled_at}}'] });
    const other = await schedule();
    await tick();
    const [row] = await it.sql`select status, pause_note, total_runs from schedules where schedule_id = ${id}`;
    expect(row).toMatchObject({ status: 'PAUSED', total_runs: 0, pause_note: expect.stringContaining('longer than') });
    expect(await shown(other)).toEqual([['FIRED', 'PENDING']]);
  });

  test('what fires more than 24 days late is as late as it is', async () => {
    const days = 40 * 86_400;
    const id = await schedule({
      ago: days,
      interval_seconds: 2 * days,
      catch_up_seconds: 2 * days,
      late_after_seconds: 1,
    });
    await tick();
    const [row] = await listExecutions(it.sql, { scheduleId: id, after: undefined, limit: 1 });
    expect(Math.floor(row!.lateness_ms! / 10_000)).toBe(days / 10);
    expect(await it.eventsOf(id)).toContain('schedule.late');
  });

  test('what fires later than late_after_seconds is told', async () => {
    const [late, other] = [
      await schedule({ late_after_seconds: 2, ago: 4 }),
      await schedule({ late_after_seconds: 30, ago: 4 }),
    ];
    await tick();
    expect(await it.eventsOf(late)).toContain('schedule.late');
    expect(await it.eventsOf(other)).not.toContain('schedule.late');
    const [event] = await it.sql`select detail from events where kind = 'schedule.late'`;
    expect(event!.detail).toMatchObject([{ lateness_ms: expect.any(Number), task_id: expect.any(String) }]);
  });

  test('its task has all that the schedule says of it', async () => {
    await setLimits(it.sql, 'admin', new Map([['k', 1]]));
    const settings = {
      retry_base_ms: 5,
      retry_cap_ms: 50,
      retry_jitter: false,
      non_retryable: ['E"1'],
      task_timeout_seconds: 77,
      labels_required: { zone: 'b' },
      labels_preferred: { gpu: 'yes' },
      concurrency_key: 'k',
    };
    const [first, second] = [await schedule(settings), await schedule(settings)];
    await tick();
    for (const id of [first, second]) {
      const [task] =
        await it.sql`select s.* from task_state s join executions e using (task_id) where e.schedule_id = ${id}`;
      expect(task).toMatchObject({ ...settings, schedule_id: id, status: 'PENDING' });
    }
    // One of the two has the key; the other waits for it.
    expect(
      await it.sql`select (select count(*) from ready) as ready, (select count(*) from gated) as gated, (select count(*) from expiring where started) as limited`,
    ).toEqual([{ ready: '1', gated: '1', limited: '2' }]);
  });

  test('variables are filled in, the last result from the last task that was completed, known of or not', async () => {
    await ensureOutcomeReader(it.sql);
    const id = await schedule({
      input_data: { at: '{{scheduled_at}}', n: '{{execution_number}}', was: '{{last_result}}', of: '{{schedule_id}}' },
    });
    const inputs = async () =>
      (await it.sql`select input_data from tasks order by task_id`).map((row) => row.input_data);
    await tick();
    const { scheduled_at } = (await executions(id))[0]!;
    expect(await inputs()).toEqual([{ at: scheduled_at.toISOString(), n: 1, was: null, of: id }]);
    for (const [n, status] of ['COMPLETED', 'FAILED', 'COMPLETED'].entries()) {
      await end(status, `{"run": ${n + 1}}`);
      // Once before it was heard how it ended, then after.
      if (n > 0) while ((await applyOutcomes(it.sql)) > 0);
      await it.clock.advance('2s');
      await again(id);
      await tick();
    }
    expect((await inputs()).map(({ n, was }) => [n, was])).toEqual([
      [1, null],
      [2, { run: 1 }],
      [3, { run: 1 }],
      [4, { run: 3 }],
    ]);
  });

  test('one that cannot fire is paused and says why; the others fire', async () => {
    const [bad, good] = [
      await schedule({ interval_seconds: null, cron_expression: 'nonsense', timezone: 'UTC', ago: 3 }),
      await schedule(),
    ];
    errors.length = 0;
    expect(await tick()).toBe(1);
    expect((await shown(good)).map(([status]) => status)).toEqual(['FIRED']);
    expect(await it.sql`select status, pause_note from schedules where schedule_id = ${bad}`).toEqual([
      { status: 'PAUSED', pause_note: expect.stringContaining('it could not fire') },
    ]);
    expect(errors).toHaveLength(1);
    expect(await tick()).toBe(0);
  });

  test('one whose tasks would be of one requirement too many is paused and says why; the others fire', async () => {
    const [good, bad] = [await schedule({ owner: 'few' }), await schedule({ owner: 'few', slot_cost: 2 })];
    const few = createClasses(it.sql, 1);
    await tickLoop(parts(), few).tick();
    expect((await shown(good)).map(([status]) => status)).toEqual(['FIRED']);
    expect(await it.sql`select status, pause_note from schedules where schedule_id = ${bad}`).toEqual([
      { status: 'PAUSED', pause_note: expect.stringContaining('tasks of 1 different requirements already') },
    ]);
    const asked = { status: 'TRIGGERED', times: () => [new Date()], overlap: 'ALLOW_ALL', by: undefined } as const;
    await expect(runSchedule(parts(), few, bad, asked)).rejects.toMatchObject({ code: 'conflict' });
  });

  test('one value the database refuses stops its own schedule only', async () => {
    const ids = [await schedule(), await schedule(), await schedule()];
    await it.sql`alter table executions add constraint refused check (schedule_id <> '${it.sql.unsafe(ids[1]!)}')`;
    try {
      expect(await tick()).toBe(2);
    } finally {
      await it.sql`alter table executions drop constraint refused`;
    }
    expect(await it.sql`select schedule_id from schedules where status = 'PAUSED'`).toEqual([{ schedule_id: ids[1] }]);
  });

  test('runs that are asked for are made beside the due times, and do not move them', async () => {
    const next_run_at = new Date((await ago(0)).getTime() + 3_600_000);
    const id = await schedule({ next_run_at, overlap: 'SKIP' });
    const classes = createClasses(it.sql);
    const by = { actor: 'admin', address: null, request_id: 'r' };
    const [now, lastWeek] = [await ago(0), await ago(7 * 86_400)];
    const [triggered] = await runSchedule(parts(), classes, id, {
      status: 'TRIGGERED',
      times: () => [now],
      overlap: 'ALLOW_ALL',
      by,
    });
    expect(await runSchedule(parts(), classes, id, { status: 'BACKFILLED', times: () => [now], by })).toEqual([]);
    const backfilled = await runSchedule(parts(), classes, id, {
      status: 'BACKFILLED',
      times: () => [lastWeek, lastWeek],
      overlap: 'BUFFER_ALL',
      by,
    });
    expect((await executions(id)).map((row) => row.execution_id)).toEqual([triggered, ...backfilled]);
    expect(await shown(id)).toEqual([
      ['TRIGGERED', 'PENDING'],
      ['BACKFILLED', 'BLOCKED'],
      ['BACKFILLED', 'BLOCKED'],
    ]);
    expect(await it.sql`select status, next_run_at, total_runs, last_run_at from schedules`).toEqual([
      { status: 'ACTIVE', next_run_at, total_runs: 3, last_run_at: now },
    ]);
    await moveSchedule(it.sql, { scheduleId: id, event: 'delete' });
    await expect(
      runSchedule(parts(), classes, id, { status: 'TRIGGERED', times: () => [now], by }),
    ).rejects.toMatchObject({ code: 'conflict' });
  });

  test('a run that is asked for while a tick fires takes the next number, not the same', async () => {
    const id = await schedule();
    const seen = (await findPlanned(it.sql, id))!;
    await tick();
    const plan = planAsked(seen, 'TRIGGERED', [await ago(0)], 'ALLOW_ALL');
    expect(await carryOut(it.sql, [{ ...plan, class_id: await it.classOf('echo') }])).toEqual([]);
    await runSchedule(parts(), createClasses(it.sql), id, {
      status: 'TRIGGERED',
      times: (now) => [now.now],
      overlap: 'ALLOW_ALL',
      by: undefined,
    });
    expect(await it.sql`select status, execution_number from executions order by execution_id`).toEqual([
      { status: 'FIRED', execution_number: 1 },
      { status: 'TRIGGERED', execution_number: 2 },
    ]);
  });
});
