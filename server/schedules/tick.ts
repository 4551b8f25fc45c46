import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { isDataError, storageProblem } from '../platform/storage-errors.ts';
import type { Classes } from '../tasks/classes.ts';
import { settleDependencies } from '../tasks/store/dependencies.ts';
import { cancelTasks, listStopped } from '../tasks/store/transitions.ts';
import { unblock } from '../tasks/unblock.ts';
import { planDue } from './plan.ts';
import { type Asked, carryOut, type Fired, MAKES_WAY, type Plan } from './store/fire.ts';
import { moveSchedule } from './store/schedules.ts';
import { listDue, type Planned, TO_FIRE } from './store/tick.ts';

export type Parts = Pick<Deps, 'db' | 'notifier' | 'log'>;

/** How many schedules one statement fires, and how many tasks it makes. */
const BATCH = { schedules: 500, tasks: 5_000 };
/** A tick that has more to do leaves it to the next one after so long, in milliseconds. */
const TICK_MS = 20_000;

/** Fires what is due. Every coordinator does; the compare-and-swap in the store lets one of them. Answers how many tasks it made. */
export const tickLoop = (parts: Parts, classes: Classes): LoopSpec => ({
  name: 'schedules.tick',
  intervalMs: 250,
  due: TO_FIRE,
  async tick() {
    const until = performance.now() + TICK_MS;
    let made = 0;
    for (let moved = 1; moved > 0 && performance.now() < until; ) {
      const due = await listDue(parts.db.loops, BATCH.schedules);
      if (due.length === 0) break;
      const fired = await fireDue(parts, classes, due);
      // A schedule may be due more than once. What another coordinator holds is its to fire.
      moved = fired.length;
      made += fired.filter((it) => it.task_id !== null).length;
    }
    if (made > 0) parts.log.debug({ made }, 'schedules fired');
    return made;
  },
});

async function fireDue(parts: Parts, classes: Classes, due: readonly Planned[]): Promise<Fired[]> {
  const limit = Math.max(1, Math.floor(BATCH.tasks / due.length));
  const plans: Plan[] = [];
  for (const it of due) {
    if (it.next_run_at === null) continue;
    try {
      const planning = planDue({ ...it, next_run_at: it.next_run_at }, limit);
      plans.push({ ...planning, class_id: await classOf(classes, it) });
    } catch (error) {
      // The database's fault is none of the schedule's.
      if (storageProblem(error)) throw error;
      // Its zone is not known here, or the like. It must not stand in the way of the others.
      await giveUp(parts, it.schedule_id, error);
    }
  }
  return carryOutAll(parts, plans);
}

/** The class of a schedule's tasks. */
export const classOf = (classes: Classes, { capability_required: capability, ...it }: Planned): Promise<number> =>
  classes.idOf({ capability, ...it, verified: it.verification !== 'none' });

/** Carries out what was planned of schedules; where one of them is refused by the database, that one pauses and the others go on. */
async function carryOutAll(parts: Parts, plans: readonly Plan[]): Promise<Fired[]> {
  try {
    return await carryOutPlans(parts, plans);
  } catch (error) {
    if (!isDataError(error)) throw error;
    if (plans.length === 1) return giveUp(parts, plans[0]!.schedule_id, error);
    const fired: Fired[] = [];
    for (const plan of plans) fired.push(...(await carryOutAll(parts, [plan])));
    return fired;
  }
}

async function giveUp({ db, log }: Parts, scheduleId: string, error: unknown): Promise<[]> {
  log.error({ schedule_id: scheduleId, err: error }, 'a schedule could not fire, and is paused');
  await moveSchedule(db.loops, {
    scheduleId,
    event: 'pause',
    note: `it could not fire: ${(error as Error).message}`.slice(0, 1_000),
  });
  return [];
}

/** Carries out plans, and lets those of the tasks go that wait for nothing. */
export async function carryOutPlans({ db, notifier }: Parts, plans: readonly Plan[], by?: Asked): Promise<Fired[]> {
  const fired = plans.length > 0 ? await carryOut(db.loops, plans, by) : [];
  const made = fired.filter((it) => it.task_id !== null);
  notifier.tell(
    'ready',
    made.filter((it) => it.waits === null).map((it) => it.class_id),
  );
  const did = new Set(fired.map((it) => it.schedule_id));
  await stop(
    { db, notifier },
    plans.flatMap((it) => (did.has(it.schedule_id) ? it.cancel : [])),
  );
  // What a task waits for may have ended meanwhile.
  const bound = made.filter((it) => it.waits === 'task').map((it) => it.task_id!);
  if (bound.length > 0) await settleDependencies(db.loops, { taskIds: bound });
  if (made.some((it) => it.waits !== null)) await unblock({ db, notifier });
  return fired;
}

/** Tells agents of runs that are to stop. A task that moved in the moment it was cancelled is looked for again. */
async function stop({ db, notifier }: Pick<Parts, 'db' | 'notifier'>, taskIds: readonly string[]): Promise<void> {
  if (taskIds.length === 0) return;
  await cancelTasks(db.loops, taskIds, MAKES_WAY);
  for (const run of await listStopped(db.loops, taskIds)) notifier.tell('cancelled', run);
}
