import { setTimeout as pause } from 'node:timers/promises';
import { createClient } from '@muster/shared/client';
import * as protocol from '@muster/shared/contract/dispatch';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { ProblemError } from '@muster/shared/errors';
import type { History } from '@muster/testing';
import { RawAgent } from '../fixtures/raw-agent.ts';
import { type Cluster, persist } from './cluster.ts';

type Run = protocol.AssignedRun;
/** How a run ends. */
export type Ending = Pick<protocol.Result, 'outcome' | 'error'>;

const BEAT_MS = 5_000;
/** Half the life of an access token: whole, a test takes longer than that. */
const RENEW_MS = 300_000;
const WAIT_MS = 250;

/** Agents that ask any coordinator for work and tell any how it ended, until `over`; what they were told is in the history. */
export async function workAll(
  cluster: Cluster,
  history: History,
  { agents, slots, over, act }: { agents: number; slots: number; over: () => boolean; act: (run: Run) => Work },
): Promise<void> {
  const enrollment_token = await enrolled(cluster, agents);
  const register = async () => {
    const agent = new RawAgent({ url: cluster.url });
    // With the same key, so that one whose answer was lost is the same agent.
    await persist(() => agent.register({ enrollment_token, capabilities: ['work'], slots }));
    return agent;
  };
  const all = await Promise.all(Array.from({ length: agents }, register));
  // When one cannot go on all end: who is left running works for the next test.
  let failed = false;
  const until = () => failed || over();
  await Promise.all(
    all.map((agent, n) =>
      live(cluster, history, agent, { name: `agent-${n}`, slots, over: until, act }).catch((error) => {
        failed = true;
        throw error;
      }),
    ),
  );
}

/** A token for so many agents. */
async function enrolled(cluster: Cluster, agents: number): Promise<string> {
  const admin = createClient({ url: cluster.url, credential: cluster.adminKey });
  return (await persist(() => admin(createEnrollmentToken, { body: { max_uses: agents } }))).enrollment_token;
}

/** What an agent does with a run: how long it takes, in milliseconds, how it ends, how often it says so, and what else happens while it does. */
export interface Work {
  takesMs?: number;
  ending: Ending;
  times: number;
  meanwhile?: () => Promise<unknown>;
}

async function live(
  cluster: Cluster,
  history: History,
  agent: RawAgent,
  { name, slots, over, act }: { name: string; slots: number; over: () => boolean; act: (run: Run) => Work },
): Promise<void> {
  const call = cluster.client(() => agent.token);
  const params = { agent_id: agent.agentId };
  const boot_id = agent.bootId;
  const held = new Map<string, Promise<unknown>>();
  const tell = async ({ run_id, fence, task_id }: Run, { outcome, error }: Ending) => {
    const body = { fence, outcome, ...(error ? { error } : {}) };
    await persist(() =>
      history.call(name, 'result', { task_id, fence, outcome }, () =>
        call(protocol.reportResult, { params: { run_id }, body }),
      ),
    ).catch(async (problem) => {
      // It was taken from it: whether that may be is judged by the history.
      if (problem instanceof ProblemError && problem.code === 'stale-lease') return;
      // It was cancelled: the slot is given back by saying that it has stopped.
      if (problem instanceof ProblemError && problem.code === 'task-terminal')
        return persist(() =>
          call(protocol.reportResult, { params: { run_id }, body: { fence, outcome: 'CANCELLED' } }),
        );
      throw problem;
    });
  };
  const workOff = async (run: Run, { takesMs, ending, times, meanwhile }: Work) => {
    if (takesMs) await pause(takesMs);
    await Promise.all([...Array.from({ length: times }, () => tell(run, ending)), meanwhile?.()]);
  };
  // Whatever its polls wait for: who cannot be answered for a while is not dead.
  const beat = () => call(protocol.heartbeat, { params, body: { boot_id, status: 'ACTIVE', slots_free: 0, runs: [] } });
  const beating = setInterval(() => void persist(beat).catch(() => {}), BEAT_MS);
  const renewing = setInterval(() => void persist(() => agent.assert()).catch(() => {}), RENEW_MS);
  try {
    while (!over() || held.size > 0) {
      // It may hold more than its slots: a poll that came twice was answered twice, and what is still being told again is over there.
      const free = slots - held.size;
      if (free <= 0 || over()) {
        await Promise.race([...held.values(), pause(WAIT_MS)]);
        continue;
      }
      const holding = [...held.keys()];
      const body = { boot_id, slots: free, wait_ms: WAIT_MS, holding };
      const { runs } = await persist(() =>
        history.call(name, 'poll', { holding }, () => call(protocol.poll, { params, body })),
      );
      for (const run of runs) {
        if (held.has(run.run_id)) continue;
        held.set(
          run.run_id,
          workOff(run, act(run)).finally(() => held.delete(run.run_id)),
        );
      }
    }
  } finally {
    clearInterval(beating);
    clearInterval(renewing);
  }
}
