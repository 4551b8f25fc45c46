import { eventually } from '@muster/testing/eventually';
import { type Life, openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { insertTasks } from '../../tasks/store/submit.ts';
import { leaveAgent, revokeAgent } from './boot.ts';

describe.each([18, 15] as const)('what waited for the row of an agent that goes, on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const goes = {
    leaves: (sql: Rows['sql'], { agent_id, boot_id }: Life) => leaveAgent(sql, agent_id, boot_id),
    'is revoked': (sql: Rows['sql'], { agent_id }: Life) => revokeAgent(sql, agent_id),
  };

  /** Does `work` while the agent goes: its row is changed and that is not committed yet. */
  const whileGoing = async <T>(how: keyof typeof goes, agent: Life, work: () => Promise<T>): Promise<T> => {
    const { admin } = it.openMore({ adminConnections: 1 });
    await admin`begin`;
    await goes[how](admin, agent);
    const working = work();
    await eventually(
      async () =>
        (await it.sql`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
          .length > 0,
    );
    await admin`commit`;
    return working;
  };

  describe.each(Object.keys(goes) as (keyof typeof goes)[])('an agent that %s', (how) => {
    test('is given nothing by a claim, and cannot be given anything', async () => {
      const agent = await it.agent();
      const [id] = await it.submit({});
      const classes = [await it.classOf('echo')];
      const standings = await whileGoing(how, agent, () => it.claim(it.db.hot, [{ ...agent, want: 1 }], classes));
      expect(standings.get(agent.agent_id)).toMatchObject({ runs: [], able: false });
      expect(await it.status(id!)).toBe('PENDING');
      expect(await it.sql`select 1 from leases`).toHaveLength(0);
    });

    test('is given nothing by a hand-off: the task is queued', async () => {
      const agent = await it.agent();
      const task = await it.task(agent);
      const { fences } = await whileGoing(how, agent, () => insertTasks(it.db.hot, [task]));
      expect(fences.size).toBe(0);
      expect(await it.status(task.task_id)).toBe('PENDING');
      expect(await it.sql`select 1 from leases`).toHaveLength(0);
      // Somebody else does it.
      const other = await it.agent();
      const standings = await it.claim(it.db.hot, [{ ...other, want: 1 }], [await it.classOf('echo')]);
      expect(standings.get(other.agent_id)!.runs).toMatchObject([{ task_id: task.task_id }]);
    });
  });
});
