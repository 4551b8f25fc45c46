import type { Result } from '@muster/shared/contract/dispatch';
import type { Outcome } from '@muster/shared/lifecycle';
import type { AbortReason, TaskError } from '../handler.ts';
import type { LiveRun } from './live-run.ts';

/** The largest `result_data`, as JSON: the coordinator takes bodies of a mebibyte, and there is more to a body. */
export const RESULT_LIMIT_BYTES = 900 * 1024;
const MESSAGE_MAX = 10_000;

const OUTCOME_OF_ABORT: Record<AbortReason, Outcome> = {
  cancelled: 'CANCELLED',
  timeout: 'TIMED_OUT',
  stopped: 'RETURNED',
  'lease-lost': 'RETURNED',
};

/** A result and what it weighs on the wire. */
export interface Weighed {
  result: Result;
  bytes: number;
}

/** The result of a run whose handler returned. */
export const completed = (run: LiveRun, value: unknown): Weighed => weigh(run, 'COMPLETED', value, undefined);

/** The result of a run whose handler threw, or was stopped. */
export function failed(run: LiveRun, error: unknown): Weighed {
  const thrown = errorOf(error);
  const reason = run.abortReason;
  if (!reason) return weigh(run, 'FAILED', thrown.result_data, describe(thrown));
  return weigh(run, OUTCOME_OF_ABORT[reason], thrown.result_data, whyAborted(run, reason));
}

function weigh(run: LiveRun, outcome: Outcome, value: unknown, error: Result['error']): Weighed {
  const { run_id, fence } = run.assigned;
  const { usage } = run;
  const base = { run_id, fence, outcome, ...(error ? { error } : {}), ...(usage ? { usage } : {}) };
  try {
    const text = JSON.stringify(value);
    const bytes = text === undefined ? 0 : Buffer.byteLength(text);
    if (bytes > RESULT_LIMIT_BYTES) return refused(run, tooLarge(bytes));
    return {
      result: { ...base, ...(text === undefined ? {} : { result_data: value as never }) },
      bytes: bytesOf(base) + bytes + ROOM_BYTES,
    };
  } catch (cause) {
    return refused(run, {
      message: storable(`the result is no JSON: ${errorOf(cause).message}`),
      code: 'result-invalid',
      fault: 'agent',
      retryable: false,
    });
  }
}

/** A run whose result cannot travel has failed. */
export function refused(run: Pick<LiveRun, 'assigned'>, error: NonNullable<Result['error']>): Weighed {
  const { run_id, fence } = run.assigned;
  return weighed({ run_id, fence, outcome: 'FAILED', error });
}

/** A result that is small for certain, weighed. */
export const weighed = (result: Result): Weighed => ({ result, bytes: bytesOf(result) + ROOM_BYTES });

/** The name of a member, a comma. */
const ROOM_BYTES = 32;
const bytesOf = (result: Result): number => Buffer.byteLength(JSON.stringify(result));

/** A message as the coordinator takes it: not too long, and text that Postgres can store. */
export const storable = (message: string, max = MESSAGE_MAX): string =>
  message.slice(0, max).replaceAll('\u0000', '\ufffd').toWellFormed();

const tooLarge = (bytes: number) =>
  ({
    message: `the result is ${bytes} bytes of JSON; the limit is ${RESULT_LIMIT_BYTES}`,
    code: 'result-too-large',
    fault: 'task',
    retryable: false,
  }) as const;

function whyAborted(run: LiveRun, reason: AbortReason): Result['error'] {
  if (reason === 'timeout') {
    return { message: `the run took longer than ${run.assigned.timeout_seconds} s`, code: 'timeout', fault: 'task' };
  }
  return { message: `the run was aborted: ${reason}`, code: reason };
}

const errorOf = (error: unknown): Error & Partial<TaskError> =>
  error instanceof Error ? error : new Error(typeof error === 'string' ? error : `thrown: ${String(error)}`);

/** Any thrown error may carry TaskError's members: a handler need not share this very class. */
function describe(error: Error & Partial<TaskError>): NonNullable<Result['error']> {
  return {
    message: storable(error.message || error.name),
    fault: error.fault === 'task' ? 'task' : 'agent',
    ...(typeof error.code === 'string' ? { code: storable(error.code, 128) } : {}),
    ...(typeof error.retryable === 'boolean' ? { retryable: error.retryable } : {}),
  };
}
