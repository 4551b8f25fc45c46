import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { promoteTasks } from '../../tasks/store/transitions.ts';
import { applyResults } from './results.ts';

describe.each([18, 15] as const)('a task nobody keeps, on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const claim = async (agent: Awaited<ReturnType<Rows['agent']>>) =>
    (await it.claim(it.db.hot, [{ ...agent, want: 1 }], [await it.classOf('echo')])).get(agent.agent_id)!.runs[0];
  const giveBack = (agent: Awaited<ReturnType<Rows['agent']>>, fence: number) =>
    applyResults(it.db.hot, [
      { ...agent, fence, status: 'RETURNED', fault: null, retryable: true, result_data: null, error: null },
    ]);

  test('given back again and again, it waits from the tenth attempt on, and is never given up', async () => {
    const agent = await it.agent();
    const [id] = await it.submit({ max_retries: 0, retry_policy: 'fixed' });
    for (let attempt = 1; attempt <= 12; attempt += 1) {
      const run = (await claim(agent))!;
      expect(run).toMatchObject({ task_id: id, attempt });
      await giveBack(agent, run.fence);
      if (attempt < 10) continue;
      expect(await claim(agent), `after attempt ${attempt}`).toBeUndefined();
      expect(await it.sql`select run_at > muster_now() as later, failures from delayed`).toEqual([
        { later: true, failures: 0 },
      ]);
      await it.clock.advance('1m');
      expect(await promoteTasks(it.db.hot, 10)).toHaveLength(1);
    }
    expect(await it.status(id!)).toBe('PENDING');
    expect(await it.sql`select 1 from trust`).toHaveLength(0);
  });
});
