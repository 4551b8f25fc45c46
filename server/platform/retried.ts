import { isRetryable } from './storage-errors.ts';

/** How often a statement is sent before its caller is told that others were in the way. */
const TRIES = 3;

/** Sends a statement again that lost a deadlock: it did nothing, and the one it lost to is through by then. */
export async function retried<T>(statement: () => PromiseLike<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await statement();
    } catch (error) {
      if (tries === TRIES || !isRetryable(error)) throw error;
    }
  }
}
