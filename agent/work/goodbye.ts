import { setTimeout as sleep } from 'node:timers/promises';
import type { EventSink } from '../events.ts';
import type { Coordinator } from '../protocol/coordinator.ts';
import type { Pace } from '../protocol/pace.ts';
import { messageOf, verdictOf } from '../protocol/verdict.ts';

const LEAVE_TIMEOUT_MS = 3_000;

/** How long it is said that a life is over. */
export interface Farewell {
  /** How long after the first time it may be said again, in milliseconds. */
  atMostMs: number;
  pace: Pace;
  /** Whether anything depends on its being heard: else it is said once. */
  matters(): boolean;
  /** Aborted when there is no time left. */
  hurry: AbortSignal;
  emit: EventSink;
}

/** Tells the coordinator that a life is over, again where that may not have been heard; whether it was. */
export async function sayGoodbye(
  coordinator: Pick<Coordinator, 'leave'>,
  boot_id: string,
  { atMostMs, pace, matters, hurry, emit }: Farewell,
): Promise<boolean> {
  const until = performance.now() + atMostMs;
  for (let tries = 1; ; tries += 1) {
    try {
      await coordinator.leave({ boot_id }, AbortSignal.timeout(LEAVE_TIMEOUT_MS));
      return true;
    } catch (error) {
      const verdict = verdictOf(error);
      // What is over at the second time became so by the first, whose answer was lost.
      if (tries > 1 && verdict === 'superseded') return true;
      const pauseMs = pace.failed();
      const isLast = verdict !== 'retry' || hurry.aborted || performance.now() + pauseMs > until;
      if (isLast || !matters()) {
        emit('warning', { message: `leaving was not heard: ${messageOf(error)}` });
        return false;
      }
      await Promise.race([sleep(pauseMs), aborted(hurry)]);
    }
  }
}

/** Resolves when a signal is aborted. */
export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
