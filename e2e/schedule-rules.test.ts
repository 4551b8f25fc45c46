import { updateSchedule } from '@muster/shared/contract/schedule-operations';
import {
  createSchedule,
  deleteSchedule,
  getSchedule,
  listExecutions,
  listSchedules,
  pauseSchedule,
  resumeSchedule,
  validateSchedule,
} from '@muster/shared/contract/schedules';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { inParallel, type TestNetwork } from './fixtures/network.ts';
import { advanceTo, hourly, PATH, refusal, send, startBetweenHours } from './fixtures/schedules.ts';
import { tableHashes } from './fixtures/tables.ts';

const HOUR = 3_600_000;
const make = (network: TestNetwork, over: Parameters<typeof hourly>[0] = {}) =>
  network.admin(createSchedule, { body: hourly(over) });
const executionsOf = async (network: TestNetwork, schedule_id: string) =>
  (await network.admin(listExecutions, { params: { schedule_id }, query: { limit: 200 } })).data;

test('a dry run of a creation tells the next ten times and changes nothing', async () => {
  const network = await startBetweenHours();
  const before = await tableHashes(network.sql);
  const body = hourly({
    cron_expression: '30 2 * * *',
    interval_seconds: undefined as never,
    timezone: 'Europe/Berlin',
  });
  const would = await network.admin(createSchedule, { query: { dry_run: 'true' }, body });
  expect(would.next_runs).toHaveLength(10);
  expect(would).toMatchObject({ status: 'ACTIVE', next_run_at: would.next_runs![0], timezone: 'Europe/Berlin' });
  const few = await network.admin(createSchedule, { query: { dry_run: 'true' }, body: hourly({ max_runs: 3 }) });
  expect(few.next_runs).toHaveLength(3);
  expect(await tableHashes(network.sql)).toEqual(before);
  const made = await network.admin(createSchedule, { body });
  expect(made).toMatchObject({ next_run_at: would.next_run_at });
  expect(made.next_runs).toBeUndefined();
  await expect(network.admin(getSchedule, { params: would })).rejects.toMatchObject({ code: 'not-found' });
});

test('a rule that is wrong is refused in a dry run, an update and a creation alike, by the field', async () => {
  const network = await startBetweenHours({ env: { MUSTER_MIN_SCHEDULE_SECONDS: '60' } });
  const { schedule_id } = await make(network);
  const base = { task_type: 'work', input_data: { text: '{{scheduled_at}}' } };
  for (const [rule, code, pointer] of [
    [{ cron_expression: '61 * * * *' }, 'invalid-cron', '#/cron_expression'],
    [{ cron_expression: '* * * * *', timezone: '' }, 'invalid-timezone', '#/timezone'],
    [{ cron_expression: '0 0 31 2 *' }, 'schedule-never-fires', '#/cron_expression'],
    [{ at: '2020-01-01T00:00:00Z' }, 'schedule-never-fires', '#/at'],
    [{ cron_expression: '*/10 * * * * *' }, 'schedule-too-frequent', '#/cron_expression'],
    [{ interval_seconds: 59 }, 'schedule-too-frequent', '#/interval_seconds'],
    [{ interval_seconds: 60, at: '2030-01-01T00:00:00Z' }, 'validation-failed', '#/cron_expression'],
    [{}, 'validation-failed', '#/cron_expression'],
    [{ interval_seconds: 60, input_data: ['{{who}}'] }, 'validation-failed', '#/input_data/0'],
  ] as const) {
    const body = { ...base, ...rule };
    for (const [method, path] of [
      ['POST', PATH],
      ['POST', `${PATH}?dry_run=true`],
      ['PUT', `${PATH}/${schedule_id}`],
      ['PUT', `${PATH}/${schedule_id}?dry_run=true`],
    ] as const) {
      const problem = await refusal(network, method, path, { body });
      expect([problem.status, problem.code, problem.errors?.[0]?.pointer], `${method} ${JSON.stringify(rule)}`).toEqual(
        [422, code, pointer],
      );
    }
  }
  expect((await network.admin(listSchedules, {})).data).toHaveLength(1);
});

test('a name is one schedule’s of an owner until it is deleted', async () => {
  const network = await startBetweenHours();
  const first = await make(network, { name: 'nightly' });
  const other = await make(network, { name: 'other' });
  const taken = { code: 'conflict', message: 'there is a schedule named "nightly" already' };
  for (const dry_run of ['true', 'false'] as const) {
    const body = hourly({ name: 'nightly' });
    await expect(network.admin(createSchedule, { query: { dry_run }, body })).rejects.toMatchObject(taken);
    const params = { schedule_id: other.schedule_id };
    await expect(network.admin(updateSchedule, { params, query: { dry_run }, body })).rejects.toMatchObject(taken);
  }
  const acme = await makeKey(network, { owner: 'acme', scopes: ['schedules:write', 'schedules:read'] });
  await acme.call(createSchedule, { body: hourly({ name: 'nightly' }) });
  const found = await acme.call(listSchedules, { query: { name: 'nightly' } });
  expect(found.data.map((it) => it.owner)).toEqual(['acme']);
  await network.admin(deleteSchedule, { params: first });
  await make(network, { name: 'nightly' });
});

test('a name that is taken leaves the limit of the concurrency key as it was', async () => {
  const network = await startBetweenHours();
  const body = hourly({ name: 'a', concurrency_key: 'k', concurrency_limit: 2 });
  await network.admin(createSchedule, { body });
  const before = await tableHashes(network.sql);
  const again = network.admin(createSchedule, { body: { ...body, concurrency_limit: 77 } });
  await expect(again).rejects.toMatchObject({ code: 'conflict' });
  expect(await tableHashes(network.sql)).toEqual(before);
});

test('of many that create one name at once one does', async () => {
  const network = await startBetweenHours();
  const tries = await Promise.allSettled(Array.from({ length: 20 }, () => make(network, { name: 'only' })));
  expect(tries.filter((it) => it.status === 'fulfilled')).toHaveLength(1);
  const codes = tries.flatMap((it) => (it.status === 'rejected' ? [it.reason.code] : []));
  expect(new Set(codes)).toEqual(new Set(['conflict']));
});

test('an update replaces the whole rule and nothing else, and computes the next time anew', async () => {
  const network = await startBetweenHours();
  const made = await make(network, { description: 'old', tags: ['a'], priority: 9, max_runs: 50 });
  const params = { schedule_id: made.schedule_id };
  await advanceTo(network, made.next_run_at!);
  const before = await network.admin(getSchedule, { params });
  expect(before).toMatchObject({ total_runs: 1, version: 0 });
  const rows = await tableHashes(network.sql);
  const body = {
    task_type: 'report',
    input_data: { a: [1] },
    cron_expression: '0 9 * * *',
    timezone: 'America/New_York',
  };
  const would = await network.admin(updateSchedule, { params, query: { dry_run: 'true' }, body });
  expect(would.next_runs).toHaveLength(10);
  expect(await tableHashes(network.sql)).toEqual(rows);
  const { next_runs, ...same } = would;
  const after = await network.admin(updateSchedule, { params, body });
  expect(after).toEqual({ ...same, version: 1, updated_at: after.updated_at });
  expect(after).toMatchObject({
    description: null,
    tags: [],
    priority: 5,
    max_runs: null,
    interval_seconds: null,
    total_runs: 1,
  });
  expect(after.next_run_at).toBe(next_runs![0]);
  // The same once more is no change.
  expect(await network.admin(updateSchedule, { params, body })).toEqual(after);
});

test('an update that says nothing of when leaves the next time as it is', async () => {
  const network = await startBetweenHours();
  const { schedule_id, next_run_at } = await make(network, { jitter_seconds: 600 });
  await advanceTo(network, next_run_at!);
  const params = { schedule_id };
  const pending = await network.admin(getSchedule, { params });
  const after = await network.admin(updateSchedule, {
    params,
    body: hourly({ jitter_seconds: 600, description: 'new' }),
  });
  expect(after).toMatchObject({ next_run_at: pending.next_run_at, fire_at: pending.fire_at, description: 'new' });
});

test('a schedule that is updated over and over while it fires loses no due time and doubles none', async () => {
  const network = await startBetweenHours();
  const { schedule_id } = await make(network, { interval_seconds: 1, overlap: 'ALLOW_ALL' });
  const params = { schedule_id };
  for (let n = 0; (await executionsOf(network, schedule_id)).length < 4; n += 1) {
    const body = hourly({ interval_seconds: 1, overlap: 'ALLOW_ALL', description: `${n}`, phase_seconds: n % 3 });
    await network.admin(updateSchedule, { params, body });
  }
  await network.admin(pauseSchedule, { params });
  const times = (await executionsOf(network, schedule_id)).map((it) => Date.parse(it.scheduled_at)).reverse();
  expect(times.map((at) => at - times[0]!)).toEqual(times.map((_, n) => n * 1_000));
});

test('a paused schedule that gets another rule stays paused, and its gap is told by that rule', async () => {
  const network = await startBetweenHours();
  const { schedule_id } = await make(network);
  const params = { schedule_id };
  await network.admin(pauseSchedule, { params, body: { note: 'for now' } });
  const body = hourly({ interval_seconds: 1_800 });
  const updated = await network.admin(updateSchedule, { params, body });
  expect(updated).toMatchObject({ status: 'PAUSED', next_run_at: null, pause_note: 'for now', version: 2 });
  await network.clock.advance('3h');
  await network.admin(resumeSchedule, { params });
  const [gap, ...more] = await executionsOf(network, schedule_id);
  expect(gap).toMatchObject({ status: 'SKIPPED', reason: 'paused', count: 6 });
  expect(more).toEqual([]);
});

test('one that has ended begins again with a rule that has a time to come; a deleted one never', async () => {
  const network = await startBetweenHours();
  const soon = new Date((await network.clock.now()).getTime() + HOUR).toISOString();
  const at = (time: string) => ({ task_type: 'work', input_data: null, at: time });
  const { schedule_id } = await network.admin(createSchedule, { body: at(soon) });
  const params = { schedule_id };
  await advanceTo(network, soon);
  expect(await network.admin(getSchedule, { params })).toMatchObject({ status: 'ENDED', total_runs: 1 });
  // What it was told already is no news, even if it could not be told anew.
  expect(await network.admin(updateSchedule, { params, body: at(soon) })).toMatchObject({ status: 'ENDED' });
  await expect(
    network.admin(updateSchedule, { params, body: { ...at(soon), interval_seconds: undefined as never, max_runs: 1 } }),
  ).rejects.toMatchObject({ code: 'schedule-never-fires' });
  const later = new Date((await network.clock.now()).getTime() + HOUR).toISOString();
  await expect(network.admin(updateSchedule, { params, body: { ...at(later), max_runs: 1 } })).rejects.toMatchObject({
    code: 'validation-failed',
    errors: [{ pointer: '#/max_runs' }],
  });
  const again = await network.admin(updateSchedule, { params, body: at(later) });
  expect(again).toMatchObject({ status: 'ACTIVE', next_run_at: later });
  await network.admin(deleteSchedule, { params });
  await expect(network.admin(updateSchedule, { params, body: at(later) })).rejects.toMatchObject({ code: 'conflict' });
});

test('the ETag names the version; what changes another than was seen is refused and changes nothing', async () => {
  const network = await startBetweenHours();
  const created = await send(network, 'POST', PATH, { body: hourly() });
  expect(created.headers.get('etag')).toBe('"0"');
  const { schedule_id } = (await created.json()) as { schedule_id: string };
  const path = `${PATH}/${schedule_id}`;
  const put = (etag: string, priority = 7) =>
    send(network, 'PUT', path, { body: hourly({ priority }), headers: { 'if-match': etag } });
  const first = await put('"0"');
  expect([first.status, first.headers.get('etag')]).toEqual([200, '"1"']);
  expect((await send(network, 'GET', path)).headers.get('etag')).toBe('"1"');
  // What it does by itself is no change of it.
  await network.clock.advance('2h');
  expect((await send(network, 'GET', path)).headers.get('etag')).toBe('"1"');
  const before = await tableHashes(network.sql);
  for (const [method, at] of [
    ['PUT', path],
    ['PUT', `${path}?dry_run=true`],
    ['DELETE', path],
    ['POST', `${path}/pause`],
    ['POST', `${path}/resume`],
  ] as const) {
    const body = method === 'PUT' ? hourly() : undefined;
    for (const etag of ['"0"', 'W/"1"', '"0", "2"', '""']) {
      const problem = await refusal(network, method, at, { body, headers: { 'if-match': etag } });
      expect([problem.status, problem.code], `${method} ${at} ${etag}`).toEqual([412, 'precondition-failed']);
    }
    const malformed = await refusal(network, method, at, { body, headers: { 'if-match': 'one' } });
    expect(malformed).toMatchObject({ code: 'validation-failed', errors: [{ pointer: '#/headers/if-match' }] });
  }
  expect(await tableHashes(network.sql)).toEqual(before);
  expect((await put('"0", "1"', 8)).status).toBe(200);
  expect((await put('*', 9)).status).toBe(200);
  expect((await send(network, 'DELETE', path, { headers: { 'if-match': '"3"' } })).status).toBe(200);
});

test('of many who saw the same version and change it at once one does', async () => {
  const network = await startBetweenHours();
  const { schedule_id } = await make(network);
  const path = `${PATH}/${schedule_id}`;
  const headers = { 'if-match': '"0"' };
  const asked = Array.from({ length: 12 }, (_, n) => n);
  const answers = await inParallel(asked, 12, (n) =>
    send(network, 'PUT', path, { body: hourly({ description: `${n}` }), headers }),
  );
  const statuses = answers.map((it) => it.status).sort();
  expect(statuses).toEqual([200, ...Array(11).fill(412)]);
  expect(await network.admin(getSchedule, { params: { schedule_id } })).toMatchObject({ version: 1 });
});

test('a client of AINS is understood: scalars in the query, the input as the body', async () => {
  const network = await startBetweenHours();
  const scalars = new URLSearchParams({
    client_id: 'billing',
    task_type: 'report',
    capability_required: 'report:v1',
    cron_expression: '0 9 * * MON-FRI',
    priority: '7',
    description: 'every morning',
  });
  const answer = await send(network, 'POST', `${PATH}?${scalars}`, { body: { input_data: { range: [1, 2] } } });
  expect(answer.status).toBe(201);
  expect(await answer.json()).toMatchObject({
    client_id: 'billing',
    capability_required: 'report:v1',
    cron_expression: '0 9 * * MON-FRI',
    priority: 7,
    description: 'every morning',
    input_data: { range: [1, 2] },
    timezone: 'UTC',
  });
  const asked = await send(network, 'POST', `${PATH}/validate?cron_expression=${encodeURIComponent('0 9 * * *')}`);
  expect(await asked.json()).toMatchObject({ valid: true, next_runs: { length: 5 } });
  const whole = await send(network, 'POST', `${PATH}/validate?${scalars}`, { body: { input_data: { range: [1, 2] } } });
  expect(await whole.json()).toMatchObject({ valid: true, cron_expression: '0 9 * * MON-FRI' });
  const unknown = await refusal(network, 'POST', `${PATH}/validate?${scalars}`, { body: { input_data: '{{x}}' } });
  expect(unknown).toMatchObject({ code: 'validation-failed', errors: [{ pointer: '#/input_data' }] });
  const wrong = await send(network, 'POST', `${PATH}/validate?cron_expression=never`);
  expect([wrong.status, await wrong.json()]).toMatchObject([200, { valid: false, code: 'invalid-cron' }]);
  const before = await tableHashes(network.sql);
  for (const [query, body, pointer] of [
    ['task_type=a&cron_expression=@daily&priority=11', { input_data: 1 }, '#/query/priority'],
    ['task_type=a&cron_expression=@daily', { input_data: 1, task_type: 'b' }, '#/query/task_type'],
    ['task_type=a&cron_expression=@daily', { range: [1] }, '#/input_data'],
    ['task_type=a&cron_expression=@daily&owner=b', { input_data: 1 }, '#/query/owner'],
    ['task_type=a&cron_expression=@daily', [1], '#'],
    ['cron_expression=@daily', { input_data: 1 }, '#/task_type'],
  ] as const) {
    const problem = await refusal(network, 'POST', `${PATH}?${query}`, { body });
    expect([problem.code, problem.errors?.map((it) => it.pointer)], query).toEqual([
      'validation-failed',
      expect.arrayContaining([pointer]),
    ]);
  }
  expect(await tableHashes(network.sql)).toEqual(before);
});

test('any rule of when can be asked about', async () => {
  const network = await startBetweenHours();
  const interval = await network.admin(validateSchedule, { body: { interval_seconds: 90, phase_seconds: 5 } });
  expect(interval).toMatchObject({ valid: true, cron_expression: null });
  const once = await network.admin(validateSchedule, { body: { at: '2050-01-01T00:00:00Z' } });
  expect(once).toMatchObject({ valid: true, next_runs: ['2050-01-01T00:00:00.000Z'] });
  const past = await network.admin(validateSchedule, { body: { at: '2020-01-01T00:00:00Z' } });
  expect(past).toMatchObject({ valid: false, code: 'schedule-never-fires' });
});

test('a list is filtered by whose, what and how', async () => {
  const network = await startBetweenHours();
  const first = await make(network, { client_id: 'a', tags: ['x', 'y'] });
  const second = await make(network, { client_id: 'b', tags: ['y'], task_type: 'other' });
  await network.admin(pauseSchedule, { params: second });
  const found = async (query: Parameters<typeof network.admin<typeof listSchedules>>[1]['query']) =>
    (await network.admin(listSchedules, { query })).data.map((it) => it.schedule_id);
  expect(await found({ client_id: 'a' })).toEqual([first.schedule_id]);
  expect(await found({ tag: 'y' })).toEqual([second.schedule_id, first.schedule_id]);
  expect(await found({ tag: 'y', status: 'PAUSED' })).toEqual([second.schedule_id]);
  expect(await found({ task_type: 'work', status: 'PAUSED' })).toEqual([]);
});
