import { setTimeout as pause } from 'node:timers/promises';

export interface EventuallyOptions {
  timeoutMs?: number;
  everyMs?: number;
}

/** Tries again until `check` neither throws nor answers `false`, and answers what it answered. Fails with its last failure. */
export async function eventually<T>(
  check: () => T | Promise<T>,
  { timeoutMs = 10_000, everyMs = 25 }: EventuallyOptions = {},
): Promise<Exclude<Awaited<T>, false>> {
  const started = performance.now();
  for (;;) {
    try {
      const result = await check();
      if (result !== false) return result as Exclude<Awaited<T>, false>;
      throw new Error('it is still false');
    } catch (failure) {
      const waited = performance.now() - started;
      if (waited >= timeoutMs) throw tooLate(failure, `not within ${Math.round(waited)} ms`);
    }
    await pause(everyMs);
  }
}

/** The same error, so that a reporter still shows what was expected and what was there. */
export function tooLate(failure: unknown, limit: string): Error {
  const error = failure instanceof Error ? failure : new Error(String(failure));
  error.message = `${limit}: ${error.message}`;
  return error;
}
