import type { Overlap } from '@muster/shared/contract/schedule-rule';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import type { ScheduleStatus } from '@muster/shared/lifecycle';
import { gapFrom } from './gap.ts';
import { jitterMs } from './jitter.ts';
import { judge } from './misfire.ts';
import { takeTurns } from './overlap.ts';
import type { NewExecution, Plan } from './store/fire.ts';
import type { Planned } from './store/tick.ts';
import { filledText, LONGEST_INPUT } from './template.ts';

export type Planning = Omit<Plan, 'class_id'>;

/** How many characters of filled input the runs may have that are asked for together: they are one statement. */
const MOST_FILLED = 64 * LONGEST_INPUT;
/** How many due times with filled inputs fire in one statement. */
const FILLED = 50;

/** What a schedule does at its due times up to `now`: at most `limit` fire. One that may not run as often ends, and is due no more. */
export function planDue(it: Planned & { next_run_at: Date }, limit: number): Planning {
  const { due, missed, following } = judge(it, it.now, it.template ? Math.min(limit, FILLED) : limit);
  const { made, cancel, ends } = planRuns(it, 'FIRED', due, it.overlap);
  const next_run_at = ends ? null : following;
  const gaps = missed.map((gap) => ({ ...NOTHING, ...gap, execution_id: newId('exec'), status: 'MISSED' as const }));
  const becomes = {
    status: next_run_at ? ('ACTIVE' as const) : ('ENDED' as const),
    next_run_at,
    jitter_ms: next_run_at ? jitterMs(it.schedule_id, next_run_at, it.jitter_seconds) : 0,
  };
  return { ...seenOf(it), becomes, executions: [...gaps, ...made], cancel };
}

/** What a schedule does when somebody asks for runs of it: at `times`, and without moving on. Those that overlap as they may not are left out. */
export function planAsked(
  it: Planned,
  status: 'TRIGGERED' | 'BACKFILLED',
  times: readonly Date[],
  overlap: Overlap,
): Planning {
  const { made, cancel, ends } = planRuns(it, status, times, overlap);
  if (made.reduce((sum, one) => sum + (one.input_data?.length ?? 0), 0) > MOST_FILLED)
    throw new ProblemError(
      'conflict',
      `the runs of schedule ${it.schedule_id} would have more than ${MOST_FILLED} characters of input together: ask for fewer at a time`,
    );
  const stays = { status: it.status as ScheduleStatus, next_run_at: it.next_run_at, jitter_ms: it.jitter_ms };
  const ended = ends && it.status === 'ACTIVE';
  const becomes = ended ? { status: 'ENDED' as const, next_run_at: null, jitter_ms: 0 } : stays;
  // What was due by then, and no tick has come to, has lost its turn.
  const gap = ended && gapFrom(it, it.next_run_at!, it.now);
  const passed = gap && {
    ...NOTHING,
    ...gap,
    execution_id: newId('exec'),
    status: 'SKIPPED' as const,
    reason: 'ended',
  };
  const runs = made.filter((one) => one.task_id !== null);
  return { ...seenOf(it), becomes, executions: passed ? [...runs, passed] : runs, cancel };
}

const NOTHING = { jitter_ms: 0, execution_number: null, task_id: null, needs: null, input_data: null };

const seenOf = ({ schedule_id, status, version, next_run_at, total_runs }: Planned) => ({
  schedule_id,
  seen: { status, version, next_run_at, total_runs },
});

/** The executions of due times that have come: a task for each, or word that it would have overlapped. `ends`: the schedule has run as often as it may. */
function planRuns(
  it: Planned,
  status: NewExecution['status'],
  times: readonly Date[],
  overlap: Overlap,
): { made: NewExecution[]; cancel: string[]; ends: boolean } {
  const left = it.max_runs === null || status !== 'FIRED' ? Infinity : it.max_runs - it.total_runs;
  const made: NewExecution[] = [];
  let runs = 0;
  const turns = takeTurns(
    overlap,
    it.open,
    times.map(() => newId('task')),
  );
  for (const [n, scheduled_at] of times.entries()) {
    if (runs >= left) break;
    const turn = turns[n]!;
    const one = { ...NOTHING, execution_id: newId('exec'), scheduled_at, until: null, count: 1 };
    if (!turn) {
      made.push({ ...one, status: 'SKIPPED', reason: 'overlap' });
      continue;
    }
    runs += 1;
    const execution_number = it.total_runs + runs;
    const jitter_ms = status === 'FIRED' ? jitterMs(it.schedule_id, scheduled_at, it.jitter_seconds) : 0;
    const input_data = inputOf(it, scheduled_at, execution_number);
    made.push({ ...one, ...turn, status, reason: null, jitter_ms, execution_number, input_data });
  }
  return {
    made,
    cancel: overlap === 'CANCEL_OTHER' && runs > 0 ? it.open : [],
    ends: it.total_runs + runs >= (it.max_runs ?? Infinity),
  };
}

/** The task's own input, where the schedule's has variables. */
const inputOf = ({ schedule_id, template }: Planned, scheduledAt: Date, execution_number: number): string | null =>
  template &&
  filledText(template.input_data, {
    scheduled_at: scheduledAt.toISOString(),
    schedule_id,
    execution_number,
    last_result: template.last_result,
  });
