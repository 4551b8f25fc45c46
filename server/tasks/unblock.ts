import { type Batcher, createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import { admitGated, type WaitingKey } from './store/concurrency.ts';
import { failDependents, unblockTasks } from './store/dependencies.ts';

/** How many tasks one statement lets go. */
const BATCH = 500;

type Parts = Pick<Deps, 'db' | 'notifier'>;

const rounds = new WeakMap<Parts['db'], Batcher<null, number>>();

/**
 * Lets go, or ends, the tasks whose dependencies have ended, and lets in those whose concurrency key has room. What ends so may have others
 * waiting in turn: they have theirs after this is answered, for a long chain is nothing to wait for. One at a time does so for each
 * coordinator, and those that ask meanwhile share the next. Answers how many were moved.
 */
export function unblock({ db, notifier }: Parts): Promise<number> {
  let round = rounds.get(db);
  if (!round) {
    round = createBatcher(async (asked) => {
      const moved = await unblockOnce({ db, notifier });
      if (moved > 0) void unblock({ db, notifier }).catch(() => {});
      return asked.map(() => moved);
    });
    rounds.set(db, round);
  }
  return round(null);
}

async function unblockOnce({ db, notifier }: Parts): Promise<number> {
  const free = await unblockTasks(db.loops, BATCH);
  notifier.tell(
    'ready',
    free.filter((id) => id !== null),
  );
  return free.length + (await admit({ db, notifier })) + (await failDependents(db.loops, BATCH));
}

/** Lets in those whose concurrency key has room, of every key. */
async function admit({ db, notifier }: Parts): Promise<number> {
  let admitted = 0;
  for (let after: WaitingKey | undefined = { owner: '', concurrency_key: '' }; after; ) {
    const { classIds, next }: Awaited<ReturnType<typeof admitGated>> = await admitGated(db.loops, BATCH, after);
    notifier.tell('ready', classIds);
    admitted += classIds.length;
    after = next;
  }
  return admitted;
}
