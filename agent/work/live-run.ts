import type { AssignedRun } from '@muster/shared/contract/dispatch';
import type { Usage } from '@muster/shared/contract/fields';
import { type AbortReason, RunAborted } from '../handler.ts';

/** A run from its hand-out until its handler has settled. It holds a slot all that time, whatever was reported of it. */
export class LiveRun {
  readonly assigned: AssignedRun;
  readonly #controller = new AbortController();
  #discarded = false;
  /** Its outcome is on its way, or thrown away: what the coordinator says of the run from now on changes nothing. */
  reported = false;
  /** What it took, where its handler said so. */
  usage: Usage | undefined;

  constructor(assigned: AssignedRun) {
    this.assigned = assigned;
  }

  get id(): string {
    return this.assigned.run_id;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Why it was aborted, the first reason first. */
  get abortReason(): AbortReason | undefined {
    return (this.signal.reason as RunAborted | undefined)?.reason;
  }

  /** Its lease is gone: whatever comes of it is thrown away, even if it was aborted for another reason before. */
  get discarded(): boolean {
    return this.#discarded;
  }

  /** Aborts the run; whether it was this call that did it. */
  abort(reason: AbortReason): boolean {
    if (reason === 'lease-lost') this.#discarded = true;
    if (this.signal.aborted) return false;
    this.#controller.abort(new RunAborted(reason));
    return true;
  }

  /** How an event names it. */
  get about() {
    const { run_id, task_id, task_type } = this.assigned;
    return { run_id, task_id, task_type };
  }
}
