import { setTimeout as pause } from 'node:timers/promises';
import type { Overlap } from '@muster/shared/contract/schedule-rule';
import { notFound, ProblemError } from '@muster/shared/errors';
import type { Actor } from '../audit/record.ts';
import { mismatch } from '../platform/idempotency.ts';
import type { Classes } from '../tasks/classes.ts';
import { findOnce, forgetOnce } from '../tasks/store/keys.ts';
import { planAsked } from './plan.ts';
import { listAsked } from './store/executions.ts';
import type { Asked } from './store/fire.ts';
import { findPlanned, type Planned } from './store/tick.ts';
import { carryOutPlans, classOf, type Parts } from './tick.ts';

/** Looks again when a tick or somebody else was faster, with growing pauses, in milliseconds. */
const TRIES = 50;
const PAUSE_MS = 2;
const MOST_MS = 50;

/** What somebody wants of a schedule besides what it does by itself. */
export interface Wanted {
  status: 'TRIGGERED' | 'BACKFILLED';
  /** For which times, at most a few thousand; they are looked for in what the schedule is by then. */
  times: (it: Planned) => readonly Date[];
  /** As the schedule says, unless said. */
  overlap?: Overlap | undefined;
  by: Actor | undefined;
  /** By which request, where that is to count once. */
  once?: Asked['once'];
}

/** Makes tasks of a schedule that somebody asks for, whatever its status, all of them or none. Answers the executions' ids, in order: fewer than times where they may not overlap. */
export async function runSchedule(
  parts: Parts,
  classes: Classes,
  scheduleId: string,
  { status, times, overlap, by, once }: Wanted,
): Promise<string[]> {
  const action = status === 'TRIGGERED' ? 'schedule.trigger' : 'schedule.backfill';
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const before = once && (await madeBefore(parts, once));
    if (before) return before;
    const it = await findPlanned(parts.db.admin, scheduleId);
    if (!it) throw notFound('schedule', scheduleId);
    if (it.status === 'DELETED') throw new ProblemError('conflict', `schedule ${scheduleId} is DELETED`);
    const planning = planAsked(it, status, times(it), overlap ?? it.overlap);
    const made = planning.executions.filter(({ task_id }) => task_id !== null).map(({ execution_id }) => execution_id);
    if (made.length === 0) return [];
    const plan = { ...planning, class_id: await classOf(classes, it) };
    const fired = await carryOutPlans(parts, [plan], { actor: by, action, once });
    if (fired.length > 0) return made;
    await pause(Math.random() * Math.min(PAUSE_MS * tries, MOST_MS));
  }
  throw new ProblemError('overloaded', `schedule ${scheduleId} changes too fast; try again`);
}

/** What a request did that was made before; undefined where it has done nothing. */
async function madeBefore({ db }: Parts, once: NonNullable<Asked['once']>): Promise<string[] | undefined> {
  const { owner, idempotency_key: key, request_hash } = once;
  const before = await findOnce(db.admin, owner, key);
  if (!before) return undefined;
  if (before.request_hash !== request_hash || before.task_id === null) throw mismatch(key);
  if (before.made) return listAsked(db.admin, before.task_id);
  // It was remembered in vain, when something else was faster.
  await forgetOnce(db.admin, { owner, key, task_id: before.task_id });
  return undefined;
}
