import {
  backfillSchedule,
  listCalendar,
  pauseSchedules,
  previewSchedule,
  resumeSchedules,
  triggerSchedule,
} from '@muster/shared/contract/schedule-operations';
import {
  createSchedule,
  deleteSchedule,
  getSchedule,
  listExecutions,
  pauseSchedule,
  resumeSchedule,
} from '@muster/shared/contract/schedules';
import { getTask, listTasks } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import type { TestNetwork } from './fixtures/network.ts';
import { advanceTo, hourly, startBetweenHours } from './fixtures/schedules.ts';
import { tableHashes } from './fixtures/tables.ts';

const HOUR = 3_600_000;
const make = (network: TestNetwork, over: Parameters<typeof hourly>[0] = {}) =>
  network.admin(createSchedule, { body: hourly(over) });
const executionsOf = async (network: TestNetwork, schedule_id: string, query: object = {}) =>
  (await network.admin(listExecutions, { params: { schedule_id }, query: { limit: 200, ...query } })).data;
const once = (key: string) => ({ headers: { 'idempotency-key': key } });
/** So many hours ago, by the coordinator's clock. */
const ago = async ({ clock }: TestNetwork, hours: number) =>
  new Date((await clock.now()).getTime() - hours * HOUR).toISOString();

test('a trigger makes the task at once, whatever is under way or paused, and leaves the due times alone', async () => {
  const network = await startBetweenHours();
  const { schedule_id, next_run_at } = await make(network, { input_data: { n: '{{execution_number}}' }, tags: ['t'] });
  const params = { schedule_id };
  const first = await network.admin(triggerSchedule, { params });
  await network.admin(pauseSchedule, { params });
  const second = await network.admin(triggerSchedule, { params });
  expect(second).toMatchObject({ status: 'TRIGGERED', execution_number: 2, task_status: 'PENDING' });
  const task = await network.admin(getTask, { params: { task_id: second.task_id! } });
  expect(task).toMatchObject({ schedule_id, task_type: 'work', tags: ['t'], input_data: { n: 2 }, status: 'PENDING' });
  expect(await executionsOf(network, schedule_id)).toEqual([second, first]);
  expect(await network.admin(getSchedule, { params })).toMatchObject({ status: 'PAUSED', total_runs: 2, version: 1 });
  expect(next_run_at).not.toBeNull();
  await network.admin(deleteSchedule, { params });
  await expect(network.admin(triggerSchedule, { params })).rejects.toMatchObject({ code: 'conflict' });
});

test('a trigger sent again by the same key is one trigger, also when both come at once', async () => {
  const network = await startBetweenHours();
  const { schedule_id } = await make(network);
  const params = { schedule_id };
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => network.admin(triggerSchedule, { params }, once('again'))),
  );
  expect(new Set(answers.map((it) => it.execution_id)).size).toBe(1);
  expect(await executionsOf(network, schedule_id)).toHaveLength(1);
  const other = await make(network);
  await expect(network.admin(triggerSchedule, { params: other }, once('again'))).rejects.toMatchObject({
    code: 'idempotency-mismatch',
  });
  await network.admin(triggerSchedule, { params }, once('another'));
  expect(await executionsOf(network, schedule_id)).toHaveLength(2);
});

test('triggers that come at once are all carried out', async () => {
  const network = await startBetweenHours();
  const { schedule_id } = await make(network, { interval_seconds: 1 });
  const params = { schedule_id };
  await Promise.all(Array.from({ length: 12 }, () => network.admin(triggerSchedule, { params })));
  const triggered = await executionsOf(network, schedule_id, { status: 'TRIGGERED' });
  expect(triggered).toHaveLength(12);
  expect(new Set(triggered.map((it) => it.execution_number)).size).toBe(12);
});

test('a backfill makes a task for each due time of the range, one after the other', async () => {
  const network = await startBetweenHours();
  const { schedule_id } = await make(network, { input_data: '{{scheduled_at}}' });
  const body = { from: await ago(network, 5), to: await ago(network, 0.01) };
  const done = await network.admin(backfillSchedule, { params: { schedule_id }, body }, once('b'));
  expect(done).toMatchObject({ schedule_id, made: 5 });
  const made = (await executionsOf(network, schedule_id, { status: 'BACKFILLED' })).reverse();
  const times = made.map((it) => Date.parse(it.scheduled_at));
  expect(times.map((at) => at - times[0]!)).toEqual([0, 1, 2, 3, 4].map((n) => n * HOUR));
  expect([done.first, done.last]).toEqual([made[0]!.scheduled_at, made[4]!.scheduled_at]);
  expect(made.map((it) => it.task_status)).toEqual(['PENDING', ...Array(4).fill('BLOCKED')]);
  const agent = await network.rawAgent();
  for (const { task_id, scheduled_at } of made) {
    const run = await agent.take();
    expect(run).toMatchObject({ task_id, input_data: scheduled_at });
    await agent.complete(run, null);
    await network.coordinator.tick();
  }
  // The same request is the same backfill; the same range asked for anew is another.
  expect(await network.admin(backfillSchedule, { params: { schedule_id }, body }, once('b'))).toEqual(done);
  expect(await executionsOf(network, schedule_id, { status: 'BACKFILLED' })).toHaveLength(5);
  const again = { params: { schedule_id }, body: { ...body, overlap: 'ALLOW_ALL' as const } };
  expect(await network.admin(backfillSchedule, again)).toMatchObject({ made: 5 });
  const { data } = await network.admin(listTasks, { query: { status: 'PENDING' } });
  expect(data).toHaveLength(5);
  await expect(network.admin(backfillSchedule, again, once('b'))).rejects.toMatchObject({
    code: 'idempotency-mismatch',
  });
});

test('a backfill of too many, of what is to come, or the wrong way round is refused and makes nothing', async () => {
  const network = await startBetweenHours();
  const { schedule_id } = await make(network, { interval_seconds: 1 });
  await network.admin(pauseSchedule, { params: { schedule_id } });
  const before = await tableHashes(network.sql);
  for (const [from, to, why] of [
    [
      await ago(network, 1),
      await ago(network, 0),
      /#\/to leaves more than 1000 due times; the first 1000 are those up to 20/,
    ],
    [await ago(network, 1), await ago(network, -1), /#\/to is after now/],
    [await ago(network, 1), await ago(network, 2), /#\/to must not be before from/],
  ] as const) {
    const asked = network.admin(backfillSchedule, { params: { schedule_id }, body: { from, to } }, once('k'));
    await expect(asked).rejects.toMatchObject({ code: 'validation-failed', message: expect.stringMatching(why) });
  }
  const none = { from: await ago(network, 1), to: await ago(network, 1) };
  const daily = await make(network, { at: '2060-01-01T00:00:00Z', interval_seconds: undefined as never });
  expect(await network.admin(backfillSchedule, { params: daily, body: none })).toMatchObject({ made: 0, first: null });
  const { schedules: _, ...left } = await tableHashes(network.sql);
  for (const [name, hash] of Object.entries(left))
    if (!['events', 'audit_logs'].includes(name)) expect(hash, name).toBe(before[name]);
});

test('a thousand due times are backfilled at once', async () => {
  const network = await startBetweenHours();
  const { schedule_id } = await make(network, { interval_seconds: 60 });
  const to = Math.floor((await network.clock.now()).getTime() / 60_000) * 60_000;
  const body = { from: new Date(to - 999 * 60_000).toISOString(), to: new Date(to).toISOString() };
  expect(await network.admin(backfillSchedule, { params: { schedule_id }, body })).toMatchObject({ made: 1_000 });
  expect(await network.admin(getSchedule, { params: { schedule_id } })).toMatchObject({ total_runs: 1_000 });
});

test('executions are filtered by what happened and when, and a gap is found by any part of it', async () => {
  const network = await startBetweenHours();
  const { schedule_id, next_run_at } = await make(network);
  const params = { schedule_id };
  await advanceTo(network, next_run_at!);
  await network.admin(triggerSchedule, { params });
  await network.clock.advance('10h');
  const missed = await executionsOf(network, schedule_id, { status: 'MISSED' });
  expect(missed).toMatchObject([{ reason: 'too-late', task_id: null }]);
  const due = (hours: number) => new Date(Date.parse(next_run_at!) + hours * HOUR).toISOString();
  const found = async (query: object) => (await executionsOf(network, schedule_id, query)).map((it) => it.status);
  expect(await found({ status: 'FIRED' })).toEqual(['FIRED']);
  expect(await found({ from: due(5), to: due(5.5) })).toEqual(['MISSED']);
  expect(await found({ to: due(0) })).toEqual([]);
  expect(await found({ from: due(0), to: due(0.001) })).toContain('FIRED');
  const first = await network.admin(listExecutions, { params, query: { limit: 1 } });
  const rest = await network.admin(listExecutions, { params, query: { cursor: first.next_cursor! } });
  expect([...first.data, ...rest.data]).toEqual(await executionsOf(network, schedule_id));
});

test('a preview tells the times as clocks there show them, and what clocks that are set do to them', async () => {
  const network = await startBetweenHours();
  const previewAt = async (time: string, rule: object) => {
    await advanceTo(network, time);
    const { schedule_id } = await make(network, { interval_seconds: undefined as never, ...rule });
    return network.admin(previewSchedule, { params: { schedule_id }, query: { next: 3, past: 1 } });
  };
  const nightly = { cron_expression: '30 2 * * *', timezone: 'Europe/Berlin' };
  const forward = await previewAt('2027-03-27T00:00:00Z', nightly);
  expect(forward.next.map((it) => [it.local, it.note])).toEqual([
    ['2027-03-27T02:30:00+01:00', null],
    [
      expect.stringMatching(/^2027-03-28T03:\d0:00\+02:00$/),
      expect.stringMatching(/^02:30 does not come, .* moved to 03:\d0$/),
    ],
    ['2027-03-29T02:30:00+02:00', null],
  ]);
  expect(forward.past.map((it) => it.local)).toEqual(['2027-03-26T02:30:00+01:00']);
  const back = await previewAt('2027-10-30T12:00:00Z', nightly);
  expect(back.next[0]).toMatchObject({
    local: '2027-10-31T02:30:00+02:00',
    note: '02:30 comes twice, as clocks are set back: this is the first',
  });
  const both = await previewAt('2027-10-30T13:00:00Z', { ...nightly, dst: { gap: 'skip', repeat: 'both' } });
  expect(both.next.slice(0, 2).map((it) => it.note?.split(': ')[1])).toEqual([
    'this is the first',
    'this is the second',
  ]);
});

test('a calendar has the due times of all active schedules in order, page by page', async () => {
  const network = await startBetweenHours();
  const a = await make(network, { name: 'a', tags: ['x'] });
  const b = await make(network, { interval_seconds: 5_400, max_runs: 2, client_id: 'c' });
  const paused = await make(network);
  await network.admin(pauseSchedule, { params: paused });
  const from = Date.parse(a.next_run_at!);
  const to = new Date(from + 12 * HOUR).toISOString();
  const query = { to };
  const whole = (await network.admin(listCalendar, { query: { ...query, limit: 200 } })).data;
  const times = whole.map((it) => Date.parse(it.scheduled_at));
  expect(times).toEqual([...times].sort((x, y) => x - y));
  expect(whole.filter((it) => it.schedule_id === a.schedule_id)).toHaveLength(12);
  // It has two runs left.
  expect(whole.filter((it) => it.schedule_id === b.schedule_id)).toHaveLength(2);
  expect(whole).toHaveLength(14);
  for (const limit of [1, 3, 14]) {
    const seen: typeof whole = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await network.admin(listCalendar, { query: { ...query, limit, ...(cursor ? { cursor } : {}) } });
      seen.push(...page.data);
      cursor = page.next_cursor;
    }
    expect(seen, `limit ${limit}`).toEqual(whole);
  }
  const tagged = (await network.admin(listCalendar, { query: { ...query, tag: 'x' } })).data;
  expect(new Set(tagged.map((it) => it.name))).toEqual(new Set(['a']));
  const acme = await makeKey(network, { owner: 'acme', scopes: ['schedules:read'] });
  expect((await acme.call(listCalendar, {})).data).toEqual([]);
});

test('schedules with a tag are paused and resumed together, an owner’s own and an admin everybody’s', async () => {
  const network = await startBetweenHours();
  const acme = await makeKey(network, { owner: 'acme', scopes: ['schedules:read', 'schedules:write'] });
  const [own, other] = [await make(network, { tags: ['t'] }), await make(network, { tags: ['u'] })];
  const theirs = await acme.call(createSchedule, { body: hourly({ tags: ['t'] }) });
  const body = { tag: 't', note: 'flood' };
  const before = await tableHashes(network.sql);
  expect(await network.admin(pauseSchedules, { query: { dry_run: 'true' }, body })).toEqual({ matched: 2, moved: 0 });
  expect(await tableHashes(network.sql)).toEqual(before);
  expect(await acme.call(pauseSchedules, { body })).toEqual({ matched: 1, moved: 1 });
  expect(await network.admin(pauseSchedules, { body: { ...body, limit: 1 } })).toEqual({ matched: 1, moved: 1 });
  const status = async ({ schedule_id }: { schedule_id: string }) =>
    (await network.admin(getSchedule, { params: { schedule_id } })).status;
  expect(await Promise.all([own, theirs, other].map(status))).toEqual(['PAUSED', 'PAUSED', 'ACTIVE']);
  await network.clock.advance('3h');
  expect(await network.admin(resumeSchedules, { body: { tag: 't' } })).toEqual({ matched: 2, moved: 2 });
  for (const { schedule_id } of [own, theirs]) {
    const gaps = await executionsOf(network, schedule_id);
    expect(gaps).toMatchObject([{ status: 'SKIPPED', reason: 'paused', count: 3 }]);
    expect(await network.admin(getSchedule, { params: { schedule_id } })).toMatchObject({
      status: 'ACTIVE',
      skipped: 3,
      pause_note: null,
    });
  }
  expect(await network.admin(resumeSchedules, { body: { tag: 't' } })).toEqual({ matched: 0, moved: 0 });
});

test('a calendar takes no longer for one that is due every second and has one run left, nor at the end of time', async () => {
  const network = await startBetweenHours();
  await Promise.all(Array.from({ length: 5 }, () => make(network, { interval_seconds: 1, max_runs: 1 })));
  const since = performance.now();
  expect((await network.admin(listCalendar, {})).data).toHaveLength(5);
  expect(performance.now() - since).toBeLessThan(3_000);
  expect((await network.admin(listCalendar, { query: { from: '9999-06-01T00:00:00Z' } })).data).toEqual([]);
});

test('one that made its last run by hand while it was paused has ended when it is resumed', async () => {
  const network = await startBetweenHours();
  const params = await make(network, { max_runs: 1 });
  await network.admin(pauseSchedule, { params });
  await network.admin(triggerSchedule, { params });
  expect(await network.admin(resumeSchedule, { params })).toMatchObject({ status: 'ENDED', next_run_at: null });
});

test('a backfill whose inputs would be more than one statement can bear is refused, and changes nothing', async () => {
  const network = await startBetweenHours();
  const input_data = ['x'.repeat(1_000_000), '{{scheduled_at}}'];
  const params = await make(network, { interval_seconds: 60, input_data });
  const before = await tableHashes(network.sql);
  const backfill = async (hours: number) => ({
    params,
    body: { from: await ago(network, hours), to: await ago(network, 0) },
  });
  await expect(network.admin(backfillSchedule, await backfill(3))).rejects.toMatchObject({ code: 'conflict' });
  expect(await tableHashes(network.sql)).toEqual(before);
  expect((await network.admin(backfillSchedule, await backfill(0.1))).made).toBeGreaterThan(4);
});
