import { newId, runIdOf } from '@muster/shared/ids';
import { type Life, lane, openRows, type Rows, unverified } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Ctx } from '../../platform/ctx.ts';
import type { Database } from '../../platform/database.ts';
import type { Notifier } from '../../platform/notify.ts';
import { sqlState } from '../../platform/storage-errors.ts';
import { cancelTask } from '../../tasks/cancel.ts';
import { createLimits } from '../../tasks/limits.ts';
import { type Requirements, UNSAID } from '../../tasks/store/classes.ts';
import { setLimits } from '../../tasks/store/concurrency.ts';
import { settleDependencies } from '../../tasks/store/dependencies.ts';
import { putLimit } from '../../tasks/store/limits.ts';
import { moveRank } from '../../tasks/store/priority.ts';
import { expireTasks, promoteTasks, retryTask } from '../../tasks/store/transitions.ts';
import { createSubmitter, type HandOff } from '../../tasks/submit.ts';
import { unblock } from '../../tasks/unblock.ts';
import { createClaimer } from '../claim.ts';
import { createBeater, createNoter } from '../heartbeat.ts';
import { createReporter, type Verdict } from '../report.ts';
import { bootAgent, leaveAgent } from './boot.ts';
import { reapLeases, timeOutRuns } from './reap.ts';

const notifier: Notifier = { tell() {}, on() {}, setPeers() {}, async start() {}, async stop() {} };
/** As many tasks are claimed by sixty-four. */
const CLAIMED = { 18: 20_000, 15: 5_000 };
const MIX_MS = 5_000;
/** How long it goes on at most, in milliseconds, until each of this has happened. */
const MOST_MS = 60_000;
const HAPPENS = [
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
  'refused',
  'unblocked',
  'expired',
  'hurried',
] as const;
/** The n-th may be had n times at once, until somebody says otherwise. */
const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];

/** The parts of a coordinator that change rows, on pools of its own. */
function coordinator(it: Rows, handOff: HandOff = (ids) => ids.map(() => undefined)) {
  const db = it.openMore({ hotConnections: 6, adminConnections: 6 });
  const deps = { db, notifier };
  const limits = createLimits(db.admin);
  const costly = new Set<number>();
  const classes = {
    idOf: ({ owner, capability, slot_cost }: { owner: string; capability: string; slot_cost?: number }) =>
      it.classOf(capability, owner, slot_cost),
    like: (wanted: Pick<Requirements, 'owner' | 'capability'>) => ({ ...UNSAID, ...wanted, class_id: 0 }),
    all: () => [],
    find: (class_id: number) => ({
      ...UNSAID,
      ...lane(class_id, costly.has(class_id) ? { slot_cost: 2 } : {}),
    }),
    costly,
    verified: new Set<number>(),
    onNew() {},
    open: () => [],
    isPaused: () => false,
    onPauses() {},
    async refresh() {},
  };
  return {
    db,
    limits,
    costly,
    submitter: createSubmitter(deps, classes, handOff),
    claim: createClaimer(deps, classes, limits, unverified),
    beat: createBeater(deps),
    note: createNoter(deps),
    reporter: createReporter(deps, unverified),
    unblock: () => unblock(deps),
    cancel: (task_id: string) =>
      cancelTask(
        { ...deps, principal: { kind: 'public' } } as unknown as Ctx,
        { params: { task_id }, body: {}, query: {} } as Parameters<typeof cancelTask>[1],
      ),
  };
}

const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)]!;
const submission = (task: Awaited<ReturnType<Rows['task']>>) => ({
  ...task,
  ...UNSAID,
  task_id: newId('task'),
});

describe.each([18, 15] as const)('two coordinators on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
    // Seen at every moment, not only at the end. (A CHECK would also look at the version an update then finds to be old.)
    await it.sql.unsafe(`
      create function never_over() returns trigger language plpgsql as $$
        begin raise exception 'agent % uses % of % slots', new.agent_id, new.slots_used, new.slots; end $$;
      create trigger never_over after update on agents for each row when (new.slots_used > new.slots) execute function never_over();
      create function never_more() returns trigger language plpgsql as $$
        begin raise exception '% of % tasks of the key % are under way', new.held, new.max, new.concurrency_key; end $$;
      create trigger never_more after update on concurrency_limits for each row when (new.held > old.held and new.held > new.max) execute function never_more()`);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  test('sixty-four claimers take thousands of tasks, each once, and fences only rise', async () => {
    const claimed = CLAIMED[major];
    const classIds = [await it.classOf('echo'), await it.classOf('other')];
    const tasks = Array.from({ length: claimed }, (_, n) => ({ capability_required: n % 3 ? 'echo' : 'other' }));
    for (let n = 0; n < tasks.length; n += 1_000) await it.submit(...tasks.slice(n, n + 1_000));
    const pools = [it.openMore({ hotConnections: 12 }), it.openMore({ hotConnections: 12 })];
    const fences: number[] = [];
    const ids: string[] = [];
    const claimer = async (agent: Life, { hot }: Database) => {
      let last = 0;
      for (let found = 1; found > 0; ) {
        const standings = await it.claim(hot, [{ ...agent, want: 20 }], classIds);
        const { runs } = standings.get(agent.agent_id)!;
        fences.push(...runs.map((run) => run.fence));
        ids.push(...runs.map((run) => run.task_id));
        // What is claimed later has a higher one.
        for (const { fence } of runs) {
          expect(fence).toBeGreaterThan(last);
          last = fence;
        }
        found = runs.length;
      }
    };
    const agents = await Promise.all(Array.from({ length: 32 }, () => it.agent({ slots: claimed })));
    // Each agent asks both coordinators at once.
    await Promise.all(agents.flatMap((agent) => pools.map((pool) => claimer(agent, pool))));
    // A claimer may find only rows that others have in hand; what those left is taken now.
    await claimer(await it.agent({ slots: claimed }), pools[0]!);
    expect(ids).toHaveLength(claimed);
    expect(new Set(ids).size).toBe(claimed);
    expect(new Set(fences).size).toBe(claimed);
    expect(await it.sql`select count(*)::int as n from leases`).toEqual([{ n: claimed }]);
    // For the audit, which joins them all.
    await it.sql`analyze`;
  }, 600_000);

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
    const { counts } = world;
    const began = performance.now();
    // On a slow machine it takes longer until each of it has happened.
    const isOver = () => {
      const ms = performance.now() - began;
      return ms > MOST_MS || (ms > (major === 18 ? MIX_MS : MIX_MS / 2) && HAPPENS.every((name) => counts[name] > 0));
    };
    const worker = async (act: () => Promise<unknown>) => {
      while (!isOver()) await act().catch((error) => world.failed(error));
    };
    const { submit, claim, report, cancel, retry, reap, beat, reboot, unblock, expire, hurry } = world;
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
      unblock,
      expire,
      hurry,
    ];
    await Promise.all(acts.map(worker));
    await world.settle();
    expect(world.errors).toEqual([]);
    expect(
      [...world.applied.values()].every((times) => times === 1),
      'a result is applied once',
    ).toBe(true);
    for (const name of HAPPENS) expect(counts[name], name).toBeGreaterThan(0);
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
    refused: 0,
    unblocked: 0,
    expired: 0,
    hurried: 0,
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
  const large = await it.classOf('echo', 'admin', 2);
  const classIds = [await it.classOf('echo'), await it.classOf('other'), large];
  // Each has a statement of its own, and so has what one of the two knows to be limited.
  const sets = [classIds.slice(0, 2), classIds.slice(0, 1), [classIds[0]!, large]];
  const limit = { scope: 'owner', name: 'admin', max_running: 40, starts_per_second: 10_000, weight: null } as const;
  await putLimit(it.sql, limit);
  await both[0]!.limits.refresh();
  for (const { costly } of both) costly.add(large);
  const task = await it.task({ max_retries: 2, retry_policy: 'fixed' });
  for (const [n, key] of KEYS.entries()) await setLimits(it.sql, 'admin', new Map([[key, n + 1]]));

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
    /** Some are due later, need others, share a key, are to be alone, or are sent twice. */
    async submit() {
      const some = Array.from({ length: 6 }, (_, n) => {
        const own = {
          ...submission(task),
          capability_required: n % 4 ? 'echo' : 'other',
          slot_cost: n === 2 ? 2 : 1,
          run_at: n === 5 ? new Date(Date.now() + 200).toISOString() : null,
          concurrency_key: n % 2 ? pick(KEYS) : null,
          unique_key: Math.random() < 0.3 ? pick(KEYS) : null,
          depends_on: n % 3 === 0 ? [...new Set(ids.length ? [pick(ids.slice(-20)), pick(ids)] : [])] : [],
          on_dependency_failure: pick(['fail', 'skip', 'run']),
          expires_at: n === 4 ? new Date(Date.now() + Math.random() * 200).toISOString() : null,
        };
        if (Math.random() > 0.3) return [pick(both).submitter.submit(own)];
        const request = { ...own, idempotency_key: `r${Math.floor(Math.random() * 5_000)}`, request_hash: '' };
        return both.map(({ submitter }) => submitter.submit({ ...request, task_id: newId('task') }));
      }).flat();
      for (const { task, refused } of await Promise.all(some)) {
        if (refused) counts.refused += 1;
        else ids.push(task.task_id);
      }
      counts.submitted += some.length;
    },
    async unblock() {
      await settleDependencies(pick(both).db.loops, { seconds: 60 });
      const moved = await Promise.all(both.map((at) => at.unblock()));
      counts.unblocked += moved[0]! + moved[1]!;
    },
    async expire() {
      await setLimits(pick(both).db.admin, 'admin', new Map([[pick(KEYS), 1 + Math.floor(Math.random() * 6)]]));
      counts.expired += await expireTasks(pick(both).db.loops, 100);
    },
    async hurry() {
      if (ids.length === 0) return void (await new Promise((resolve) => setImmediate(resolve)));
      if (await moveRank(pick(both).db.admin, pick(ids.slice(-100)), pick([1, 5, 10]))) counts.hurried += 1;
    },
    async claim() {
      const life = pick(agents);
      const standing = await pick(both).claim({ ...life, want: 3, classIds: pick(sets) });
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
      // Another open task has its unique key.
      const free = async (error: unknown) => (sqlState(error) === '23505' ? undefined : Promise.reject(error));
      // Few of them have ended otherwise than well.
      for (const id of ids.length > 0 ? Array.from({ length: 8 }, () => pick(ids)) : [])
        if (await retryTask(pick(both).db.admin, id).catch(free)) counts.retried += 1;
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
    /** Lets everything end: whatever waits gets its turn. */
    async settle() {
      for (const key of KEYS) await setLimits(it.sql, 'admin', new Map([[key, 10_000]]));
      for (let left = 1, rounds = 0; left > 0; rounds += 1) {
        expect(rounds, 'somebody waits for ever').toBeLessThan(60);
        await it.clock.advance('1h', { beats: 'missed' });
        for (const { db } of both) await reapLeases(db.admin, 1_000);
        for (let after: string | null = ''; after !== null; )
          after = (await settleDependencies(both[0]!.db.loops, { after, limit: 500 })).last;
        await Promise.all(both.map((at) => at.unblock()));
        await promoteTasks(both[0]!.db.hot, 5_000);
        const life = await it.agent({ slots: 5_000 });
        const runs = await it.claim(both[0]!.db.hot, [{ ...life, want: 5_000 }], classIds);
        await both[0]!.reporter.report(
          life,
          runs.get(life.agent_id)!.runs.map(({ fence }) => ({ run_id: runIdOf(fence), fence, outcome: 'COMPLETED' })),
        );
        await both[0]!.unblock();
        const [row] = await it.sql<[{ n: number }]>`
          select (select count(*) from blocked)::int + (select count(*) from gated)::int + (select count(*) from delayed)::int
            + (select count(*) from ready)::int as n`;
        left = row.n;
      }
      expect(await it.sql`select fence from leases`).toEqual([]);
      expect(await it.sql`select * from concurrency_limits where held <> 0`).toEqual([]);
    },
  };
  return world;
}
