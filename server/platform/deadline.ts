import { ProblemError } from '@muster/shared/errors';

/** How long anything that waits for the database may take before its caller is told, in milliseconds. */
export const DEADLINE_MS = 20_000;

/**
 * Waits no longer than the deadline. The driver never settles some statements whose connection died, and a network that
 * swallows packets says nothing at all: whoever waits must not wait with it. What became of the statement is not known then.
 */
export async function withDeadline<T>(work: Promise<T>, deadlineMs = DEADLINE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new ProblemError('storage-unavailable', `the database did not answer in ${deadlineMs / 1_000} s; try again`),
        ),
      deadlineMs,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
