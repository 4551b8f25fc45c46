import { newId, runIdOf } from '@muster/shared/ids';
import { type Life, openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Ctx } from '../../platform/ctx.ts';
import type { Database } from '../../platform/database.ts';
import type { Notifier } from '../../platform/notify.ts';
import { sqlState } from '../../platform/storage-errors.ts';
import { cancelTask } from '../../tasks/cancel.ts';
import { promoteTasks, retryTask } from '../../tasks/store/transitions.ts';
import { createSubmitter, type HandOff } from '../../tasks/submit.ts';
import { createClaimer } from '../claim.ts';
import { createBeater, createNoter } from '../heartbeat.ts';
import { createReporter, type Verdict } from '../report.ts';
import { bootAgent, leaveAgent } from './boot.ts';
import { claimTasks } from './claim.ts';
import { reapLeases, timeOutRuns } from './reap.ts';

const notifier: Notifier = { tell() {}, on() {}, setPeers() {}, async start() {}, async stop() {} };
const MIX_MS = 5_000;

/** The parts of a coordinator that change rows, on pools of its own. */
function coordinator(it: Rows, handOff: HandOff = (ids) => ids.map(() => undefined)) {
  const db = it.openMore({ hotConnections: 6, adminConnections: 6 });
  const deps = { db, notifier };
  const classes = {
    idOf: (owner: string, capability: string) => it.classOf(capability, owner),
    all: () => [],
    onNew() {},
    async refresh() {},
  };
  return {
    db,
    submitter: createSubmitter(deps, classes, handOff),
    claim: createClaimer(deps),
    beat: createBeater(deps),
    note: createNoter(deps),
    reporter: createReporter(deps),
    cancel: (task_id: string) =>
      cancelTask(
        { ...deps, principal: { kind: 'public' } } as unknown as Ctx,
        { params: { task_id }, body: {}, query: {} } as Parameters<typeof cancelTask>[1],
      ),
  };
}

const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)]!;
const submission = (task: Awaited<ReturnType<Rows['task']>>) => {
  const { task_id: _, class_id: __, agent_id: ___, boot_id: ____, ...rest } = task;
  return rest;
};

describe.each([18, 15] as const)('two coordinators on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
    // Seen at every moment, not only at the end. (A CHECK would also look at the version an update then finds to be old.)
    await it.sql.unsafe(`
      create function never_over() returns trigger language plpgsql as $$
        begin raise exception 'agent % uses % of % slots', new.agent_id, new.slots_used, new.slots; end $$;
      create trigger never_over after update on agents for each row when (new.slots_used > new.slots) execute function never_over()`);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  test('sixty-four claimers take five thousand tasks, each once', async () => {
    const classIds = [await it.classOf('echo'), await it.classOf('other')];
    const tasks = Array.from({ length: 5_000 }, (_, n) => ({ capability_required: n % 3 ? 'echo' : 'other' }));
    for (let n = 0; n < tasks.length; n += 1_000) await it.submit(...tasks.slice(n, n + 1_000));
    const pools = [it.openMore({ hotConnections: 12 }), it.openMore({ hotConnections: 12 })];
    const fences: number[] = [];
    const ids: string[] = [];
    const claimer = async (agent: Life, { hot }: Database) => {
      for (let found = 1; found > 0; ) {
        const standings = await claimTasks(hot, [{ ...agent, want: 20 }], classIds);
        const { runs } = standings.get(agent.agent_id)!;
        fences.push(...runs.map((run) => run.fence));
        ids.push(...runs.map((run) => run.task_id));
        found = runs.length;
      }
    };
    const agents = await Promise.all(Array.from({ length: 32 }, () => it.agent({ slots: 200 })));
    // Each agent asks both coordinators at once.
    await Promise.all(agents.flatMap((agent) => pools.map((pool) => claimer(agent, pool))));
    // A claimer may find only rows that others have in hand; what those left is taken now.
    await claimer(await it.agent({ slots: 5_000 }), pools[0]!);
    expect(ids).toHaveLength(5_000);
    expect(new Set(ids).size).toBe(5_000);
    expect(new Set(fences).size).toBe(5_000);
    expect(await it.sql`select count(*)::int as n from leases`).toEqual([{ n: 5_000 }]);
  });

  test('a cancel that races a claim or a result has one winner', async () => {
    const [one, two] = [coordinator(it), coordinator(it)];
    const agent = await it.agent({ slots: 10_000 });
    const classIds = [await it.classOf('echo')];
    const seen = { cancelled: 0, completed: 0, claimed: 0 };
    const race = async (n: number) => {
      const [id] = await it.submit({});
      const early = n % 2 === 0 ? await one.claim({ ...agent, want: 1, classIds }) : undefined;
      const cancelling = (n % 3 ? one : two).cancel(id!).then(
        () => true,
        (problem) => {
          expect(problem.code).toBe('task-terminal');
          return false;
        },
      );
      const claimed = early ?? (await two.claim({ ...agent, want: 1, classIds }));
      // With several races at once it may be another's task: whose it is matters not, each run is told of once.
      const verdicts = await Promise.all(
        claimed!.runs.flatMap(({ fence, task_id }) =>
          [one, two].map(async ({ reporter }) => {
            const [verdict] = await reporter.report(agent, [{ run_id: runIdOf(fence), fence, outcome: 'COMPLETED' }]);
            return { task_id, verdict: verdict! };
          }),
        ),
      );
      seen.claimed += claimed!.runs.length;
      return { id: id!, cancelled: await cancelling, verdicts };
    };
    for (let n = 0; n < 300; n += 10) {
      const races = await Promise.all(Array.from({ length: 10 }, (_, k) => race(n + k)));
      const verdicts = races.flatMap((it) => it.verdicts);
      for (const { id, cancelled } of races) {
        const status = await it.status(id);
        const told = verdicts.filter(({ task_id }) => task_id === id).map(({ verdict }) => verdict);
        const applied = told.filter((verdict: Verdict) => verdict.applied);
        if (cancelled) {
          seen.cancelled += 1;
          expect([status, applied]).toEqual(['CANCELLED', []]);
        } else {
          seen.completed += 1;
          expect([status, applied]).toEqual(['COMPLETED', [{ applied: true, task_status: 'COMPLETED' }]]);
        }
      }
    }
    expect(seen.cancelled + seen.completed).toBe(300);
    expect(Math.min(seen.cancelled, seen.completed, seen.claimed)).toBeGreaterThan(10);
  });

  test('everything at once, for a while, leaves no contradiction', async () => {
    const world = await createWorld(it);
    const until = performance.now() + (major === 18 ? MIX_MS : MIX_MS / 2);
    const worker = async (act: () => Promise<unknown>) => {
      while (performance.now() < until) await act().catch((error) => world.failed(error));
    };
    const { submit, claim, report, cancel, retry, reap, beat, reboot } = world;
    const acts = [
      submit,
      submit,
      submit,
      claim,
      claim,
      claim,
      report,
      report,
      report,
      report,
      cancel,
      retry,
      reap,
      beat,
      reboot,
    ];
    await Promise.all(acts.map(worker));
    await world.settle();
    expect(world.errors).toEqual([]);
    expect(
      [...world.applied.values()].every((times) => times === 1),
      'a result is applied once',
    ).toBe(true);
    const { counts } = world;
    for (const name of [
      'submitted',
      'handed',
      'claimed',
      'applied',
      'replayed',
      'stale',
      'cancelled',
      'retried',
      'reaped',
      'rebooted',
    ] as const)
      expect(counts[name], name).toBeGreaterThan(0);
    expect(counts.deadlocks).toBe(0);
  });
});

interface Held {
  life: Life;
  fence: number;
  task_id: string;
}

/** Agents that work, lie, die and start again, and admins that cancel and retry, at two coordinators. */
async function createWorld(it: Rows) {
  const agents: Life[] = await Promise.all(Array.from({ length: 12 }, () => it.agent({ slots: 8 })));
  const held: Held[] = [];
  const ids: string[] = [];
  const applied = new Map<number, number>();
  const errors: string[] = [];
  const counts = {
    submitted: 0,
    handed: 0,
    claimed: 0,
    applied: 0,
    replayed: 0,
    stale: 0,
    cancelled: 0,
    retried: 0,
    reaped: 0,
    rebooted: 0,
    deadlocks: 0,
  };
  const handOff: HandOff = (classIds) =>
    classIds.map((id) => {
      if (id === 0 || Math.random() < 0.4) return undefined;
      const life = pick(agents);
      const accept = (fence: number, { task_id }: { task_id: string }) => {
        counts.handed += 1;
        held.push({ life, fence, task_id });
      };
      return { ...life, accept, decline() {} };
    });
  const both = [coordinator(it, handOff), coordinator(it, handOff)];
  const classIds = [await it.classOf('echo'), await it.classOf('other')];
  const task = await it.task({ max_retries: 2, retry_policy: 'fixed' });

  const tell = async (
    at: (typeof both)[number],
    { life, fence, task_id }: Held,
    outcome: 'COMPLETED' | 'FAILED' | 'RETURNED',
  ) => {
    const [verdict] = await at.reporter.report(life, [{ run_id: runIdOf(fence), fence, outcome }]);
    if (verdict!.applied) applied.set(fence, (applied.get(fence) ?? 0) + 1);
    counts[verdict!.applied ? 'applied' : verdict!.code === 'stale-lease' ? 'stale' : 'replayed'] += 1;
    if (verdict!.code === 'task-terminal')
      await at.reporter.report(life, [{ run_id: runIdOf(fence), fence, outcome: 'CANCELLED' }]);
    return task_id;
  };
  const world = {
    counts,
    applied,
    errors,
    failed(error: unknown) {
      if (sqlState(error) === '40P01') counts.deadlocks += 1;
      else errors.push(String((error as Error).stack ?? error));
    },
    async submit() {
      const some = Array.from({ length: 6 }, (_, n) =>
        pick(both).submitter.submit({
          ...submission(task),
          capability_required: n % 4 ? 'echo' : 'other',
          run_at: n === 5 ? new Date(Date.now() + 200).toISOString() : null,
        }),
      );
      for (const { task } of await Promise.all(some)) ids.push(task.task_id);
      counts.submitted += some.length;
    },
    async claim() {
      const life = pick(agents);
      const standing = await pick(both).claim({ ...life, want: 3, classIds });
      counts.claimed += standing!.runs.length;
      held.push(...standing!.runs.map(({ fence, task_id }) => ({ life, fence, task_id })));
    },
    /** Tells the end of some runs, to both coordinators at once and twice to one; some say too late. */
    async report() {
      const some = held.splice(0, Math.min(held.length, 4));
      if (some.length === 0) return void (await new Promise((resolve) => setImmediate(resolve)));
      await Promise.all(
        some.flatMap((run) => {
          const dice = Math.random();
          if (dice < 0.04) return [];
          const outcome = dice < 0.11 ? 'FAILED' : dice < 0.14 ? 'RETURNED' : 'COMPLETED';
          return [
            tell(both[0]!, run, outcome),
            ...(dice > 0.5 ? [tell(both[0]!, run, outcome), tell(both[1]!, run, outcome)] : []),
          ];
        }),
      );
    },
    async cancel() {
      if (ids.length === 0) return void (await new Promise((resolve) => setImmediate(resolve)));
      await pick(both)
        .cancel(pick(ids.slice(-40)))
        .then(
          () => (counts.cancelled += 1),
          (problem) => {
            if (problem.code !== 'task-terminal') throw problem;
          },
        );
    },
    async retry() {
      if (ids.length > 0 && (await retryTask(pick(both).db.admin, pick(ids)))) counts.retried += 1;
      await promoteTasks(pick(both).db.hot, 100);
    },
    /** One agent's lease ends early; both coordinators reap. */
    async reap() {
      const { agent_id } = pick(agents);
      await it.sql`update presence set lease_expires_at = (select muster_now()) - interval '1 s' where agent_id = ${agent_id}`;
      const reaped = await Promise.all(
        both.flatMap(({ db }) => [reapLeases(db.admin, 100), timeOutRuns(db.admin, 100)]),
      );
      counts.reaped += reaped.reduce((sum, { count }) => sum + count, 0);
    },
    async beat() {
      const at = pick(both);
      const beats = agents.map(async (life) => {
        const fences = held.filter((run) => run.life.agent_id === life.agent_id).map((run) => run.fence);
        await at.beat({ ...life, health: 'OK', slots_free: 1, uptime_ms: 1, metrics: null, fences });
        await Promise.all(fences.map((fence) => at.note({ ...life, fence, started: true, progress: '{"percent":1}' })));
      });
      await Promise.all(beats);
    },
    async reboot() {
      const n = Math.floor(Math.random() * agents.length);
      const [life, { admin }] = [agents[n]!, pick(both).db];
      const bootId = newId('boot');
      if (Math.random() < 0.3) await leaveAgent(admin, life.agent_id, life.boot_id);
      await bootAgent(admin, { agentId: life.agent_id, bootId, jkt: life.agent_id, jti: bootId, exp: 2_000_000_000 });
      agents[n] = { ...life, boot_id: bootId };
      counts.rebooted += 1;
    },
    /** Lets everything end. */
    async settle() {
      await it.clock.advance('1h', { beats: 'missed' });
      for (const { db } of both) await reapLeases(db.admin, 1_000);
      expect(await it.sql`select fence from leases`).toEqual([]);
    },
  };
  return world;
}
