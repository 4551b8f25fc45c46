import { ProblemError } from '@muster/shared/errors';

/** How long anything that waits for the database may take before its caller is told, in milliseconds. */
export const DEADLINE_MS = 20_000;

/** How often it is looked who waits for too long, in milliseconds. */
const LOOK_MS = 100;

interface Wait {
  until: number;
  deadlineMs: number;
  giveUp(problem: ProblemError): void;
}

/** Who waits. One timer looks after all: nearly every wait is over in a moment, and a timer for each took longer than that. */
const waits = new Set<Wait>();
let looking: NodeJS.Timeout | undefined;

function look(): void {
  const now = performance.now();
  for (const wait of waits) {
    if (wait.until > now) continue;
    waits.delete(wait);
    wait.giveUp(tooLate(wait.deadlineMs));
  }
  if (waits.size > 0) return;
  clearInterval(looking);
  looking = undefined;
}

/**
 * Waits no longer than the deadline. The driver never settles some statements whose connection died, and a network that
 * swallows packets says nothing at all: whoever waits must not wait with it. What became of the statement is not known then.
 */
export function withDeadline<T>(work: Promise<T>, deadlineMs = DEADLINE_MS): Promise<T> {
  return new Promise((resolve, reject) => {
    const wait = { until: performance.now() + deadlineMs, deadlineMs, giveUp: reject };
    waits.add(wait);
    looking ??= setInterval(look, LOOK_MS);
    work.then(
      (value) => {
        waits.delete(wait);
        resolve(value);
      },
      (error) => {
        waits.delete(wait);
        reject(error);
      },
    );
  });
}

const tooLate = (deadlineMs: number) =>
  new ProblemError('storage-unavailable', `the database did not answer in ${deadlineMs / 1_000} s; try again`);
