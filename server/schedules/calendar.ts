import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedule-operations';
import { ProblemError } from '@muster/shared/errors';
import { idPattern } from '@muster/shared/ids';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { decodeCursor, notOurCursor, pageOf } from '../platform/page.ts';
import { showOccurrence } from './occurrences.ts';
import { listComing } from './store/rules.ts';
import type { ScheduleRow } from './store/schedules.ts';
import { countDue, LATEST, nextDue } from './when.ts';

/** How many schedules one calendar is made of: each is asked for its times. */
export const MOST_IN_CALENDAR = 1_000;
const YEAR_MS = 366 * 86_400_000;

/** The due times of active schedules, in order of time. Only schedules are read: what is due next is in their rows, what comes after is computed. */
export async function listCalendar(
  ctx: Ctx,
  { query: { cursor, limit, from, to, ...filter } }: InputOf<typeof contract.listCalendar>,
) {
  const after = positionOf(cursor);
  const now = ctx.clock.now();
  const begin = new Date(Math.max(now.getTime(), from === undefined ? 0 : Date.parse(from)));
  const end = new Date(Math.min(begin.getTime() + YEAR_MS, LATEST, to === undefined ? LATEST : Date.parse(to)));
  const rows = await listComing(ctx.db.admin, {
    ...filter,
    owner: shownOwner(ctx),
    before: end,
    limit: MOST_IN_CALENDAR + 1,
  });
  if (rows.length > MOST_IN_CALENDAR) throw tooMany();
  const times: Due[] = [];
  const wanted = (it: Due) => it.due < end && hasRunsLeft(it, now);
  for (const it of merged(rows, after ? new Date(Math.max(begin.getTime(), after.at.getTime())) : begin, wanted)) {
    if (!(after && isBefore(it, after))) times.push(it);
    if (times.length > limit) break;
  }
  const show = ({ row, due }: Due) => ({
    schedule_id: row.schedule_id,
    name: row.name,
    owner: row.owner,
    task_type: row.task_type,
    timezone: row.timezone,
    ...showOccurrence(row, due),
  });
  return pageOf(times, limit, show, ({ row, due }) => [due.toISOString(), row.schedule_id]);
}

/** A due time and whose it is. */
interface Due {
  row: ScheduleRow;
  due: Date;
}

/** The due times of schedules from an instant on, in order; each is computed when it is its turn. A schedule is done with its first that is not wanted. */
function* merged(rows: readonly ScheduleRow[], from: Date, wanted: (it: Due) => boolean): Generator<Due> {
  const begin = new Date(from.getTime() - 1);
  const heads = rows.flatMap((row) => {
    const due = row.next_run_at! >= from ? row.next_run_at : nextDue(row, begin);
    return due && wanted({ row, due }) ? [{ row, due }] : [];
  });
  while (heads.length > 0) {
    const first = heads.reduce((least, it) => (inOrder(it, least) ? it : least));
    yield { ...first };
    const next = nextDue(first.row, first.due);
    if (next && wanted({ row: first.row, due: next })) first.due = next;
    else heads.splice(heads.indexOf(first), 1);
  }
}

const inOrder = (a: Due, b: Due) => a.due < b.due || (a.due <= b.due && a.row.schedule_id < b.row.schedule_id);

interface Position {
  at: Date;
  schedule_id: string;
}

const isBefore = ({ row, due }: Due, { at, schedule_id }: Position) =>
  due < at || (due <= at && row.schedule_id <= schedule_id);

const hasRunsLeft = ({ row, due }: Due, now: Date) =>
  row.max_runs === null || row.total_runs + countDue(row, now, due) <= row.max_runs;

function positionOf(cursor: string | undefined): Position | undefined {
  const [at = '', schedule_id = ''] = decodeCursor(cursor, 2) ?? [];
  if (cursor === undefined) return undefined;
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(at) || !idPattern('sched').test(schedule_id))
    throw notOurCursor();
  if (Number.isNaN(Date.parse(at))) throw notOurCursor();
  return { at: new Date(at), schedule_id };
}

function tooMany(): ProblemError {
  const detail = `more than ${MOST_IN_CALENDAR} schedules are due by then: ask for a nearer time, or by client_id, task_type or tag`;
  return new ProblemError('validation-failed', `#/query/to ${detail}`, { errors: [{ pointer: '#/query/to', detail }] });
}
