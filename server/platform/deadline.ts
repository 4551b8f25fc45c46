import { ProblemError } from '@muster/shared/errors';

/** How long anything that waits for the database may take before its caller is told, in milliseconds. */
export const DEADLINE_MS = 20_000;

/** How often it is looked who waits for too long, in milliseconds. */
const LOOK_MS = 100;

interface Wait {
  /** Where it stands among those who wait; below zero when it is over. */
  at: number;
  until: number;
  deadlineMs: number;
  giveUp(problem: ProblemError): void;
}

/** Who waits. One timer looks after all: nearly every wait is over in a moment, and a timer for each took longer than that. */
const waits: Wait[] = [];
let looking: NodeJS.Timeout | undefined;

function look(): void {
  const now = performance.now();
  for (const wait of waits.filter(({ until }) => until <= now)) {
    end(wait);
    wait.giveUp(tooLate(wait.deadlineMs));
  }
  if (waits.length > 0) return;
  clearInterval(looking);
  looking = undefined;
}

/** The last takes its place: a set that grows and shrinks with every request is made anew all the time. */
function end(wait: Wait): void {
  if (wait.at < 0) return;
  const last = waits.pop()!;
  if (last !== wait) {
    waits[wait.at] = last;
    last.at = wait.at;
  }
  wait.at = -1;
}

/**
 * Waits no longer than the deadline. The driver never settles some statements whose connection died, and a network that
 * swallows packets says nothing at all: whoever waits must not wait with it. What became of the statement is not known then.
 */
export function withDeadline<T>(work: Promise<T>, deadlineMs = DEADLINE_MS): Promise<T> {
  return new Promise((resolve, reject) => {
    const wait = { at: waits.length, until: performance.now() + deadlineMs, deadlineMs, giveUp: reject };
    waits.push(wait);
    looking ??= setInterval(look, LOOK_MS);
    work.then(
      (value) => {
        end(wait);
        resolve(value);
      },
      (error) => {
        end(wait);
        reject(error);
      },
    );
  });
}

const tooLate = (deadlineMs: number) =>
  new ProblemError('storage-unavailable', `the database did not answer in ${deadlineMs / 1_000} s; try again`);
