import { updateSchedule } from '@muster/shared/contract/schedule-operations';
import {
  createSchedule,
  deleteSchedule,
  getSchedule,
  listExecutions,
  pauseSchedule,
  resumeSchedule,
} from '@muster/shared/contract/schedules';
import { getTask } from '@muster/shared/contract/tasks';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { inParallel, type TestNetwork } from './fixtures/network.ts';
import { advanceTo, hourly, startBetweenHours } from './fixtures/schedules.ts';

const MINUTE = 60_000;
type Rule = Parameters<typeof hourly>[0];

/** A schedule on a network of its own, and what one does with it. `interval_seconds` is an hour unless said. */
async function scheduled(rule: Rule = {}, network?: TestNetwork) {
  const on = network ?? (await startBetweenHours());
  const { schedule_id, next_run_at } = await on.admin(createSchedule, { body: hourly(rule) });
  const params = { schedule_id };
  const executions = async () =>
    (await on.admin(listExecutions, { params, query: { limit: 200 } })).data.sort((a, b) =>
      a.scheduled_at < b.scheduled_at ? -1 : 1,
    );
  return {
    ...on,
    network: on,
    params,
    first: next_run_at!,
    get: () => on.admin(getSchedule, { params }),
    executions,
    /** What became of its due times, in order: status, reason or how its task is doing, and of how many times. */
    history: async () => (await executions()).map((it) => [it.status, it.reason ?? it.task_status, it.count]),
    pause: () => on.admin(pauseSchedule, { params, body: {} }),
    resume: () => on.admin(resumeSchedule, { params }),
    to: (time: string, minutes = 0) => advanceTo(on, new Date(Date.parse(time) + minutes * MINUTE).toISOString()),
  };
}

/** How long after the hour `first`, in minutes. */
const minutes = (first: string, times: string[]) =>
  times.map((time) => (Date.parse(time) - Date.parse(first)) / MINUTE);

test.for([
  { overlap: 'SKIP', misfire: 'FIRE_ALL' },
  { overlap: 'BUFFER_ONE', misfire: 'FIRE_ONCE' },
  { overlap: 'BUFFER_ALL', misfire: 'SKIP' },
  { overlap: 'CANCEL_OTHER', misfire: 'FIRE_ALL' },
  { overlap: 'ALLOW_ALL', misfire: { policy: 'FIRE_ALL', max: 2 } },
] as const)(
  'what it was paused over is one gap and never fires when it is resumed: $overlap, $misfire',
  async (policy) => {
    const { first, to, pause, resume, get, history, executions } = await scheduled({
      ...policy,
      catch_up_seconds: 86_400,
    });
    await to(first);
    await pause();
    await to(first, 5 * 60);
    expect(await history()).toEqual([['FIRED', 'PENDING', 1]]);
    const resumed = await resume();
    expect(minutes(first, [resumed.next_run_at!])).toEqual([6 * 60]);
    const gap = (await executions())[1]!;
    expect(gap).toMatchObject({ status: 'SKIPPED', reason: 'paused', count: 5, task_id: null, fired_at: null });
    expect(minutes(first, [gap.scheduled_at, gap.until!])).toEqual([60, 5 * 60]);
    expect(await get()).toMatchObject({ status: 'ACTIVE', total_runs: 1, skipped: 5, missed: 0 });
    // And from there on as its policy says.
    await to(first, 6 * 60);
    const next = {
      SKIP: ['SKIPPED', 'overlap', 1],
      BUFFER_ONE: ['FIRED', 'BLOCKED', 1],
      BUFFER_ALL: ['FIRED', 'BLOCKED', 1],
      CANCEL_OTHER: ['FIRED', 'PENDING', 1],
      ALLOW_ALL: ['FIRED', 'PENDING', 1],
    };
    const was = policy.overlap === 'CANCEL_OTHER' ? 'CANCELLED' : 'PENDING';
    expect(await history()).toEqual([['FIRED', was, 1], ['SKIPPED', 'paused', 5], next[policy.overlap]]);
  },
);

test.for([
  {
    misfire: 'SKIP',
    made: [
      ['MISSED', 'too-late', 4],
      ['MISSED', 'late', 5],
    ],
  },
  {
    misfire: 'FIRE_ONCE',
    made: [
      ['MISSED', 'too-late', 4],
      ['MISSED', 'coalesced', 4],
      ['FIRED', 'PENDING', 1],
    ],
  },
  {
    misfire: { policy: 'FIRE_ALL', max: 2 },
    made: [
      ['MISSED', 'too-late', 4],
      ['MISSED', 'coalesced', 3],
      ['FIRED', 'PENDING', 1],
      ['FIRED', 'PENDING', 1],
    ],
  },
  { misfire: 'FIRE_ALL', made: [['MISSED', 'too-late', 4], ...Array(5).fill(['FIRED', 'PENDING', 1])] },
] as const)(
  'of what passed while no coordinator was there, $misfire makes up for what is not too old',
  async ({ misfire, made }) => {
    const rule = { interval_seconds: 60, catch_up_seconds: 300, overlap: 'ALLOW_ALL', misfire } as const;
    const { first, to, network, history, get } = await scheduled(rule);
    // Nine times passed, the last of them half a minute ago.
    await to(first, 8.5);
    expect(await history()).toEqual(made);
    const { total_runs, missed } = await get();
    expect([total_runs + missed, total_runs]).toEqual([9, made.filter(([status]) => status === 'FIRED').length]);
    await network.clock.advance('31s');
    expect(await history()).toEqual([...made, ['FIRED', 'PENDING', 1]]);
  },
);

test('a clock that leaps a year ahead costs one row; one that is set back fires nothing twice', async () => {
  const { first, to, network, history, executions, get } = await scheduled({
    cron_expression: '* * * * *',
    interval_seconds: undefined,
  });
  await to(first);
  await network.clock.advance('365d');
  const [, gap, ...rest] = await executions();
  expect(gap).toMatchObject({ status: 'MISSED', reason: 'too-late' });
  expect(gap!.count + rest.length).toBe(365 * 1_440);
  const before = await history();
  await network.sql`update muster_clock set ahead = ahead - interval '10 minutes'`;
  await network.clock.advance('9m');
  expect(await history()).toEqual(before);
  await network.clock.advance('2m');
  const times = (await executions()).map((it) => it.scheduled_at);
  expect(new Set(times).size).toBe(times.length);
  expect(times.length).toBe(before.length + 1);
  expect((await get()).missed).toBe(gap!.count);
});

test('a schedule that is updated again and again while it fires skips no second and fires none twice', async () => {
  const network = await startBetweenHours();
  // However late the machine is, none is left out for it.
  const rule = { interval_seconds: 1, overlap: 'ALLOW_ALL', misfire: 'FIRE_ALL' } as const;
  const { params, executions, get } = await scheduled(rule, network);
  let updates = 0;
  while ((await get()).total_runs < 3) {
    updates += 1;
    await network.admin(updateSchedule, { params, body: hourly({ ...rule, priority: 1 + (updates % 9) }) });
  }
  await network.admin(updateSchedule, { params, body: hourly({ ...rule, priority: 10 }) });
  const count = (await executions()).length;
  const all = await eventually(async () => {
    const found = await executions();
    return found.length >= count + 2 && found;
  });
  expect(updates).toBeGreaterThan(3);
  const seconds = all.map((it) => Date.parse(it.scheduled_at) / 1_000);
  expect(seconds).toEqual(seconds.map((_, n) => seconds[0]! + n));
  expect(all.every((it) => it.status === 'FIRED')).toBe(true);
  expect(all.map((it) => it.execution_number)).toEqual(all.map((_, n) => n + 1));
  const last = await network.admin(getTask, { params: { task_id: all.at(-1)!.task_id! } });
  expect(last.priority).toBe(10);
});

test('one that is deleted while it fires has made an execution of each second until then, and makes none after', async () => {
  const network = await startBetweenHours();
  const many = await Promise.all(
    Array.from({ length: 12 }, () =>
      scheduled({ interval_seconds: 1, overlap: 'ALLOW_ALL', misfire: 'FIRE_ALL' }, network),
    ),
  );
  await eventually(async () => (await many[0]!.get()).total_runs >= 1);
  const ended = await Promise.all(
    many.map(async ({ params, first }, n) => {
      // Spread over a second, so that some meet the tick.
      await new Promise((resolve) => setTimeout(resolve, n * 80));
      const at = Date.parse((await network.admin(deleteSchedule, { params })).updated_at);
      return { first, at, answeredAt: (await network.clock.now()).getTime() };
    }),
  );
  const look = () => inParallel(many, 3, ({ executions }) => executions());
  const before = await look();
  for (const [n, { first, at, answeredAt }] of ended.entries()) {
    const times = before[n]!.flatMap(({ scheduled_at, count }) =>
      Array.from({ length: count }, (_, k) => Date.parse(scheduled_at) + k * 1_000),
    );
    expect(times).toEqual(times.map((_, k) => Date.parse(first) + k * 1_000));
    // What became due in the very instant it was deleted, or while that waited for the tick, may count as before or as after.
    const dueBy = (ms: number) => Math.floor((ms - Date.parse(first)) / 1_000) + 1;
    expect(times.length).toBeGreaterThanOrEqual(dueBy(at) - 1);
    expect(times.length).toBeLessThanOrEqual(dueBy(answeredAt));
    expect(before[n]!.every(({ status, reason }) => status === 'FIRED' || reason === 'deleted')).toBe(true);
  }
  await network.clock.advance('5s');
  expect(await look()).toEqual(before);
});

test('it pauses after failures in a row; what its last task said is given to the next', async () => {
  const rule = {
    interval_seconds: 60,
    pause_on_failure: 2,
    max_retries: 0,
    input_data: { was: '{{last_result}}', n: '{{execution_number}}' },
  };
  const { first, to, network, get, resume, history } = await scheduled(rule);
  const agent = await network.rawAgent();
  const inputs: unknown[] = [];
  for (const [n, outcome] of ['COMPLETED', 'FAILED', 'FAILED'].entries()) {
    await to(first, n);
    const run = await agent.take();
    inputs.push(run.input_data);
    if (outcome === 'COMPLETED') await agent.complete(run, { rows: 7 });
    else await agent.fail(run, { message: 'no', fault: 'task' });
    await to(first, n + 0.2);
  }
  expect(inputs).toEqual([
    { was: null, n: 1 },
    { was: { rows: 7 }, n: 2 },
    { was: { rows: 7 }, n: 3 },
  ]);
  expect(await eventually(async () => (await get()).status === 'PAUSED' && get())).toMatchObject({
    pause_note: '2 failures in a row',
    consecutive_failures: 2,
    next_run_at: null,
  });
  await to(first, 5);
  expect(await resume()).toMatchObject({ status: 'ACTIVE', skipped: 3 });
  expect((await history()).map(([status]) => status)).toEqual(['FIRED', 'FIRED', 'FIRED', 'SKIPPED']);
});
