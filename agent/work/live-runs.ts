import type { AssignedRun } from '@muster/shared/contract/dispatch';
import type { HeldRun } from '../beat/messages.ts';
import type { AbortReason } from '../handler.ts';
import { LiveRun } from './live-run.ts';

/** The runs of an agent and the slots they hold: a slot is free again when its handler has settled. */
export class LiveRuns {
  readonly #slots: number;
  readonly #runs = new Map<string, LiveRun>();
  #waiters: { until: () => boolean; resolve: () => void }[] = [];

  constructor(slots: number) {
    this.#slots = slots;
  }

  get size(): number {
    return this.#runs.size;
  }

  get free(): number {
    let taken = 0;
    for (const { assigned } of this.#runs.values()) taken += assigned.slot_cost ?? 1;
    return Math.max(this.#slots - taken, 0);
  }

  /** Every run whose handler has not settled. */
  get ids(): string[] {
    return [...this.#runs.keys()];
  }

  get = (runId: string): LiveRun | undefined => this.#runs.get(runId);

  add(assigned: AssignedRun): LiveRun {
    const run = new LiveRun(assigned);
    this.#runs.set(run.id, run);
    return run;
  }

  remove(run: LiveRun): void {
    this.#runs.delete(run.id);
    this.changed();
  }

  /** Aborts every run; how many. */
  abortAll(reason: AbortReason): number {
    for (const run of this.#runs.values()) run.abort(reason);
    return this.#runs.size;
  }

  /** Resolves when no handler is at work any more. */
  settled = (): Promise<void> => this.#until(() => this.#runs.size === 0);

  /** Resolves when the outcome of every run is on its way, even if a handler hangs. */
  reported = (): Promise<void> => this.#until(() => [...this.#runs.values()].every((run) => run.reported));

  /** Tells those who wait that a run moved on. */
  changed(): void {
    this.#waiters = this.#waiters.filter(({ until, resolve }) => {
      if (!until()) return true;
      resolve();
      return false;
    });
  }

  #until(until: () => boolean): Promise<void> {
    if (until()) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ until, resolve }));
  }
}

/** A run as beats name it. Runs start as soon as they are handed out. */
export const asHeld = ({ assigned: { run_id, fence } }: LiveRun): HeldRun => ({ run_id, fence, started: true });
