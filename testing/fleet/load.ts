import { z } from 'zod';
import type { Random } from './random.ts';
import { rest } from './session.ts';

/** A stretch of time in which so many tasks a second come, evenly or growing from one rate to another. */
export const phase = z.union([
  z.strictObject({ seconds: z.number().min(0).max(86_400), tasks_per_second: z.number().min(0).max(100_000) }),
  z.strictObject({
    seconds: z.number().min(0).max(86_400),
    from: z.number().min(0).max(100_000),
    to: z.number().min(0).max(100_000),
  }),
]);
export type Phase = z.output<typeof phase>;

/** How many tasks are due after so many seconds of the phases: the integral of the rate. */
export function dueAfter(phases: readonly Phase[], seconds: number): number {
  let due = 0;
  let left = seconds;
  for (const it of phases) {
    const [from, to] = 'from' in it ? [it.from, it.to] : [it.tasks_per_second, it.tasks_per_second];
    const part = Math.min(left, it.seconds);
    due += from * part + (it.seconds === 0 ? 0 : (((to - from) / it.seconds) * part ** 2) / 2);
    left -= part;
    if (left <= 0) break;
  }
  return Math.floor(due + 1e-9);
}

export const secondsOf = (phases: readonly Phase[]): number => phases.reduce((sum, it) => sum + it.seconds, 0);

/** How often it is looked whether there is something to submit. */
export const BEAT_MS = 10;

/**
 * Calls `submit` when tasks are due, whether or not those before were answered (an open load: a slow system does not slow it down).
 * Resolves when all were answered.
 */
export async function offer(
  phases: readonly Phase[],
  submit: (n: number) => Promise<unknown>,
  { random, thinkTimeMs, signal }: { random: Random; thinkTimeMs: number; signal: AbortSignal },
): Promise<void> {
  const began = performance.now();
  const whole = secondsOf(phases);
  const open = new Set<Promise<unknown>>();
  let failure: unknown;
  for (let n = 0; !signal.aborted && failure === undefined; ) {
    const seconds = Math.min((performance.now() - began) / 1_000, whole);
    for (const due = dueAfter(phases, seconds); n < due; ) {
      const mine = n++;
      // Who submits thinks first: what is due together does not come together.
      const one = rest(thinkTimeMs * random(), signal)
        .then(() => submit(mine))
        .catch((error) => {
          failure ??= error;
        })
        .finally(() => open.delete(one));
      open.add(one);
    }
    if (seconds === whole) break;
    await rest(BEAT_MS, signal);
  }
  await Promise.all(open);
  if (failure !== undefined) throw failure;
}
