import { newId } from '@muster/shared/ids';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { beatCoordinator } from '../../ops/store.ts';
import { GAP_MS } from '../../platform/cluster.ts';
import { LEASE_TTL_MS } from './heartbeat.ts';
import { reapLeases, timeOutRuns } from './reap.ts';

describe.each([18, 15] as const)('after an outage, on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  test('the reaper takes nothing before a coordinator has beaten again and a lease time has passed', async () => {
    const coordinator = newId('coord');
    const beat = () => beatCoordinator(it.sql, coordinator, '');
    /** Unlike the kit's clock, lets the beats of coordinators stop. */
    const pass = (ms: number) => it.sql`update muster_clock set ahead = ahead + ${ms} * interval '1 ms'`;
    const reap = async () => (await reapLeases(it.sql, 10)).count + (await timeOutRuns(it.sql, 10)).count;
    await it.sql`update cluster set beat_at = (select muster_now())`;
    await it.submit({ timeout_seconds: 1 });
    const agent = await it.agent();
    const classes = [await it.classOf('echo')];
    expect((await it.claim(it.db.hot, [{ ...agent, want: 1 }], classes)).get(agent.agent_id)!.runs).toHaveLength(1);

    // Nobody was there for ten minutes: lease and timeout are long over, and the loops come back in any order.
    await pass(600_000);
    expect(await reap(), 'before the first beat').toBe(0);
    await beat();
    expect(await reap(), 'with it').toBe(0);
    for (let passed = 0; passed + 4_000 < LEASE_TTL_MS; passed += 4_000) {
      await pass(4_000);
      expect(await reap(), `${passed} ms later, the beat a little late`).toBe(0);
      await beat();
    }
    // The coordinator dies before the lease time is over: it begins anew.
    await pass(GAP_MS + 1_000);
    expect(await reap(), 'in the next gap').toBe(0);
    await beat();
    await pass(GAP_MS - 1_000);
    expect(await reap(), 'after it').toBe(0);
    for (let passed = 0; passed < LEASE_TTL_MS; passed += GAP_MS - 1_000) {
      await beat();
      await pass(GAP_MS - 1_000);
    }
    expect(await reap()).toBe(1);
    await it.sql`update cluster set beat_at = beat_at + interval '1 day', steady_since = steady_since - interval '1 day'`;
  });
});
