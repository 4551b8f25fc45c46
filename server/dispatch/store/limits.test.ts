import { type Life, lane, openRows, type Rows } from '@muster/testing/rows';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Database, Sql } from '../../platform/database.ts';
import { countLimits, countUnheld, deleteLimit, type Limit, putLimit } from '../../tasks/store/limits.ts';
import { Fairness } from '../fairness.ts';
import { claimTasks } from './claim.ts';
import type { Lane } from './heads.ts';
import { applyResults } from './results.ts';

/** As many runs are begun under random limits, half of them on either Postgres. */
const STARTS = Number(process.env.LIMITED ?? 2_000) / 2;
/** As many under the same limits. */
const TOTAL = 200;

const NONE = { max_running: null, starts_per_second: null, weight: null };

describe.each([18, 15] as const)('limits on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const limit = (scope: Limit['scope'], name: string, bounds: Partial<Limit>) =>
    putLimit(it.sql, { scope, name, ...NONE, ...bounds });
  const laneOf = async (capability: string, owner = 'admin', more: Partial<Lane> = {}): Promise<Lane> =>
    lane(await it.classOf(capability, owner, more.slot_cost), { capability, owner, limited: true, ...more });
  const claim = async (agent: Life, want: number, lanes: Lane[], hot: Sql = it.db.hot) =>
    (await claimTasks(hot, [{ ...agent, want }], lanes)).standings.get(agent.agent_id)!.runs;
  const end = (agent: Life, fences: number[], hot: Sql = it.db.hot) =>
    applyResults(
      hot,
      fences.map((fence) => ({
        ...agent,
        fence,
        status: 'COMPLETED',
        fault: null,
        retryable: true,
        result_data: null,
        error: null,
      })),
    );
  const tasks = (n: number, seed: { owner?: string; capability_required?: string } = {}) =>
    it.submit(...Array.from({ length: n }, () => seed));

  test('a claim takes no more than there is room for under each limit, and ended runs make room', async () => {
    await tasks(6, { owner: 'a' });
    await tasks(6, { owner: 'a', capability_required: 'other' });
    await tasks(6, { owner: 'b' });
    await limit('owner', 'a', { max_running: 3 });
    await limit('capability', 'other', { max_running: 1 });
    await limit('global', '*', { max_running: 5 });
    const lanes = [await laneOf('echo', 'a'), await laneOf('other', 'a'), await laneOf('echo', 'b')];
    const agent = await it.agent({ slots: 100 });
    const runs = await claim(agent, 100, lanes);
    expect(runs).toHaveLength(5);
    const running = () =>
      countLimits(it.sql).then((rows) => Object.fromEntries(rows.map((row) => [row.name, row.running])));
    expect(await running()).toMatchObject({ '*': 5, a: 3 });
    expect(await claim(agent, 100, lanes)).toEqual([]);
    await end(
      agent,
      runs.slice(0, 2).map((run) => run.fence),
    );
    expect(await claim(agent, 100, lanes)).toHaveLength(2);
    expect(await claim(agent, 100, lanes)).toEqual([]);
    await deleteLimit(it.sql, { scope: 'global', name: '*' });
    expect(await it.sql`select distinct scope from limit_holds`).toEqual([{ scope: 'owner' }]);
    expect((await claim(agent, 100, lanes)).length).toBeGreaterThanOrEqual(3);
    expect((await running()).a).toBe(3);
  });

  test('what runs when a limit is set is counted', async () => {
    await tasks(8);
    const agent = await it.agent({ slots: 100 });
    const before = await claim(agent, 4, [await laneOf('echo', 'admin', { limited: false })]);
    await limit('owner', 'admin', { max_running: 5 });
    expect(await countUnheld(it.sql)).toBe(4);
    const lanes = [await laneOf('echo')];
    expect(await claim(agent, 100, lanes)).toHaveLength(1);
    await end(
      agent,
      before.map((run) => run.fence),
    );
    await limit('owner', 'admin', { max_running: 2 });
    expect(await claim(agent, 100, lanes)).toHaveLength(1);
  });

  test('a limit that is set lower than what runs lets nothing begin until there is room', async () => {
    await tasks(6);
    await limit('global', '*', { max_running: 4 });
    const agent = await it.agent({ slots: 100 });
    const lanes = [await laneOf('echo')];
    const [one, two, three] = await claim(agent, 100, lanes);
    await limit('global', '*', { max_running: 2 });
    expect(await claim(agent, 100, lanes)).toEqual([]);
    await end(agent, [one!.fence, two!.fence]);
    expect(await claim(agent, 100, lanes)).toEqual([]);
    await end(agent, [three!.fence]);
    expect(await claim(agent, 100, lanes)).toHaveLength(1);
  });

  test('starts come at their rate, and are not saved up', async () => {
    await tasks(60);
    const began = await it.clock.now();
    await limit('capability', 'echo', { starts_per_second: 20 });
    const lanes = [await laneOf('echo')];
    const agent = await it.agent({ slots: 100 });
    const many = async () => (await claim(agent, 100, lanes)).length;
    let started = await many();
    expect(started).toBe(2);
    for (let n = 0; n < 10; n += 1) {
      await it.clock.advance('100ms');
      const some = await many();
      expect(some).toBeLessThanOrEqual(2);
      started += some;
      const seconds = ((await it.clock.now()).getTime() - began.getTime()) / 1_000;
      expect(started).toBeLessThanOrEqual(2 + 20 * seconds);
    }
    expect(started).toBeGreaterThanOrEqual(20);
    await it.clock.advance('60s');
    expect(await many()).toBe(2);
  });

  test('however many coordinators claim, no limit is exceeded and none is left unused', async () => {
    const pools = Array.from({ length: 4 }, () => it.openMore({ hotConnections: 4 }));
    const most = fc.integer({ min: 1, max: 10 });
    const limits = fc.record({
      global: fc.option(most),
      a: fc.option(most),
      b: most,
      echo: most,
      other: fc.option(most),
    });
    let starts = 0;
    await fc.assert(
      fc.asyncProperty(limits, fc.integer({ min: 1, max: 3 }), async (drawn, slots) => {
        for (const [name, max_running] of Object.entries(drawn)) {
          const scope = name === 'global' ? name : name.length === 1 ? 'owner' : 'capability';
          await limit(scope, name === 'global' ? '*' : name, { max_running });
        }
        for (const owner of ['a', 'b'])
          for (const capability_required of ['echo', 'other']) await tasks(TOTAL / 4, { owner, capability_required });
        const agents = await Promise.all(Array.from({ length: 6 }, () => it.agent({ slots })));
        const world = await work(agents, pools, TOTAL);
        starts += world.starts;
        expect(world.excess).toEqual([]);
        expect(world.starts).toBe(TOTAL);
        await it.finish();
      }),
      { numRuns: STARTS / TOTAL, endOnFailure: true },
    );
    expect(starts).toBe(STARTS);
  }, 1_200_000);

  /** Agents claim and end runs at random coordinators until `total` have begun. Whoever has a run knows of it after it was begun and forgets it before it ends, so more than a limit are never known. */
  async function work(agents: readonly Life[], pools: readonly Database[], total: number) {
    const lanes = await Promise.all(
      ['a', 'b'].flatMap((owner) => ['echo', 'other'].map((capability) => laneOf(capability, owner))),
    );
    const byId = new Map(lanes.map((it) => [it.class_id, it]));
    const limits = await countLimits(it.sql);
    const known = new Map<string, number>();
    const excess: string[] = [];
    const world = { starts: 0, excess };
    const count = (classId: number, n: number) => {
      const { owner, capability } = byId.get(classId)!;
      for (const { scope, name, max_running } of limits) {
        if (scope !== 'global' && name !== owner && name !== capability) continue;
        known.set(name, (known.get(name) ?? 0) + n);
        if (max_running !== null && known.get(name)! > max_running)
          excess.push(`${known.get(name)} of ${max_running} of ${name}`);
      }
    };
    const until = performance.now() + 120_000;
    await Promise.all(
      agents.map(async (agent, n) => {
        for (let turn = n; world.starts < total && performance.now() < until; turn += 1) {
          const { hot } = pools[turn % pools.length]!;
          const { standings, taken } = await claimTasks(hot, [{ ...agent, want: 4 }], lanes);
          for (const [classId, some] of taken) count(classId, some.length);
          const { runs } = standings.get(agent.agent_id)!;
          world.starts += runs.length;
          // The work, or a breath.
          await hot`select pg_sleep(0.002)`;
          for (const [classId, some] of taken) count(classId, -some);
          await end(
            agent,
            runs.map((run) => run.fence),
            pools[(turn + 1) % pools.length]!.hot,
          );
        }
      }),
    );
    return world;
  }
});

describe.each([18, 15] as const)('tasks that take several slots, on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const world = async (slots: number) => {
    const small = lane(await it.classOf('echo'));
    const large = lane(await it.classOf('echo', 'admin', 3), { slot_cost: 3 });
    const agent = await it.agent({ slots });
    const claim = async (want = slots, life = agent) => {
      const { standings, taken } = await claimTasks(it.db.hot, [{ ...life, want }], [small, large]);
      const { runs } = standings.get(life.agent_id)!;
      return {
        fences: runs.map((run) => run.fence),
        small: taken.get(small.class_id)?.length ?? 0,
        large: taken.get(large.class_id)?.length ?? 0,
      };
    };
    const end = (fences: number[]) =>
      applyResults(
        it.db.hot,
        fences.map((fence) => ({
          ...agent,
          fence,
          status: 'COMPLETED',
          fault: null,
          retryable: true,
          result_data: null,
          error: null,
        })),
      );
    return { agent, claim, end, small: { class_id: small.class_id }, large: { class_id: large.class_id } };
  };
  const used = async () => (await it.sql<{ slots_used: number }[]>`select slots_used from agents`)[0]!.slots_used;

  test('a claim hands out what fits, in order, and slots come back as they were taken', async () => {
    const { claim, end, small, large } = await world(7);
    await it.submit(large, small, large, large, small);
    const first = await claim();
    expect(first).toMatchObject({ small: 1, large: 2 });
    expect(await used()).toBe(7);
    expect(await claim()).toMatchObject({ fences: [] });
    await end(first.fences.slice(0, 1));
    expect(await used()).toBe(4);
    // Two of its three are wanted: in runs, not in slots.
    expect(await claim(2)).toMatchObject({ large: 1, small: 0 });
    expect(await used()).toBe(7);
  });

  test('what does not fit is passed over for a minute, then slots are kept for it', async () => {
    const { claim, end, small, large } = await world(4);
    await it.submit(small, small, large, small, small, small);
    const first = await claim(2);
    expect(first).toMatchObject({ small: 2, large: 0 });
    expect(await claim(1)).toMatchObject({ small: 1, large: 0 });
    await it.clock.advance('61s');
    expect(await claim()).toMatchObject({ fences: [] });
    await end(first.fences.slice(0, 1));
    expect(await claim()).toMatchObject({ fences: [] });
    await end(first.fences.slice(1));
    expect(await claim()).toMatchObject({ large: 1, small: 0 });
    expect(await used()).toBe(4);
    expect(await it.sql`select * from slot_savers`).toEqual([]);
  });

  test('one agent keeps slots for it after a minute, two after two', async () => {
    const { claim, small, large } = await world(4);
    const [second, third] = [await it.agent({ slots: 4 }), await it.agent({ slots: 4 })];
    await it.submit(...Array.from({ length: 12 }, () => ({ ...small, priority: 10 })));
    await it.submit(large);
    for (const life of [undefined, second, third]) expect(await claim(2, life)).toMatchObject({ small: 2 });
    await it.clock.advance('61s');
    expect(await claim()).toMatchObject({ fences: [] });
    expect(await claim(1, second)).toMatchObject({ small: 1 });
    await it.clock.advance('60s');
    expect(await claim(1, second)).toMatchObject({ fences: [] });
    expect(await claim(1, third)).toMatchObject({ small: 1 });
    expect(await claim()).toMatchObject({ fences: [] });
  });
});

describe('owners beside each other', () => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows();
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  /** Claims as a coordinator does, and tells whose tasks were begun, in order. */
  const claimer = async (weights: Record<string, number>, slots: number) => {
    const fairness = new Fairness((owner) => weights[owner] ?? 1);
    const owners = ['a', 'b'];
    const ids = await Promise.all(owners.map((owner) => it.classOf('echo', owner)));
    const agent = await it.agent({ slots });
    return async (want: number) => {
      const turns = owners.map((owner) => fairness.turnOf(owner));
      const lanes = owners.map((owner, n) => lane(ids[n]!, { owner, ...turns[n]! }));
      const { standings, taken } = await claimTasks(it.db.hot, [{ ...agent, want }], lanes);
      for (const [n, owner] of owners.entries())
        if (taken.has(ids[n]!)) fairness.took(owner, turns[n]!, taken.get(ids[n]!)!.length);
      const begun = standings.get(agent.agent_id)!.runs.map((run) => run.task_id);
      const rows = await it.sql<{ owner: string }[]>`
        select t.owner from tasks t join leases l using (task_id) where t.task_id = any(${begun}::text[]) order by l.fence`;
      return rows.map((row) => row.owner).join('');
    };
  };
  const many = async (n: number, owner: string) => {
    for (let left = n; left > 0; left -= 2_000)
      await it.submit(...Array.from({ length: Math.min(left, 2_000) }, () => ({ owner })));
  };

  test("five thousand tasks of one do not keep another's ten waiting", async () => {
    await many(5_000, 'a');
    await many(10, 'b');
    const claim = await claimer({}, 1_000);
    const begun = await claim(20);
    expect(begun).toBe('ab'.repeat(10));
    expect(await claim(5)).toBe('aaaaa');
    await many(10, 'b');
    // What it did not use meanwhile is not made up for.
    expect([...(await claim(10))].sort().join('')).toBe('aaaaabbbbb');
  });

  test.each([1, 3, 40])('three tasks of one weight for each of another, %i at a time', async (want) => {
    await many(300, 'a');
    await many(300, 'b');
    const claim = await claimer({ a: 3 }, 1_000);
    let begun = '';
    while (begun.length < 120) begun += await claim(want);
    const ofA = begun.slice(0, 120).replaceAll('b', '').length;
    expect(ofA).toBeGreaterThanOrEqual(89);
    expect(ofA).toBeLessThanOrEqual(91);
  });
});
