import { setTimeout as sleep } from 'node:timers/promises';
import { usage } from '@muster/shared/contract/fields';
import { z } from 'zod';
import type { EventSink } from '../events.ts';
import { type Handler, TaskError } from '../handler.ts';
import type { Coordinator } from '../protocol/coordinator.ts';
import { leaseIsLost } from '../protocol/verdict.ts';
import type { LiveRun } from './live-run.ts';
import { completed, failed, type Weighed } from './outcome.ts';
import { ProgressTeller } from './progress.ts';

/** A handler that ignores its signal is not waited for longer than this before its outcome is told. */
export const GRACE_MS = 5_000;
/** A run that lasts longer says that it has started; shorter ones are not worth a request. */
const SAY_STARTED_AFTER_MS = 1_000;

export interface TaskRunDeps {
  coordinator: Pick<Coordinator, 'startRun' | 'progressRun'>;
  handlerFor(taskType: string): Handler;
  emit: EventSink;
  /** Takes the outcome, unless the run was discarded. */
  report(weighed: Weighed | undefined): void;
}

/**
 * Runs one run to its end: handler, time limit, outcome. Resolves when the handler has settled, which is when the slot is
 * free again; the outcome of a timeout or a stop is told after {@link GRACE_MS} even if the handler hangs. A cancelled run
 * is only told of once its handler has settled, because CANCELLED promises that the process is gone.
 */
export async function runTask(run: LiveRun, deps: TaskRunDeps): Promise<void> {
  const teller = new ProgressTeller(deps.coordinator, run);
  const limit = setTimeout(() => run.abort('timeout'), run.assigned.timeout_seconds * 1_000);
  const saidStarted = setTimeout(() => sayStarted(run, deps), SAY_STARTED_AFTER_MS);
  const startedAt = performance.now();
  let finished = false;
  const finish = async (weighed: Weighed): Promise<void> => {
    if (finished) return;
    finished = true;
    await teller.close({ keepCheckpoint: weighed.result.outcome !== 'COMPLETED' });
    tell(run, weighed, performance.now() - startedAt, deps);
  };
  run.signal.addEventListener('abort', () => {
    deps.emit('aborted', { ...run.about, reason: run.abortReason! });
    if (run.abortReason !== 'cancelled') void graceOver(run).then(finish);
  });

  deps.emit('executing', run.about);
  const weighed = await outcomeOf(run, teller, deps);
  clearTimeout(limit);
  clearTimeout(saidStarted);
  await finish(weighed);
}

async function outcomeOf(run: LiveRun, teller: ProgressTeller, deps: TaskRunDeps): Promise<Weighed> {
  const { assigned, signal } = run;
  try {
    const value = await deps.handlerFor(assigned.task_type)({
      input_data: assigned.input_data,
      run: assigned,
      signal,
      log: (message) => deps.emit('log', { ...run.about, message }),
      progress: (progress) => teller.say(progress),
      checkpoint: (checkpoint) => teller.say({ checkpoint }),
      usage: (taken) => {
        const { data, error } = usage.safeParse(taken);
        if (error) throw new TypeError(`no usage of a run: ${z.prettifyError(error)}`);
        run.usage = data;
      },
    });
    // A handler may return after its signal: the promise of CANCELLED or TIMED_OUT was made before.
    return run.abortReason ? failed(run, new TaskError('', { result_data: value })) : completed(run, value);
  } catch (error) {
    return failed(run, error);
  }
}

async function graceOver(run: LiveRun): Promise<Weighed> {
  await sleep(GRACE_MS, undefined, { ref: false });
  return failed(run, undefined);
}

function tell(run: LiveRun, weighed: Weighed, durationMs: number, { emit, report }: TaskRunDeps): void {
  run.reported = true;
  if (run.discarded) {
    emit('discarded', run.about);
    report(undefined);
    return;
  }
  const { outcome, error } = weighed.result;
  const why = { ...(error?.code ? { code: error.code } : {}), ...(error ? { message: error.message } : {}) };
  emit('finished', { ...run.about, outcome, duration_ms: Math.round(durationMs), ...why });
  report(weighed);
}

function sayStarted(run: LiveRun, { coordinator }: TaskRunDeps): void {
  const { run_id, fence } = run.assigned;
  coordinator.startRun(run_id, fence, AbortSignal.timeout(GRACE_MS)).catch((error) => {
    if (leaseIsLost(error) && !run.reported) run.abort('lease-lost');
  });
}
