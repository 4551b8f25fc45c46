import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/** What is timed, in milliseconds: from a task's submit to its first claim, to its end; and how long requests took to be answered. */
export const TIMED = ['start', 'end', 'submit', 'beat', 'result'] as const;
export type Timed = (typeof TIMED)[number];

export interface Percentiles {
  count: number;
  p50: number;
  p90: number;
  p99: number;
  'p99.9': number;
  max: number;
}

/** Counts and times of a fleet, while it lives and after. */
export class Tally {
  readonly counts = {
    /** Alive now. */
    agents: 0,
    polls: 0,
    claimed: 0,
    completed: 0,
    /** Of those completed, how many with a wrong answer. */
    wrong: 0,
    failed: 0,
    /** Runs stopped because their tasks were cancelled. */
    cancels: 0,
    /** Results that were heard before. */
    replays: 0,
    /** Results of runs that were no longer the agent's. */
    stale: 0,
    /** Results of tasks that were cancelled meanwhile. */
    terminal: 0,
    vanished: 0,
    returned: 0,
    /** Requests that were not answered, or with a 5xx or 429, and were made again. */
    retries: 0,
  };
  readonly #times = new Map<Timed, RecordableHistogram>(TIMED.map((name) => [name, createHistogram({ figures: 3 })]));

  time(name: Timed, ms: number): void {
    // The histogram takes whole numbers from 1: microseconds.
    this.#times.get(name)!.record(Math.max(1, Math.round(ms * 1_000)));
  }

  /** What became of a result. */
  verdict(outcome: 'COMPLETED' | 'FAILED' | 'CANCELLED', applied: boolean, wrong: boolean): void {
    const { counts } = this;
    if (!applied) counts.replays += 1;
    else if (outcome === 'FAILED') counts.failed += 1;
    else if (outcome === 'CANCELLED') counts.cancels += 1;
    else {
      counts.completed += 1;
      if (wrong) counts.wrong += 1;
    }
  }

  percentiles(name: Timed): Percentiles {
    const times = this.#times.get(name)!;
    if (times.count === 0) return { count: 0, p50: 0, p90: 0, p99: 0, 'p99.9': 0, max: 0 };
    const at = (percentile: number) => times.percentile(percentile) / 1_000;
    return { count: times.count, p50: at(50), p90: at(90), p99: at(99), 'p99.9': at(99.9), max: times.max / 1_000 };
  }
}
