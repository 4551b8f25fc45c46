import { withDeadline } from './deadline.ts';
import type { Log } from './log.ts';

/** Work that is done again and again. `tick` answers how many rows it changed. */
export interface LoopSpec {
  name: string;
  intervalMs: number;
  /**
   * An SQL condition, which may read `clock.now`, without which there is nothing to do: all that have one are looked at together, and a loop
   * whose condition does not hold ticks every ten seconds only.
   */
  due?: string;
  tick(): Promise<number>;
}

export interface Loop {
  name: string;
  /** It ticks for the first time within an interval: all loops at once would take every connection, at the cost of the first requests. */
  start(): void;
  /** There is something to do: it ticks now, unless it does or just did. */
  wake(): void;
  /** Waits for the tick in flight. */
  stop(): Promise<void>;
  /** One tick now, after the one in flight. */
  tick(): Promise<number>;
}

/** A tick that takes longer is given up, in milliseconds: the next one must come. */
const TICK_DEADLINE_MS = 60_000;
/** How often a loop ticks that nobody woke, whatever its condition said, in milliseconds. */
const ANYWAY_MS = 10_000;
/** How long a stop waits for the tick in flight, in milliseconds. */
const STOP_MS = 5_000;

/** Loops of several coordinators that began together do not go on together. */
const JITTER = { least: 0.9, most: 1.1 };
const jittered = (ms: number) => ms * (JITTER.least + Math.random() * (JITTER.most - JITTER.least));

/** Runs a loop: ticks do not overlap, unless one was given up; a failing one is logged and the next comes all the same. */
export function createLoop(spec: LoopSpec, log: Log): Loop {
  let timer: NodeJS.Timeout | undefined;
  let current: Promise<number> = Promise.resolve(0);
  let stopped = true;
  let failing = false;
  let running = false;
  let endedAt = Number.NEGATIVE_INFINITY;

  const tick = () => {
    const next = () => withDeadline(spec.tick(), TICK_DEADLINE_MS);
    current = current.then(next, next);
    return current;
  };
  const run = async () => {
    running = true;
    try {
      await tick();
      if (failing) log.info({ loop: spec.name }, 'loop works again');
      failing = false;
    } catch (error) {
      // A database that is away fails every tick: say so once.
      if (!failing) log.error({ loop: spec.name, err: error }, 'loop failed');
      failing = true;
    }
    running = false;
    endedAt = performance.now();
    if (!stopped) timer = setTimeout(run, jittered(spec.due ? ANYWAY_MS : spec.intervalMs));
  };
  return {
    name: spec.name,
    tick,
    start() {
      if (!stopped) return;
      stopped = false;
      timer = setTimeout(run, spec.due ? jittered(ANYWAY_MS) : spec.intervalMs * Math.random());
    },
    wake() {
      if (stopped || running || performance.now() - endedAt < spec.intervalMs * JITTER.least) return;
      clearTimeout(timer);
      void run();
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      // A tick that waits for a dead database is not waited for.
      await withDeadline(current, STOP_MS).catch(() => {});
    },
  };
}
