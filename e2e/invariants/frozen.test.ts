import { setTimeout as pause } from 'node:timers/promises';
import { verifyAuditLogs } from '@muster/shared/contract/audit';
import { createSchedule, pauseSchedule } from '@muster/shared/contract/schedules';
import { createTask } from '@muster/shared/contract/tasks';
import { eventually, History, testClock } from '@muster/testing';
import { assertFindings, checkClaims, checkResults } from '@muster/testing/checkers';
import { checkReruns } from '@muster/testing/checkers/order';
import { expect, onTestFinished, test } from 'vitest';
import { inParallel } from '../fixtures/network.ts';
import { RawAgent } from '../fixtures/raw-agent.ts';
import { persist, startCluster, TIMEOUT_MS } from './cluster.ts';
import { enrolled, workAll } from './workers.ts';

/** So often each coordinator stands still, and so long the other has for what both would do. */
const ROUNDS = 2;
const FROZEN_MS = 700;
const AGENTS = 4;
const work = { task_type: 'work', input_data: null };

test(
  `I20: coordinators that stand still for a minute, ${ROUNDS} times each, and go on in the midst of what they did, do nothing twice`,
  async () => {
    const cluster = await startCluster(2);
    onTestFinished(() => cluster.stop());
    const { sql } = cluster;
    const clock = testClock(sql, cluster.databaseUrl);
    const admin = cluster.client(cluster.adminKey);
    const every = { interval_seconds: 1, overlap: 'ALLOW_ALL', catch_up_seconds: 3_600 } as const;
    const schedules = await inParallel([1, 2, 3], 3, () => admin(createSchedule, { body: { ...work, ...every } }));
    // Agents that are lost while one coordinator stands still: who takes their runs back, and how often?
    const lost = await silentAgents(cluster, 4 * ROUNDS);
    const history = new History();
    let over = false;
    const round = async (n: number) => {
      const frozen = cluster.coordinators[n % 2]!;
      const ids = lost.slice(2 * n, 2 * n + 2);
      frozen.freeze();
      await sql`update presence set lease_expires_at = (select muster_now()) where agent_id = any(${ids})`;
      await clock.advance('60s');
      await pause(FROZEN_MS);
      frozen.resume();
      await pause(FROZEN_MS / 2);
    };
    const act = () => ({ ending: { outcome: 'COMPLETED' as const }, times: 2 });
    const turns = async () => {
      // Registrations are good for seconds of any clock.
      await eventually(() => new Set(history.entries.map(({ process }) => process)).size === AGENTS, {
        timeoutMs: 60_000,
      });
      for (let n = 0; n < 2 * ROUNDS; n += 1) await round(n);
      for (const { schedule_id } of schedules)
        await persist(() => admin(pauseSchedule, { params: { schedule_id }, body: {} }));
      await eventually(
        async () => expect(await sql`select task_id from ready union all select task_id from leases`).toEqual([]),
        {
          timeoutMs: 30_000,
        },
      );
    };
    await Promise.all([
      turns().finally(() => {
        over = true;
      }),
      workAll(cluster, history, { agents: AGENTS, slots: 40, over: () => over, act }),
    ]);

    const seconds = await sql<{ fired: number; times: number; tasks: number; span: number }[]>`
    select count(*)::int as fired, count(distinct scheduled_at)::int as times, count(distinct task_id)::int as tasks,
      1 + extract(epoch from max(scheduled_at) - min(scheduled_at))::int as span
    from executions where status = 'FIRED' group by schedule_id`;
    expect(seconds).toHaveLength(schedules.length);
    for (const { fired, ...counted } of seconds) {
      expect(fired).toBeGreaterThan(2 * ROUNDS * 60);
      expect(counted).toEqual({ times: fired, tasks: fired, span: fired });
    }
    expect(await sql`select agent_id from runs where status = 'LOST' and agent_id = any(${lost}) order by 1`).toEqual(
      lost.toSorted().map((agent_id) => ({ agent_id })),
    );
    const { entries } = history;
    assertFindings([checkClaims(entries), checkReruns(entries), checkResults(entries)], { minimum: 2 * ROUNDS * 60 });
    await cluster.audit();
    expect(await admin(verifyAuditLogs, { query: {} })).toMatchObject({ valid: true, problems: [] });
  },
  TIMEOUT_MS,
);

/** Agents that have a run each, and are never heard of again. Nobody else can do what they did. */
async function silentAgents(cluster: Awaited<ReturnType<typeof startCluster>>, count: number): Promise<string[]> {
  const admin = cluster.client(cluster.adminKey);
  const enrollment_token = await enrolled(cluster, count);
  return inParallel(Array.from({ length: count }), 4, async (_, n) => {
    const capability = `only-${n}`;
    const agent = await RawAgent.register({ url: cluster.url }, { enrollment_token, capabilities: [capability] });
    await admin(createTask, { body: { ...work, task_type: capability, max_retries: 0 } });
    await agent.take();
    return agent.agentId;
  });
}
