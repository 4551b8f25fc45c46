import type * as contract from '@muster/shared/contract/dispatch';
import type { InputOf } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import { fenceOf, runIdOf } from '@muster/shared/ids';
import { refuseOtherLife, refuseStale } from '../agents/current.ts';
import type { Ctx, HangUp } from '../platform/ctx.ts';
import { JsonText } from '../platform/endpoint.ts';
import type { Dispatch } from './dispatch.ts';
import type { News } from './parked.ts';
import type { Parking } from './parking.ts';
import type { Life, Verdict } from './report.ts';
import type { Standing } from './store/claim.ts';
import { type ClaimedRun, findHeldRuns, listHeldRuns } from './store/held-runs.ts';

/** How long a poll of an agent that is cordoned or draining waits at most, in milliseconds. */
const CLOSED_WAIT_MS = 2_000;
/** How long one that has runs to stop waits: an agent that does not heed is not to ask in a tight loop. */
const CANCEL_WAIT_MS = 250;

/** How often a minute an agent may ask for nothing: one that waits as it is told asks thrice. */
const EMPTY_POLLS_PER_MINUTE = 600;

/** Takes results and gives work in one round trip; with nothing to give it waits, unless it had results to confirm. */
export async function poll(
  ctx: Ctx,
  dispatch: Dispatch,
  { params, body }: InputOf<typeof contract.poll>,
): Promise<JsonText> {
  const { agent_id } = params;
  const life = { agent_id, boot_id: body.boot_id };
  refuseOtherLife(ctx, agent_id, body.boot_id);
  // One that brings results is never turned away.
  if (!body.results?.length) dispatch.emptyPolls.refuseSpent(agent_id, EMPTY_POLLS_PER_MINUTE);
  const verdicts = body.results?.length ? await dispatch.reporter.report(life, body.results) : [];
  const classIds = body.slots === 0 ? [] : await dispatch.roster.classesOf(agent_id);
  const ask = { agent_id, boot_id: body.boot_id, classIds: classIds ?? [] };
  // The next poll of an agent that was only told that its results are in goes on from where that one looked.
  const looked = verdicts.length === 0 && body.wait_ms > 0 ? dispatch.looks.take(ask, body.slots) : undefined;
  const mark = looked?.mark ?? dispatch.parking.mark();
  const standing =
    looked?.standing ??
    (await dispatch.claim({ agent_id, boot_id: body.boot_id, classIds: ask.classIds, want: body.slots }));
  if (!standing || !classIds) throw new ProblemError('token-revoked', `agent ${agent_id} does not exist any more`);
  refuseStale(standing, agent_id, body.boot_id);

  const idle = standing.runs.length + verdicts.length === 0;
  const held = await reconcile(ctx, dispatch, life, standing, body.holding, idle);
  const runs = [...standing.runs, ...held.runs];
  if (runs.length > 0 || verdicts.length > 0) {
    if (runs.length + held.cancel.length === 0) dispatch.looks.keep(ask, body.slots, { mark, standing });
    return answer({ runs, cancel: held.cancel }, body.results ?? [], verdicts, standing.lease_expires_at);
  }
  // An agent that gets no work now still hears of runs to stop; it looks again soon whether it may have some.
  const open = standing.mode === 'OPEN';
  // A class that came up while this poll looked for work was not told to it, so it asks again in the very turn it parks in.
  const wanted = body.slots === 0 ? undefined : dispatch.roster.knownClassesOf(agent_id);
  const waiting = {
    agent_id,
    boot_id: body.boot_id,
    slots: body.slots,
    slots_used: standing.slots_used,
    classIds: open ? (wanted ?? ask.classIds) : [],
    cancel: held.cancel,
    mark,
  };
  const atMost = held.cancel.length > 0 ? CANCEL_WAIT_MS : open ? body.wait_ms : CLOSED_WAIT_MS;
  return wait(dispatch, waiting, {
    ms: Math.min(body.wait_ms, atMost),
    signal: ctx.signal,
    until: standing.lease_expires_at,
  });
}

/** Waits for news. All that is not needed for the answer is let go meanwhile, as thousands wait at a time. */
function wait(
  { parking, emptyPolls }: Dispatch,
  waiting: Parameters<Parking['park']>[0],
  { ms, signal, until }: { ms: number; signal: HangUp; until: Date | null },
): Promise<JsonText> {
  const { agent_id } = waiting;
  return parking.park(waiting, ms, signal).then((news) => {
    if (news.runs.length + news.cancel.length === 0) emptyPolls.take(agent_id, EMPTY_POLLS_PER_MINUTE);
    return answer(news, [], [], until);
  });
}

/**
 * Compares what the agent names with what it is leased. What it does not name was in a reply that got lost: it is told again
 * with the same fence, or, where it has been cancelled meanwhile, ended, for nothing of it ever ran. What it does name may
 * have to be stopped. Only a poll that would wait (`idle`) pays for the look.
 */
async function reconcile(
  { db }: Ctx,
  { reporter }: Dispatch,
  life: Life,
  { slots_used, runs: claimed }: Standing,
  holding: readonly string[] | undefined,
  idle: boolean,
): Promise<News> {
  if (holding === undefined || slots_used === 0) return { runs: [], cancel: [] };
  if (!idle && slots_used <= holding.length) return { runs: [], cancel: [] };
  const found = holding.length > 0 ? await findHeldRuns(db.hot, life.agent_id, holding.map(fenceOf)) : [];
  const cancel = found.filter((run) => run.cancel).map((run) => run.fence);
  if (found.reduce((sum, run) => sum + run.slot_cost, 0) >= slots_used) return { runs: [], cancel };
  const named = new Set([...found, ...claimed].map((run) => run.fence));
  const missing = (await listHeldRuns(db.hot, life.agent_id)).filter((run) => !named.has(run.fence));
  const over = missing
    .filter((run) => run.cancel)
    .map(({ fence }) => ({ run_id: runIdOf(fence), fence, outcome: 'CANCELLED' as const }));
  await reporter.report(life, over);
  return { runs: missing.filter((run) => !run.cancel), cancel };
}

function answer(
  { runs, cancel }: News,
  results: readonly { run_id: string }[],
  verdicts: readonly Verdict[],
  leaseExpiresAt: Date | null,
): JsonText {
  const confirmed = verdicts.map((verdict, n) => verdictText(results[n]!.run_id, verdict));
  const stop = cancel.length ? `,"cancel":${JSON.stringify([...new Set(cancel)].map(runIdOf))}` : '';
  return new JsonText(
    `{"runs":[${runs.map(runText).join()}],"results":[${confirmed.join()}],"lease_expires_at":${JSON.stringify(leaseExpiresAt ?? new Date(0))}${stop}}`,
  );
}

/** Ids and codes need no escapes: what they are made of was looked at when they came. */
const verdictText = (runId: string, { applied, code }: Verdict): string =>
  `{"run_id":"${runId}","applied":${applied}${code ? `,"code":"${code}"` : ''}}`;

/** A run as JSON, written by hand, as a poll brings hundreds. Its input is text from the submitter, through Postgres, to the agent: never parsed on the way. */
function runText(run: ClaimedRun): string {
  const { fence, task_id, attempt, timeout_seconds, slot_cost, traceparent, checkpoint, input_data } = run;
  const rare = `${slot_cost > 1 ? `,"slot_cost":${slot_cost}` : ''}${traceparent ? `,"traceparent":${JSON.stringify(traceparent)}` : ''}`;
  const names = `"task_type":${JSON.stringify(run.task_type)},"capability_required":${JSON.stringify(run.capability_required)}`;
  return `{"run_id":"${runIdOf(fence)}","fence":${fence},"task_id":"${task_id}",${names},"attempt":${attempt},"timeout_seconds":${timeout_seconds}${rare},"input_data":${input_data}${checkpoint ? `,"checkpoint":${checkpoint}` : ''}}`;
}
