import { ProblemError } from '@muster/shared/errors';
import { type Pattern, patternOf } from './cron.ts';
import { nextDue, type When } from './when.ts';
import { isTimezone } from './zone.ts';

type Code = 'invalid-cron' | 'invalid-timezone' | 'schedule-never-fires' | 'schedule-too-frequent';

/** The longest pattern, in characters. */
const LONGEST = 256;

/**
 * The first due time after `now`. Throws a {@link ProblemError} (invalid-timezone, invalid-cron, schedule-too-frequent, schedule-never-fires) that names
 * the field and its value where there is none, or where two would be less than `minSeconds` apart (MUSTER_MIN_SCHEDULE_SECONDS).
 */
export function checkWhen(when: When, now: Date, minSeconds: number): Date {
  const { cron_expression, interval_seconds, timezone } = when;
  if (!isTimezone(timezone))
    throw refused(
      'invalid-timezone',
      'timezone',
      `${JSON.stringify(timezone)} is not an IANA time zone such as Europe/Berlin`,
    );
  if (cron_expression !== null) checkPattern(cron_expression, minSeconds);
  if (interval_seconds !== null && interval_seconds < minSeconds)
    throw refused(
      'schedule-too-frequent',
      'interval_seconds',
      `${interval_seconds} s is more often than ${allowed(minSeconds)}`,
    );
  const due = nextDue(when, now);
  if (!due) throw refused('schedule-never-fires', ...whyNever(when, now));
  return due;
}

function checkPattern(expression: string, minSeconds: number): void {
  const shown = JSON.stringify(expression.slice(0, LONGEST));
  if (expression.length > LONGEST)
    throw refused(
      'invalid-cron',
      'cron_expression',
      `${shown}… is too long: a cron expression has at most ${LONGEST} characters`,
    );
  if (!/^[\t -~]*$/.test(expression))
    throw refused(
      'invalid-cron',
      'cron_expression',
      `${shown} is not a cron expression: it is written in ASCII, in one line`,
    );
  let pattern: Pattern;
  try {
    pattern = patternOf(expression);
  } catch (error) {
    throw refused('invalid-cron', 'cron_expression', `${shown} is not a cron expression: ${wordsOf(error)}`);
  }
  // By the second is as often as a pattern can be.
  const seconds = minSeconds > 1 ? pattern.leastApart() : 1;
  if (seconds < minSeconds)
    throw refused(
      'schedule-too-frequent',
      'cron_expression',
      `${shown} fires ${seconds} s apart, which is more often than ${allowed(minSeconds)}`,
    );
}

const allowed = (minSeconds: number) => `every ${minSeconds} s, the most often that is allowed here`;

/** The field that keeps a schedule from ever being due after `now`, and why. */
function whyNever(when: When, now: Date): [field: keyof When, detail: string] {
  const { cron_expression, at, starts_at, ends_at } = when;
  const until = ends_at?.toISOString();
  if (ends_at && ends_at <= now) return ['ends_at', `ends_at ${until} has passed`];
  if (starts_at && ends_at && ends_at < starts_at)
    return ['ends_at', `ends_at ${until} is before starts_at ${starts_at.toISOString()}`];
  if (at && at <= now) return ['at', `${at.toISOString()} has passed`];
  const bare = { ...when, starts_at: null, ends_at: null, exclude: [] };
  if (cron_expression !== null && !nextDue(bare, now))
    return ['cron_expression', `${JSON.stringify(cron_expression)} never comes`];
  if (nextDue({ ...when, exclude: [] }, now)) return ['exclude', 'each of its times is on a date that is left out'];
  return [at ? 'at' : 'ends_at', 'it has no time between starts_at and ends_at'];
}

/** Croner knows a seventh part, which ours have not. */
const wordsOf = (error: unknown) =>
  (error as Error).message
    .replace(/^CronPattern: /, '')
    .replace('five, six, or seven', 'five or six')
    .slice(0, 200);

const refused = (code: Code, field: keyof When, detail: string) =>
  new ProblemError(code, detail, { errors: [{ pointer: `#/${field}`, detail }] });
