import { type Life, openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { look } from '../../platform/look.ts';
import { told } from '../../trust/model.ts';
import { EVERYTHING, findLedger, writeFold } from '../../trust/store/integrity.ts';
import { beatAgents } from './heartbeat.ts';
import { TO_TAKE_BACK, takeBackQuarantined } from './quarantine.ts';
import { applyResults } from './results.ts';

describe.each([18, 15] as const)('quarantine on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const catchAgent = async ({ agent_id }: Life, capability = 'echo') => {
    const { now, ...ledger } = (await findLedger(it.sql, { agent_id, capability }))!;
    const step = {
      ...ledger,
      trust: told(ledger.trust, 'quarantine', now),
      was: 0,
      stood: 'NEWCOMER' as const,
      fold_seq: 1,
    };
    const word = { agent_id, capability, kind: 'quarantine', judge: 'key_x', reason: 'so', at: now, fold_seq: 1 };
    await writeFold(it.sql, { steps: [step], words: [word], events: [] });
  };
  const claim = async (agent: Life, want: number, capability = 'echo') => {
    const standings = await it.claim(it.db.hot, [{ ...agent, want }], [await it.classOf(capability)]);
    return standings.get(agent.agent_id)!.runs;
  };
  const take = (limit = 100) => takeBackQuarantined(it.db.loops, limit);
  const isDue = async () => (await look(it.db.hot, [TO_TAKE_BACK]))[0];
  const resultOf = (agent: Life, fence: number) => ({
    ...agent,
    fence,
    status: 'COMPLETED',
    fault: null,
    retryable: false,
    result_data: null,
    error: null,
  });

  test('takes back what an agent holds of that work, and of no other, and nobody is blamed', async () => {
    const [bad, good] = [await it.agent({ slots: 9, capabilities: ['echo', 'other'] }), await it.agent()];
    await it.submit({}, {}, {}, { capability_required: 'other' });
    const mine = await claim(bad, 2);
    await claim(bad, 1, 'other');
    await claim(good, 1);
    expect([await isDue(), await take()]).toEqual([false, { count: 0, ready: [] }]);
    await catchAgent(bad);
    expect(await isDue()).toBe(true);
    const taken = await take();
    expect(taken).toEqual({ count: 2, ready: expect.arrayContaining([await it.classOf('echo')]) });
    expect(await it.sql`select capability from leases order by 1`).toMatchObject([
      { capability: 'echo' },
      { capability: 'other' },
    ]);
    expect(await it.sql`select status, fault, error ->> 'code' as code, fold_seq, final from runs`).toEqual(
      mine.map(() => ({ status: 'RETURNED', fault: 'system', code: 'quarantined', fold_seq: null, final: false })),
    );
    expect(await it.sql`select from trust`).toHaveLength(0);
    expect(await it.sql`select slots_used from agents where agent_id = ${bad.agent_id}`).toMatchObject([
      { slots_used: 1 },
    ]);
    for (const { task_id } of mine) expect(await it.status(task_id)).toBe('PENDING');
    // Its next beat says so, and what it says later moves nothing.
    const fences = mine.map((run) => run.fence);
    const beat = { ...bad, health: 'OK' as const, slots_free: 0, uptime_ms: null, metrics: null, fences };
    expect((await beatAgents(it.db.hot, [beat])).get(bad.agent_id)!.held.size).toBe(0);
    expect(
      await applyResults(
        it.db.hot,
        fences.map((fence) => resultOf(bad, fence)),
      ),
    ).toEqual([]);
    expect((await claim(good, 3)).map((run) => run.task_id).sort()).toEqual(mine.map((run) => run.task_id).sort());
  });

  test('a word about all an agent can do takes all of it; what it does under a new name, too', async () => {
    const agent = await it.agent({ slots: 9, capabilities: ['echo', 'other'] });
    await it.submit({}, { capability_required: 'other' });
    await claim(agent, 1);
    await claim(agent, 1, 'other');
    await catchAgent(agent, EVERYTHING);
    expect(await take()).toMatchObject({ count: 2 });
    expect(await isDue()).toBe(false);
  });

  test('a claim that has an agent in hand is not waited for: what it was given is taken the next time', async () => {
    const agent = await it.agent({ slots: 9 });
    await it.submit({}, {});
    await claim(agent, 1);
    await catchAgent(agent);
    await it.sql.begin(async (other) => {
      await other`select from agents for update`;
      expect(await take()).toMatchObject({ count: 0 });
    });
    await claim(agent, 1);
    expect(await Promise.all([take(), take()])).toEqual(
      expect.arrayContaining([expect.objectContaining({ count: 2 })]),
    );
    expect(await take()).toMatchObject({ count: 0 });
    expect(await it.sql`select slots_used from agents`).toMatchObject([{ slots_used: 0 }]);
  });
});
