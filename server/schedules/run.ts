import type { Overlap } from '@muster/shared/contract/schedule-rule';
import { notFound, ProblemError } from '@muster/shared/errors';
import type { Actor } from '../audit/record.ts';
import type { Classes } from '../tasks/classes.ts';
import { planAsked } from './plan.ts';
import { findPlanned, type Planned } from './store/tick.ts';
import { carryOutPlans, type Parts } from './tick.ts';

/** Looks again when a tick or somebody else was faster. */
const TRIES = 20;

/** What somebody wants of a schedule besides what it does by itself. */
export interface Wanted {
  status: 'TRIGGERED' | 'BACKFILLED';
  /** For which times, at most a few thousand; they are looked for in what the schedule is by then. */
  times: (it: Planned) => readonly Date[];
  /** As the schedule says, unless said. */
  overlap?: Overlap | undefined;
  by: Actor | undefined;
}

/** Makes tasks of a schedule that somebody asks for, whatever its status, all of them or none. Answers the executions' ids, in order: fewer than times where they may not overlap. */
export async function runSchedule(
  parts: Parts,
  classes: Classes,
  scheduleId: string,
  { status, times, overlap, by }: Wanted,
): Promise<string[]> {
  const action = status === 'TRIGGERED' ? 'schedule.trigger' : 'schedule.backfill';
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const it = await findPlanned(parts.db.admin, scheduleId);
    if (!it) throw notFound('schedule', scheduleId);
    if (it.status === 'DELETED') throw new ProblemError('conflict', `schedule ${scheduleId} is DELETED`);
    const planning = planAsked(it, status, times(it), overlap ?? it.overlap);
    const { executions } = planning.plan;
    if (executions.length === 0) return [];
    const fired = await carryOutPlans(parts, classes, [it], [planning], { actor: by, action });
    if (fired.length > 0) return executions.map((one) => one.execution_id);
  }
  throw new ProblemError('overloaded', `schedule ${scheduleId} changes too fast; try again`);
}
