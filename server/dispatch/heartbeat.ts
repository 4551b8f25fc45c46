import type * as contract from '@muster/shared/contract/dispatch';
import type { InputOf } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import { fenceOf, runIdOf } from '@muster/shared/ids';
import { refuseOtherLife, refuseStale } from '../agents/current.ts';
import { findAgentState } from '../agents/store/read.ts';
import { createBatcher } from '../platform/batcher.ts';
import type { Ctx, Deps } from '../platform/ctx.ts';
import {
  type Beat,
  type BeatAnswer,
  beatAgents,
  HEARTBEAT_INTERVAL_MS,
  noteRuns,
  type RunNote,
} from './store/heartbeat.ts';

export type Beater = (beat: Beat) => Promise<BeatAnswer | undefined>;

/** Between two statements of beats, in milliseconds: a beat is good for thirty seconds, and those of ten thousand agents are a hundred at once. */
const REST_MS = 10;

/** Beats that arrive together are one statement; an agent that beat twice meanwhile has beaten once. */
export const createBeater = ({ db }: Pick<Deps, 'db'>): Beater =>
  createBatcher(
    async (beats: Beat[]) => {
      const latest = new Map(beats.map((beat) => [beat.agent_id, beat]));
      const answers = await beatAgents(db.hot, [...latest.values()]);
      return beats.map((beat) =>
        latest.get(beat.agent_id)?.boot_id === beat.boot_id ? answers.get(beat.agent_id) : undefined,
      );
    },
    { restMs: REST_MS },
  );

export type Noter = (note: RunNote) => Promise<{ cancel: boolean } | undefined>;

/** Starts and progress that arrive together are one statement; of several notes on a run the later ones win. */
export const createNoter = ({ db }: Pick<Deps, 'db'>): Noter =>
  createBatcher(async (notes: RunNote[]) => {
    const merged = new Map<string, RunNote>();
    for (const note of notes) {
      const key = `${note.agent_id} ${note.boot_id} ${note.fence}`;
      const older = merged.get(key);
      merged.set(key, {
        agent_id: note.agent_id,
        boot_id: note.boot_id,
        fence: note.fence,
        started: note.started || older?.started === true,
        progress: note.progress ?? older?.progress ?? null,
      });
    }
    const found = await noteRuns(
      db.hot,
      [...merged.values()].sort((a, b) => a.fence - b.fence),
    );
    return notes.map((note) => {
      const it = found.get(note.fence);
      return it?.agent_id === note.agent_id && it.boot_id === note.boot_id ? it : undefined;
    });
  });

export async function heartbeat(
  ctx: Ctx,
  { beat, note }: { beat: Beater; note: Noter },
  { params, body }: InputOf<typeof contract.heartbeat>,
) {
  const { agent_id } = params;
  refuseOtherLife(ctx, agent_id, body.boot_id);
  const answer = await beat({
    agent_id,
    boot_id: body.boot_id,
    health: body.status === 'DEGRADED' ? 'DEGRADED' : 'OK',
    slots_free: body.slots_free,
    uptime_ms: body.uptime_ms ?? null,
    metrics: body.metrics ? JSON.stringify(body.metrics) : null,
    fences: body.runs.map((run) => run.fence),
  });
  if (!answer) throw await refusal(ctx, agent_id, body.boot_id);
  const named = body.runs.filter((run) => fenceOf(run.run_id) === run.fence);
  const news = named.filter(({ fence, started, progress }) => {
    const held = answer.held.get(fence);
    return held && (progress || (started && !held.started));
  });
  await Promise.all(
    news.map(({ fence, started, progress }) =>
      note({
        agent_id,
        boot_id: body.boot_id,
        fence,
        started: started ?? false,
        progress: progress ? JSON.stringify(progress) : null,
      }),
    ),
  );
  return {
    acknowledged: true as const,
    server_time: answer.server_time,
    heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
    lease_expires_at: answer.lease_expires_at,
    lost: body.runs
      .filter((run) => fenceOf(run.run_id) !== run.fence || !answer.held.has(run.fence))
      .map((run) => run.run_id),
    cancel: named.filter((run) => answer.held.get(run.fence)?.cancel).map((run) => runIdOf(run.fence)),
    drain: answer.mode === 'DRAINING',
  };
}

async function refusal({ db }: Deps, agentId: string, bootId: string): Promise<ProblemError> {
  const state = await findAgentState(db.hot, agentId);
  if (!state) return new ProblemError('token-revoked', `agent ${agentId} does not exist any more`);
  try {
    refuseStale({ mode: state.mode, current: state.boot_id === bootId && !state.left }, agentId, bootId);
  } catch (problem) {
    return problem as ProblemError;
  }
  return new ProblemError('overloaded', `agent ${agentId} changed while it beat; beat again`);
}
