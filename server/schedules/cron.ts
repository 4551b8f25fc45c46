import { ProblemError } from '@muster/shared/errors';
import { Cron } from 'croner';

/** Parsed patterns that are kept: parsing costs ten times what the next time does. */
const KEPT = 5_000;
const parsed = new Map<string, Cron>();

/** When a pattern fires next, strictly after `from`; null where it never does. Croner only calculates: it never keeps time here. */
export function nextRun(cronExpression: string, timezone: string, from: Date): Date | null {
  return calculator(cronExpression, timezone).nextRun(from);
}

/** The next `count` times. */
export function nextRuns(cronExpression: string, timezone: string, from: Date, count: number): Date[] {
  return calculator(cronExpression, timezone).nextRuns(count, from);
}

function calculator(cronExpression: string, timezone: string): Cron {
  const key = `${timezone}\n${cronExpression}`;
  const known = parsed.get(key);
  if (known) return known;
  const cron = new Cron(cronExpression, { timezone, paused: true, mode: '5-or-6-parts' });
  if (parsed.size >= KEPT) parsed.delete(parsed.keys().next().value!);
  parsed.set(key, cron);
  return cron;
}

/** The first firing of a pattern; refuses, with the reason, one that is wrong, in no time zone, or never fires. */
export function firstRun(cronExpression: string, timezone: string, from: Date): Date {
  refuseTimezone(timezone);
  let next: Date | null;
  try {
    next = nextRun(cronExpression, timezone, from);
  } catch (error) {
    throw refused(
      'invalid-cron',
      'cron_expression',
      `${JSON.stringify(cronExpression)} is not a cron expression: ${wordsOf(error)}`,
    );
  }
  if (!next) throw refused('schedule-never-fires', 'cron_expression', `${JSON.stringify(cronExpression)} never comes`);
  return next;
}

/** IANA names only: an empty zone would silently be the server's, and an offset knows no summer. */
function refuseTimezone(timezone: string): void {
  try {
    if (/^[A-Za-z]/.test(timezone)) return void new Intl.DateTimeFormat('en', { timeZone: timezone });
  } catch {
    // Falls through: unknown.
  }
  throw refused(
    'invalid-timezone',
    'timezone',
    `${JSON.stringify(timezone)} is not an IANA time zone such as Europe/Berlin`,
  );
}

const wordsOf = (error: unknown) => (error as Error).message.replace(/^CronPattern: /, '').slice(0, 200);

const refused = (code: 'invalid-cron' | 'invalid-timezone' | 'schedule-never-fires', field: string, detail: string) =>
  new ProblemError(code, detail, { errors: [{ pointer: `#/${field}`, detail }] });
