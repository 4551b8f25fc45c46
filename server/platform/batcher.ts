import { withDeadline } from './deadline.ts';
import { retried } from './retried.ts';
import { isDataError } from './storage-errors.ts';

/** Does one kind of work for many callers at once. */
export interface Batcher<I, O> {
  (item: I): Promise<O>;
  /** Callers not yet answered. */
  readonly waiting: number;
}

interface Waiter<I, O> {
  item: I;
  resolve(value: O): void;
  reject(error: unknown): void;
}

/**
 * A batcher: a few statements in flight per kind, and the next takes everything that arrived meanwhile ("group commit").
 * There is no timer, so an idle system waits for nothing and a busy one makes large batches; where nobody minds to wait,
 * `restMs` after each makes them larger. `run` answers in the order of its items. A batch that fails on a value is replayed
 * item by item, so that one caller's row never fails another's; one that lost a deadlock did nothing and is sent again.
 */
export function createBatcher<I, O>(
  run: (items: I[]) => Promise<O[]>,
  {
    maxItems = 1_000,
    inFlight = 1,
    restMs = 0,
    weight = () => 1,
  }: { maxItems?: number; inFlight?: number; restMs?: number; weight?: (item: I) => number } = {},
): Batcher<I, O> {
  const queue: Waiter<I, O>[] = [];
  let running = 0;
  let scheduled = false;
  let answering = 0;

  const schedule = () => {
    if (scheduled || running >= inFlight || queue.length === 0) return;
    scheduled = true;
    // setImmediate lets every request that is already readable join the batch.
    setImmediate(() => {
      scheduled = false;
      void flush();
    });
  };

  const takeBatch = () => {
    let size = 0;
    let count = 0;
    while (count < queue.length && (count === 0 || size + weight(queue[count]!.item) <= maxItems)) {
      size += weight(queue[count]!.item);
      count += 1;
    }
    return queue.splice(0, count);
  };

  const flush = async () => {
    const batch = takeBatch();
    if (batch.length === 0) return;
    running += 1;
    answering += batch.length;
    schedule();
    await answer(run, batch);
    answering -= batch.length;
    if (restMs > 0) setTimeout(goOn, restMs);
    else goOn();
  };

  const goOn = () => {
    running -= 1;
    schedule();
  };

  const add = (item: I) =>
    new Promise<O>((resolve, reject) => {
      queue.push({ item, resolve, reject });
      schedule();
    });
  return Object.defineProperty(add, 'waiting', { get: () => queue.length + answering }) as unknown as Batcher<I, O>;
}

async function answer<I, O>(run: (items: I[]) => Promise<O[]>, batch: Waiter<I, O>[]): Promise<void> {
  try {
    const results = await withDeadline(retried(() => run(batch.map((waiter) => waiter.item))));
    for (const [n, waiter] of batch.entries()) waiter.resolve(results[n] as O);
  } catch (error) {
    if (batch.length > 1 && isDataError(error)) {
      for (const waiter of batch) await answer(run, [waiter]);
      return;
    }
    for (const waiter of batch) waiter.reject(error);
  }
}
