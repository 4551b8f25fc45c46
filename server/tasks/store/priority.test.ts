import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { moveRank } from './priority.ts';
import { cancelTask, promoteTasks } from './transitions.ts';

const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)]!;

describe.each([18, 15] as const)('priorities that change, on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  // Audits the rows too: what waits, waits in one place with the rank of its task.
  afterEach(() => it.finish());
  afterAll(() => it.close());

  test('a claim and a change at the same moment have one winner, and the task is in one place', async () => {
    const agents = await Promise.all(Array.from({ length: 4 }, () => it.agent({ slots: 1_000 })));
    const classIds = [await it.classOf('echo')];
    const ids = await it.submit(...Array.from({ length: 300 }, () => ({})));
    const pools = [it.openMore({ adminConnections: 8 }), it.openMore({ adminConnections: 8 })];
    const claimed = new Set<string>();
    let stop = false;
    let [moved, refused] = [0, 0];
    const movers = Array.from({ length: 12 }, async (_, n) => {
      while (!stop) {
        if (await moveRank(pools[n % 2]!.admin, pick(ids), 1 + Math.floor(Math.random() * 10))) moved += 1;
        else refused += 1;
      }
    });
    const claimers = agents.map(async (agent, n) => {
      while (claimed.size < 300) {
        const standings = await it.claim(pools[n % 2]!.hot, [{ ...agent, want: 3 }], classIds);
        for (const { task_id } of standings.get(agent.agent_id)!.runs) {
          expect(claimed.has(task_id)).toBe(false);
          claimed.add(task_id);
        }
      }
    });
    await Promise.all(claimers);
    stop = true;
    await Promise.all(movers);
    expect(claimed.size).toBe(300);
    expect(moved).toBeGreaterThan(20);
    expect(refused).toBeGreaterThan(20);
    expect(await it.sql`select count(*)::int as n from ready`).toEqual([{ n: 0 }]);
  });

  test('changes race each other, cancels and promotions, and every row agrees with its task', async () => {
    const run_at = new Date((await it.clock.now()).getTime() + 60_000).toISOString();
    const ids = await it.submit(...Array.from({ length: 120 }, (_, n) => (n % 2 ? {} : { run_at })));
    await it.clock.advance('61s');
    const sql = it.openMore({ adminConnections: 10 }).admin;
    const moving = ids.flatMap((id) => [1, 9].map((priority) => moveRank(sql, id, priority)));
    const cancelling = ids.filter((_, n) => n % 3 === 0).map((id) => cancelTask(sql, id, null));
    const promoting = Array.from({ length: 20 }, () => promoteTasks(it.db.hot, 5));
    await Promise.all([...moving, ...cancelling, ...promoting]);
    const found = await it.sql<{ ok: boolean }[]>`
      select q.rank = t.rank and t.rank = t.run_at - t.priority * interval '5 minutes' as ok
      from (select task_id, rank from ready union all select task_id, rank from delayed) q join tasks t using (task_id)`;
    expect(found.length).toBeGreaterThan(60);
    expect(found.every(({ ok }) => ok)).toBe(true);
  });
});
