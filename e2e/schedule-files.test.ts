import { exportSchedules, importSchedules, triggerSchedule } from '@muster/shared/contract/schedule-operations';
import {
  createSchedule,
  getSchedule,
  listExecutions,
  listSchedules,
  pauseSchedule,
} from '@muster/shared/contract/schedules';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { inParallel, type TestNetwork } from './fixtures/network.ts';
import { hourly, PATH, refusal, send, startBetweenHours } from './fixtures/schedules.ts';
import { tableHashes } from './fixtures/tables.ts';

const YAML = { 'content-type': 'application/yaml', accept: 'application/yaml' };
const load = async (network: TestNetwork, text: string, query = '') => {
  const headers = { ...YAML, accept: 'application/json' };
  const response = await send(network, 'POST', `${PATH}/import${query}`, { body: text, headers });
  expect(response.status, await response.clone().text()).toBe(200);
  return (await response.json()) as { plan: { action: string; name: string; changes: string[] }[] } & Record<
    string,
    number
  >;
};
const dump = async (network: Pick<TestNetwork, 'url' | 'adminKey'>) =>
  (await send(network, 'GET', `${PATH}/export`, { headers: YAML })).text();
const named = async (network: TestNetwork) =>
  Object.fromEntries((await network.admin(listSchedules, {})).data.map((it) => [it.name, it]));

const FILE = `# What billing does by itself
schedules:
  - name: nightly-report
    task_type: report
    input_data: {range: "{{scheduled_at}}"}
    cron_expression: 30 2 * * *
    timezone: Europe/Berlin
    tags: [billing]
    exclude:
      - annual: 12-25
      - weekdays: [SAT, SUN]
  - name: sweep
    task_type: sweep
    input_data: null
    interval_seconds: 600
    misfire: FIRE_ONCE
`;

test('a file is planned, applied, and then there is nothing left to do', async () => {
  const network = await startBetweenHours();
  const unnamed = await network.admin(createSchedule, { body: hourly() });
  const before = await tableHashes(network.sql);
  const plan = await load(network, FILE, '?dry_run=true');
  expect(plan).toEqual({
    created: 2,
    updated: 0,
    deleted: 0,
    unchanged: 0,
    plan: ['nightly-report', 'sweep'].map((name) => ({ action: 'create', name, schedule_id: null, changes: [] })),
  });
  expect(await tableHashes(network.sql)).toEqual(before);
  expect(await load(network, FILE)).toMatchObject({ created: 2 });
  const made = await named(network);
  expect(made['nightly-report']).toMatchObject({
    timezone: 'Europe/Berlin',
    input_data: { range: '{{scheduled_at}}' },
  });
  expect(made.sweep).toMatchObject({ misfire: { policy: 'FIRE_ONCE' }, input_data: null });
  const after = await tableHashes(network.sql);
  expect(await load(network, FILE)).toMatchObject({ created: 0, unchanged: 2, plan: [] });
  expect(await tableHashes(network.sql)).toEqual(after);

  // Another file: one is changed, one goes, one comes; what has no name is left alone.
  await network.admin(triggerSchedule, { params: { schedule_id: made.sweep!.schedule_id } });
  const next = `schedules:
  - {name: sweep, task_type: sweep, input_data: null, interval_seconds: 60, priority: 9}
  - {name: extra, task_type: extra, input_data: 1, at: 2060-01-01T00:00:00Z}
`;
  const wanted = await load(network, next, '?dry_run=true');
  const brief = ({ plan }: typeof wanted) => plan.map((it) => [it.action, it.name, it.changes.sort()]);
  expect(brief(wanted)).toEqual([
    ['update', 'sweep', ['interval_seconds', 'misfire', 'priority']],
    ['create', 'extra', []],
    ['delete', 'nightly-report', []],
  ]);
  expect(brief(await load(network, next))).toEqual(brief(wanted));
  const now = await named(network);
  expect(Object.keys(now).sort()).toEqual(['extra', 'null', 'sweep']);
  expect(now.sweep).toMatchObject({ schedule_id: made.sweep!.schedule_id, priority: 9, total_runs: 1, version: 1 });
  const gone = await network.admin(getSchedule, { params: { schedule_id: made['nightly-report']!.schedule_id } });
  expect(gone.status).toBe('DELETED');
  expect(now.null!.schedule_id).toBe(unnamed.schedule_id);
  const kinds = await network.sql`select kind from events where kind like 'schedule.%' order by event_id`;
  expect(
    kinds
      .map((it) => it.kind)
      .filter((kind) => /created|updated|deleted/.test(kind))
      .sort(),
  ).toEqual(['created', 'created', 'created', 'updated', 'deleted'].map((it) => `schedule.${it}`).sort());
});

test('what is exported is imported as what it was, by another owner too', async () => {
  const network = await startBetweenHours();
  const odd = 'yes: "no"\n# é☃ {{scheduled_at}} *x &y !z';
  const body = {
    ...hourly({
      name: '012: yes',
      input_data: { [odd]: [odd, null, 1.5, '1e3', ''] },
      description: odd,
      metadata: { a: { b: odd } },
    }),
    starts_at: '2030-01-01T00:00:00Z',
    labels_required: { zone: 'a' },
    non_retryable: ['gone'],
    dst: { gap: 'skip' as const, repeat: 'both' as const },
    concurrency_key: 'key',
    concurrency_limit: 3,
  };
  await network.admin(createSchedule, { body });
  await network.admin(createSchedule, { body: hourly({ name: 'plain' }) });
  await network.admin(createSchedule, { body: hourly() });
  const text = await dump(network);
  expect(text).toContain('name: plain\n    task_type: work\n    input_data: null\n    interval_seconds: 3600\n');
  expect(await load(network, text)).toMatchObject({ unchanged: 2, plan: [] });
  const acme = await makeKey(network, { owner: 'acme', scopes: ['schedules:read', 'schedules:write'] });
  const theirs = { url: network.url, adminKey: acme.api_key };
  expect((await send(theirs, 'POST', `${PATH}/import`, { body: text, headers: YAML })).status).toBe(200);
  expect(await dump(theirs)).toBe(text);
  // Nothing of it touched anybody else's, and their empty file touches nothing either.
  expect(await acme.call(importSchedules, { body: { schedules: [] } })).toMatchObject({ deleted: 2 });
  expect((await acme.call(exportSchedules, {})).schedules).toEqual([]);
  expect(await dump(network)).toBe(text);
});

test('of a file that is wrong in one place nothing is done, and the place is told', async () => {
  const network = await startBetweenHours();
  await load(network, FILE);
  const before = await tableHashes(network.sql);
  const good = '  - {name: good, task_type: work, input_data: null, interval_seconds: 60}\n';
  for (const [bad, status, code, pointer, place] of [
    [
      '  - {name: x, task_type: a, input_data: 1, cron_expression: 61 * * * *}',
      422,
      'invalid-cron',
      '#/schedules/1/cron_expression',
      'line 3, column 61',
    ],
    [
      '  - {name: x, task_type: a, input_data: 1, cron_expression: "@daily", timezone: Mars}',
      422,
      'invalid-timezone',
      '#/schedules/1/timezone',
      'line 3',
    ],
    [
      '  - {name: x, task_type: a, input_data: 1, at: 2020-01-01T00:00:00Z}',
      422,
      'schedule-never-fires',
      '#/schedules/1/at',
      'line 3',
    ],
    [
      '  - {name: x, task_type: a, input_data: "{{who}}", interval_seconds: 9}',
      422,
      'validation-failed',
      '#/schedules/1/input_data',
      'line 3',
    ],
    [
      '  - {name: good, task_type: a, input_data: 1, interval_seconds: 9}',
      422,
      'validation-failed',
      '#/schedules/1/name',
      'line 3, column 12',
    ],
    [
      '  - {task_type: a, input_data: 1, interval_seconds: 9}',
      422,
      'validation-failed',
      '#/schedules/1/name',
      'line 3, column 5',
    ],
    [
      '  - name: x\n    task_type: a\n    input_data: 1\n    interval_seconds: often',
      422,
      'validation-failed',
      '#/schedules/1/interval_seconds',
      'line 6, column 23',
    ],
    [
      '  - {name: x, task_type: a, input_data: 1, interval_seconds: 9, owner: acme}',
      422,
      'validation-failed',
      '#/schedules/1/owner',
      'line 3',
    ],
    ['  - {name: x, name: y}', 400, 'malformed-request', undefined, 'line 3, column 15'],
    ['  - &a {name: x}\n  - *a', 400, 'malformed-request', undefined, 'line 3'],
    ['  - {name: !!binary aGk=, task_type: a}', 400, 'malformed-request', undefined, 'line 3'],
    ['  - !!js/function "x"', 400, 'malformed-request', undefined, 'line 3'],
    ['  - "\\0"', 422, 'validation-failed', '#/schedules/1', 'line 3, column 5'],
    [`  - ${'['.repeat(5_000)}`, 400, 'malformed-request', undefined, 'deeper than'],
    [`  - ${'x'.repeat(300_000)}`, 413, 'payload-too-large', undefined, 'longer than'],
  ] as const) {
    for (const query of ['', '?dry_run=true']) {
      const body = `schedules:\n${good}${bad}\n`;
      const problem = await refusal(network, 'POST', `${PATH}/import${query}`, { body, headers: YAML });
      const told = problem.errors?.[0];
      expect([problem.status, problem.code, told?.pointer], bad.slice(0, 100)).toEqual([status, code, pointer]);
      expect(told?.detail ?? problem.detail, bad.slice(0, 100)).toContain(place);
    }
  }
  expect(await tableHashes(network.sql)).toEqual(before);
});

test('a file may be JSON; what is neither is refused', async () => {
  const network = await startBetweenHours();
  const file = await network.admin(importSchedules, { body: { schedules: [{ ...hourly(), name: 'x' }] } });
  expect(file).toMatchObject({ created: 1, plan: [{ schedule_id: expect.stringMatching(/^sched_/) }] });
  const asJson = await send(network, 'GET', `${PATH}/export`);
  expect(asJson.headers.get('content-type')).toBe('application/json');
  const asYaml = await send(network, 'GET', `${PATH}/export`, { headers: YAML });
  expect(asYaml.headers.get('content-type')).toBe('application/yaml');
  expect(asYaml.headers.get('x-content-type-options')).toBe('nosniff');
  for (const type of ['text/plain', 'application/x-www-form-urlencoded'])
    expect(
      await refusal(network, 'POST', `${PATH}/import`, { body: FILE, headers: { 'content-type': type } }),
    ).toMatchObject({
      code: 'unsupported-media-type',
    });
  // Elsewhere YAML is nothing.
  expect(await refusal(network, 'POST', PATH, { body: 'task_type: x', headers: YAML })).toMatchObject({ status: 415 });
});

test('files that are imported at once leave what one of them says', async () => {
  const network = await startBetweenHours();
  const fileOf = (n: number) => ({
    schedules: Array.from({ length: 20 }, (_, k) => ({
      ...hourly({ interval_seconds: 3_600 + n }),
      name: `${n % 2 ? 'odd' : 'even'}-${k}`,
    })),
  });
  const asked = Array.from({ length: 6 }, (_, n) => n);
  const done = await inParallel(asked, 6, (n) => network.admin(importSchedules, { body: fileOf(n) }));
  expect(done).toHaveLength(6);
  const { schedules } = await network.admin(exportSchedules, {});
  const last = asked.find((n) => fileOf(n).schedules[0]!.interval_seconds === schedules[0]!.interval_seconds)!;
  expect(schedules.map((it) => it.name).sort()).toEqual(
    fileOf(last)
      .schedules.map((it) => it.name)
      .sort(),
  );
  expect(new Set(schedules.map((it) => it.interval_seconds)).size).toBe(1);
});

test('five hundred schedules are imported at once, and one more is too many', async () => {
  const network = await startBetweenHours();
  const schedules = Array.from({ length: 500 }, (_, n) => ({ ...hourly(), name: `s-${n}` }));
  expect(await network.admin(importSchedules, { body: { schedules } })).toMatchObject({ created: 500 });
  const text = await dump(network);
  expect(await load(network, text)).toMatchObject({ unchanged: 500 });
  const more = [...schedules, { ...hourly(), name: 'more' }];
  await expect(network.admin(importSchedules, { body: { schedules: more } })).rejects.toMatchObject({
    code: 'validation-failed',
    errors: [{ pointer: '#/schedules' }],
  });
  await network.admin(createSchedule, { body: hourly({ name: 'more' }) });
  await expect(network.admin(exportSchedules, {})).rejects.toMatchObject({ code: 'conflict' });
});

test('a paused schedule that a file does not name any more tells what it was paused over', async () => {
  const network = await startBetweenHours();
  await load(network, FILE);
  const { sweep } = await named(network);
  const params = { schedule_id: sweep!.schedule_id };
  await network.admin(pauseSchedule, { params });
  await network.clock.advance('1h');
  await load(network, 'schedules: []');
  expect((await network.admin(listExecutions, { params })).data).toMatchObject([
    { status: 'SKIPPED', reason: 'paused', count: 6 },
  ]);
  expect(await network.admin(getSchedule, { params })).toMatchObject({ status: 'DELETED', skipped: 6 });
});
