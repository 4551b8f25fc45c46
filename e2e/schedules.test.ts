import type { CallOf } from '@muster/shared/contract/endpoint';
import {
  createSchedule,
  getSchedule,
  listExecutions,
  listSchedules,
  pauseSchedule,
  resumeSchedule,
  validateSchedule,
} from '@muster/shared/contract/schedules';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { type Network, startAgentProcess, startNetwork, supervise } from './fixtures/network.ts';
import { advanceTo, startBetweenHours } from './fixtures/schedules.ts';

const scheduler = (network: Network) => ({
  create: (body: CallOf<typeof createSchedule>['body']) => network.admin(createSchedule, { body }),
  get: (schedule_id: string) => network.admin(getSchedule, { params: { schedule_id } }),
  executions: async (schedule_id: string) => (await network.admin(listExecutions, { params: { schedule_id } })).data,
});

/** Seconds, on a machine of one's own. */
const SOON = { timeoutMs: 30_000 };

test('a schedule fires by itself in real time, and the outcome of its tasks comes home to executions and counts', async () => {
  const network = await startNetwork();
  const schedules = scheduler(network);
  const settings = { cron_expression: '* * * * * *', max_retries: 0 };
  const good = await schedules.create({ ...settings, task_type: 'word-count', input_data: { text: 'one two' } });
  const bad = await schedules.create({ ...settings, task_type: 'word-count', input_data: { no: 'text' } });
  expect(good).toMatchObject({ status: 'ACTIVE', total_runs: 0, failed_runs: 0, last_run_at: null });
  // Nobody is there yet to do it.
  const first = await eventually(async () => {
    const data = await schedules.executions(good.schedule_id);
    return data.length > 0 && data.at(-1);
  });
  expect(first).toMatchObject({ status: 'FIRED', task_status: 'PENDING', result_data: null });
  expect(first!.lateness_ms).toBeLessThan(5_000);
  expect(await network.task(first!.task_id!)).toMatchObject({ status: 'PENDING', schedule_id: good.schedule_id });

  await startAgentProcess(supervise(), network);
  await eventually(async () => {
    const home = (await schedules.executions(good.schedule_id)).find(
      ({ execution_id }) => execution_id === first!.execution_id,
    );
    expect(home).toMatchObject({ task_status: 'COMPLETED', result_data: { words: 2 }, error: null });
  }, SOON);
  const { failed_runs } = await eventually(async () => {
    const it = await schedules.get(bad.schedule_id);
    return it.failed_runs >= 2 && it;
  }, SOON);
  const failed = (await schedules.executions(bad.schedule_id)).filter(({ task_status }) => task_status === 'FAILED');
  expect(failed.length).toBeGreaterThanOrEqual(failed_runs);
  expect(failed[0]!.error).toMatchObject({ message: expect.stringMatching(/text/) });
  const after = await schedules.get(good.schedule_id);
  expect(after).toMatchObject({ failed_runs: 0, status: 'ACTIVE' });
  expect(after.total_runs).toBeGreaterThanOrEqual(2);
});

test('a daily schedule fires each day at its hour in its time zone, by the clock', async () => {
  const network = await startBetweenHours();
  const { create, get, executions } = scheduler(network);
  const { schedule_id, next_run_at } = await create({
    task_type: 'work',
    input_data: { report: 'daily' },
    cron_expression: '30 9 * * *',
    timezone: 'America/New_York',
  });
  const hour = new Intl.DateTimeFormat('en', {
    timeZone: 'America/New_York',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  });
  const until = Date.parse(next_run_at!) - (await network.clock.now()).getTime();
  await network.clock.advance(Math.max(0, until - 30_000));
  expect(await executions(schedule_id)).toEqual([]);
  await network.clock.advance('31s');
  for (const days of [1, 2, 3]) {
    const [latest, ...older] = await executions(schedule_id);
    expect(older).toHaveLength(days - 1);
    expect(hour.format(new Date(latest!.scheduled_at))).toBe('09:30');
    const agent = await network.rawAgent();
    const run = await agent.take();
    expect(run).toMatchObject({ task_id: latest!.task_id, input_data: { report: 'daily' } });
    expect(latest!.task_status).toBe('PENDING');
    await agent.complete(run, { day: days });
    await network.clock.advance('10s');
    expect((await executions(schedule_id))[0]).toMatchObject({ task_status: 'COMPLETED', result_data: { day: days } });
    await agent.leave();
    const { next_run_at: next } = await get(schedule_id);
    await network.clock.advance(Date.parse(next!) - (await network.clock.now()).getTime() + 1_000);
  }
  expect(await get(schedule_id)).toMatchObject({ total_runs: 4, failed_runs: 0 });
});

test('a schedule paused over due times tells them as one gap when it is resumed, and fires none of them', async () => {
  const network = await startBetweenHours();
  const { create, get, executions } = scheduler(network);
  const { schedule_id } = await create({ task_type: 'work', input_data: null, cron_expression: '0 12 * * *' });
  await network.admin(pauseSchedule, { params: { schedule_id }, body: { note: 'holidays' } });
  await network.clock.advance('2d');
  expect(await get(schedule_id)).toMatchObject({ status: 'PAUSED', pause_note: 'holidays', total_runs: 0 });
  const resumed = await network.admin(resumeSchedule, { params: { schedule_id } });
  expect(Date.parse(resumed.next_run_at!)).toBeGreaterThan((await network.clock.now()).getTime());
  const [gap, ...more] = await executions(schedule_id);
  expect([gap, more]).toMatchObject([{ status: 'SKIPPED', reason: 'paused', count: 2, task_id: null }, []]);
  expect(Date.parse(gap!.until!) - Date.parse(gap!.scheduled_at)).toBe(24 * 3_600_000);
  await advanceTo(network, resumed.next_run_at!);
  expect((await executions(schedule_id)).map((it) => it.status)).toEqual(['FIRED', 'SKIPPED']);
  expect(await get(schedule_id)).toMatchObject({ total_runs: 1, skipped: 2, missed: 0 });
});

test.for([
  { cron_expression: '61 * * * *', timezone: 'UTC', code: 'invalid-cron', pointer: '#/cron_expression' },
  { cron_expression: 'every day', timezone: 'UTC', code: 'invalid-cron', pointer: '#/cron_expression' },
  { cron_expression: '* * * * * * *', timezone: 'UTC', code: 'invalid-cron', pointer: '#/cron_expression' },
  { cron_expression: '0 0 31 2 *', timezone: 'UTC', code: 'schedule-never-fires', pointer: '#/cron_expression' },
  { cron_expression: '0 0 * * *', timezone: 'Mars/Olympus', code: 'invalid-timezone', pointer: '#/timezone' },
  { cron_expression: '0 0 * * *', timezone: '', code: 'invalid-timezone', pointer: '#/timezone' },
])(
  'a schedule of $cron_expression in time zone $timezone is refused as $code, and validation says why',
  async (bad) => {
    const network = await startBetweenHours();
    const { code, pointer, ...when } = bad;
    const body = { ...when, task_type: 'work', input_data: null };
    await expect(network.admin(createSchedule, { body })).rejects.toMatchObject({
      code,
      status: 422,
      errors: [{ pointer }],
    });
    const answer = await network.admin(validateSchedule, { body: when });
    expect(answer).toMatchObject({ valid: false, message: expect.stringMatching(/./) });
    expect((await network.admin(listSchedules, {})).data).toEqual([]);
  },
);

const HOUR = 3_600_000;
const NEW_YORK = new Intl.DateTimeFormat('en', { timeZone: 'America/New_York', hour: '2-digit', hourCycle: 'h23' });
/** How many hours New York's noon is from UTC's. */
const offsetAt = (noon: number) => Number(NEW_YORK.format(noon)) - 12;

/** Nine o'clock in New York on the days around the next change to an offset. */
function nineAround(now: Date, offset: number): string[] {
  const noon = (day: number) => Math.floor(now.getTime() / (24 * HOUR)) * 24 * HOUR + (24 * day + 12) * HOUR;
  const days = Array.from({ length: 400 }, (_, n) => n + 3);
  const change = days.find((day) => offsetAt(noon(day)) === offset && offsetAt(noon(day - 1)) !== offset)!;
  return [change - 1, change, change + 1].map((day) =>
    new Date(noon(day) + (9 - 12 - offsetAt(noon(day))) * HOUR).toISOString(),
  );
}

test.for([
  ['forward', -4],
  ['back', -5],
] as const)('a daily schedule stays at its hour over the night clocks are set %s', async ([, offset]) => {
  const network = await startBetweenHours();
  const advanceTo = async (at: number) => network.clock.advance(at - (await network.clock.now()).getTime());
  const times = nineAround(await network.clock.now(), offset);
  await advanceTo(Date.parse(times[0]!) - HOUR);
  const { create, executions, get } = scheduler(network);
  const { schedule_id } = await create({
    task_type: 'work',
    input_data: null,
    cron_expression: '0 9 * * *',
    timezone: 'America/New_York',
  });
  for (const due of times) {
    expect((await get(schedule_id)).next_run_at).toBe(due);
    await advanceTo(Date.parse(due) + 1_000);
    expect((await executions(schedule_id))[0]).toMatchObject({ scheduled_at: due });
  }
});
