import { backoffMs } from '@muster/shared/backoff';

const BASE_MS = 250;
/** Shorter than the five seconds after which a result is to be there when an outage is over. */
const CAP_MS = 4_000;

/** How long to leave the coordinator alone after failures: its own `Retry-After`, or longer and longer with jitter. */
export class Pace {
  #failures = 0;
  #notBefore = 0;

  /** Forgets the failures there were. */
  startOver(): void {
    this.#failures = 0;
  }

  /** Notes one more failure; how many milliseconds to wait now. */
  failed(): number {
    this.#failures += 1;
    const delay = backoffMs('exponential', this.#failures, Math.random(), { baseMs: BASE_MS, capMs: CAP_MS });
    return Math.round(Math.max(delay, this.heldOffMs));
  }

  /** How much is left of the pause the coordinator asked for. */
  get heldOffMs(): number {
    return Math.max(0, this.#notBefore - performance.now());
  }

  /** The coordinator asked for this pause; a spread keeps those it asked from returning together. */
  retryAfter(ms: number): void {
    this.#notBefore = performance.now() + ms * (1 + Math.random() * 0.2);
  }
}
