import type { AssignedRun } from '@muster/shared/contract/dispatch';
import type { Usage } from '@muster/shared/contract/fields';

/** Why a run is stopped before its handler is done. */
export type AbortReason = 'cancelled' | 'timeout' | 'lease-lost' | 'stopped';

/** What a run's `signal.reason` is. */
export class RunAborted extends Error {
  readonly reason: AbortReason;

  constructor(reason: AbortReason) {
    super(`the run was aborted: ${reason}`);
    this.name = 'AbortError';
    this.reason = reason;
  }
}

export interface TaskErrorOptions {
  code?: string;
  /** Whose fault it was: what the task asked for, or the agent that could not do it (the default). */
  fault?: 'agent' | 'task';
  /** `false`: another attempt would fail the same way. */
  retryable?: boolean;
  /** What there is to show all the same, reported as the run's `result_data`. */
  result_data?: unknown;
  cause?: unknown;
}

/** A failure a handler describes: whose fault it was and whether another attempt makes sense. */
export class TaskError extends Error {
  readonly code: string | undefined;
  readonly fault: 'agent' | 'task';
  readonly retryable: boolean | undefined;
  readonly result_data: unknown;

  constructor(message: string, options: TaskErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.name = 'TaskError';
    this.code = options.code;
    this.fault = options.fault ?? 'agent';
    this.retryable = options.retryable;
    this.result_data = options.result_data;
  }
}

export interface Progress {
  /** 0..100 */
  percent?: number;
  message?: string;
}

/** What a handler is given. */
export interface RunContext<Input = unknown> {
  input_data: Input;
  /** Aborted, with a {@link RunAborted} as its reason, when the run must stop. */
  signal: AbortSignal;
  /** The run as it was handed out; `run.checkpoint` is what an earlier attempt kept. */
  run: AssignedRun;
  /** Says something to the agent's log. */
  log(message: string): void;
  /** Says how far the run is; sent at most once a second, the latest word wins. */
  progress(progress: Progress): void;
  /** Keeps a value for the next attempt, should this one not end well. */
  checkpoint(value: unknown): void;
  /** Says what the run took, for its record; the latest word wins. Only what was measured of this run and no other. */
  usage(usage: Usage): void;
}

/**
 * Runs tasks of one type; what it returns is the result, what it throws fails the run.
 * Typed as a method because those may narrow `Input`: `({ input_data }: RunContext<{ text: string }>) => …`.
 */
export type Handler = { run(context: RunContext): unknown }['run'];
