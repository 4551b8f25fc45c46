import type { ProblemCode } from '@muster/shared/errors';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { forge, numbered, pointersIn } from './requests.ts';
import { type Attack, attacks, type Stage, setStage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await setStage({ env: { MUSTER_MIN_SCHEDULE_SECONDS: '2' } });
});
afterAll(() => stage.coordinator.stop());

type Row = Omit<Attack, 'id'>;
interface Problem {
  code: ProblemCode;
  /** The field that is named. */
  field: string;
}

/** A schedule whose rule of when is refused, at its creation and when another is to become it: no schedule is made, none changes. */
const refused = (what: string, { code, field }: Problem, when: object): Row => ({
  what,
  async send(stage) {
    const body = { task_type: 'work', input_data: null, ...when };
    const update = { path: `/aitp/tasks/schedule/${stage.schedule_id}`, method: 'PUT', headers: { 'if-match': '*' } };
    const answers = [
      await forge(stage, { ...update, body }),
      await forge(stage, { path: '/aitp/tasks/schedule?dry_run=true', body }),
      await forge(stage, { path: '/aitp/tasks/schedule', body }),
    ];
    for (const answer of answers) expect([answer.status, ...pointersIn(answer)]).toEqual([422, `#/${field}`]);
    return answers.at(-1)!;
  },
  status: 422,
  code,
});

const at = (code: ProblemCode, field: string, rows: Record<string, object>): Row[] =>
  Object.entries(rows).map(([what, when]) => refused(what, { code, field }, when));

const patterns = (rows: Record<string, string>): Row[] =>
  Object.entries(rows).map(([what, cron_expression]) =>
    refused(what, { code: 'invalid-cron', field: 'cron_expression' }, { cron_expression }),
  );

const zones = (rows: Record<string, string>): Row[] =>
  Object.entries(rows).map(([what, timezone]) =>
    refused(what, { code: 'invalid-timezone', field: 'timezone' }, { cron_expression: '0 9 * * *', timezone }),
  );

const PATTERNS = patterns({
  'four fields': '* * * *',
  'seven fields, of the year 1999': '0 0 0 1 1 * 1999',
  'eight fields': '* * * * * * * *',
  'no field': '',
  'minute 60': '60 * * * *',
  'hour 24': '0 24 * * *',
  'steps of nothing': '*/0 * * * *',
  'minutes up to 70': '1-70 * * * *',
  'minute -1': '-1 * * * *',
  'month 13': '0 0 1 13 *',
  'day 32': '0 0 32 * *',
  'a day of the week of no language': '0 0 * * FOO',
  'the sixth Friday': '0 0 * * 5#6',
  'the workday next to the last day but three': '0 0 L-3W * *',
  'a workday of the week': '0 0 * * 1W',
  'the last workday and another': '0 0 LW,15W * *',
  'digits of full width': '１ * * * *',
  'a line break': '* * * *\n*',
  'an event': '@reboot',
  'a pattern of 4,000 characters': `${'0,'.repeat(1_995)}0 * * * *`,
});

const ZONES = zones({
  'no zone': '',
  'a zone of no planet of ours': 'Mars/Olympus',
  'a path for a zone': '../../etc/passwd',
  'a distance from UTC for a zone': '+02:00',
  'a distance by name': 'UTC+2',
});

const NEVER = [
  ...at('schedule-never-fires', 'cron_expression', {
    '30 February': { cron_expression: '0 0 30 2 *' },
    'a first Monday after the tenth': { cron_expression: '0 0 10-31 * +MON#1' },
  }),
  ...at('schedule-never-fires', 'at', { 'once, in the year 1999': { at: '1999-12-31T23:59:59Z' } }),
  ...at('schedule-never-fires', 'ends_at', {
    'an end before the start': {
      interval_seconds: 60,
      starts_at: '2099-01-02T00:00:00Z',
      ends_at: '2099-01-01T00:00:00Z',
    },
    'an hour that does not come, skipped': {
      cron_expression: '30 2 29 3 *',
      timezone: 'Europe/Berlin',
      dst: { gap: 'skip', repeat: 'both' },
      starts_at: '2054-01-01T00:00:00Z',
      ends_at: '2054-12-31T00:00:00Z',
    },
    'an hour that comes twice, the second time, where the first counts': {
      cron_expression: '30 2 25 10 *',
      timezone: 'Europe/Berlin',
      dst: { gap: 'skip', repeat: 'first' },
      starts_at: '2054-10-25T01:00:00Z',
      ends_at: '2054-12-31T00:00:00Z',
    },
  }),
  ...at('schedule-never-fires', 'exclude', {
    'no day of the week': {
      cron_expression: '* * * * *',
      exclude: [{ weekdays: ['MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT', 'SUN'] }],
    },
  }),
];

const TOO_FREQUENT = [
  ...at('schedule-too-frequent', 'cron_expression', { 'every second': { cron_expression: '* * * * * *' } }),
  ...at('schedule-too-frequent', 'interval_seconds', { 'every second, by interval': { interval_seconds: 1 } }),
];

const OUT_OF_BOUNDS = [
  ...at('validation-failed', 'cron_expression', { '100 kB of pattern': { cron_expression: '0,'.repeat(50_000) } }),
  ...at('validation-failed', 'jitter_seconds', {
    'a jitter into the past': { cron_expression: '0 9 * * *', jitter_seconds: -1 },
  }),
  ...at('validation-failed', 'catch_up_seconds', {
    'a catch-up of a thousand million seconds': { cron_expression: '0 9 * * *', catch_up_seconds: 1_000_000_000 },
  }),
  ...at('validation-failed', 'starts_at', {
    'a start on 31 February': { cron_expression: '0 9 * * *', starts_at: '2099-02-31T00:00:00Z' },
  }),
];

const TABLE = numbered('I', [...PATTERNS, ...ZONES, ...NEVER, ...TOO_FREQUENT, ...OUT_OF_BOUNDS]);

describe('a schedule that could not keep its word is not made', () => {
  attacks(() => stage, TABLE);
});
