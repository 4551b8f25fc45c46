import { newId } from '@muster/shared/ids';
import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import type { Classes } from '../tasks/classes.ts';
import { nextRun } from './cron.ts';
import * as store from './store/tick.ts';

const BATCH = 500;

/** Fires what is due. Every coordinator does; the compare-and-swap in the store lets one of them. */
export const tickLoop = ({ db, notifier, log }: Pick<Deps, 'db' | 'notifier' | 'log'>, classes: Classes): LoopSpec => ({
  name: 'schedules.tick',
  intervalMs: 250,
  async tick() {
    let count = 0;
    for (let full = true; full; ) {
      const due = await store.listDue(db.loops, BATCH);
      if (due.length === 0) break;
      const fired = await store.fireSchedules(db.loops, await Promise.all(due.map((it) => firingOf(it, classes))));
      notifier.tell(
        'ready',
        fired.map((it) => it.class_id),
      );
      if (fired.length > 0) log.debug({ fired: fired.length }, 'schedules fired');
      count += fired.length;
      // A schedule may be due more than once. What another coordinator holds is its to fire.
      full = fired.length > 0;
    }
    return count;
  },
});

/** Due times that passed while nobody was there still fire, one by one, if it was not longer ago than this, in milliseconds. */
const CATCH_UP_MS = 60_000;

/** From where the next time is looked for: what is overdue by more than the catch-up is not made up for. */
const followingFrom = ({ next_run_at, now }: store.DueSchedule) =>
  new Date(Math.max(next_run_at.getTime(), now.getTime() - CATCH_UP_MS));

async function firingOf(due: store.DueSchedule, classes: Classes): Promise<store.Firing> {
  return {
    schedule_id: due.schedule_id,
    version: due.version,
    scheduled_at: due.next_run_at,
    following: nextRun(due.cron_expression, due.timezone, followingFrom(due)),
    class_id: await classes.idOf({ owner: due.owner, capability: due.capability_required }),
    execution_id: newId('exec'),
    task_id: newId('task'),
  };
}

/** Brings home how scheduled tasks ended. */
export const outcomeLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'schedules.outcomes',
  intervalMs: 1_000,
  async tick() {
    let seen = 0;
    for (let read = 1; read > 0; seen += read) read = await store.applyOutcomes(db.loops);
    return seen;
  },
});
