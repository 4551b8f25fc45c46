import { isTerminal, states, TASK, type TaskStatus } from '@muster/shared/lifecycle';
import { type Life, openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { noteRuns } from '../../dispatch/store/heartbeat.ts';
import { applyResults } from '../../dispatch/store/results.ts';
import { failDependents } from './dependencies.ts';
import { cancelTask, expireTasks, promoteTasks, retryTask } from './transitions.ts';

describe.each([18, 15] as const)('what happens to tasks on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  /** Takes the only ready task. */
  const claim = async () => {
    const agent = await it.agent();
    const standings = await it.claim(it.db.hot, [{ ...agent, want: 1 }], [await it.classOf('echo')]);
    return { ...agent, fence: standings.get(agent.agent_id)!.runs[0]!.fence };
  };
  const end = async (run: Life & { fence: number }, status: string) => {
    const blank = { fault: status === 'COMPLETED' ? null : 'agent', retryable: true, result_data: null, error: null };
    const [applied] = await applyResults(it.db.hot, [{ ...run, status, ...blank }]);
    return applied;
  };
  /** A task in each state there is. */
  const taskIn: Record<TaskStatus, () => Promise<string>> = {
    BLOCKED: async () => {
      // Of another class, so that nobody takes it.
      const [other] = await it.submit({ capability_required: 'other' });
      return (await it.submit({ depends_on: [other!], on_dependency_failure: 'fail' }))[0]!;
    },
    PENDING: async () => (await it.submit({}))[0]!,
    ASSIGNED: async () => {
      const [id] = await it.submit({});
      await claim();
      return id!;
    },
    RUNNING: async () => {
      const [id] = await it.submit({});
      await noteRuns(it.db.hot, [{ ...(await claim()), started: true, progress: null }]);
      return id!;
    },
    VERIFYING: async () => {
      const [id] = await it.submit({
        verification: JSON.stringify({ policy: 'always', comparator: { kind: 'exact' } }),
      });
      await end(await claim(), 'COMPLETED');
      return id!;
    },
    COMPLETED: () => ended('COMPLETED'),
    FAILED: () => ended('FAILED'),
    TIMED_OUT: () => ended('TIMED_OUT'),
    CANCELLED: async () => {
      const [id] = await it.submit({});
      await cancelTask(it.sql, id!, null);
      return id!;
    },
    EXPIRED: async () => {
      const [id] = await it.submit({ expires_at: '2000-01-01T00:00:00Z' });
      await expireTasks(it.sql, 10);
      return id!;
    },
    SKIPPED: async () => {
      const [other] = await it.submit({ capability_required: 'other' });
      const [id] = await it.submit({ depends_on: [other!], on_dependency_failure: 'skip' });
      await cancelTask(it.sql, other!, null);
      await failDependents(it.sql, 10);
      return id!;
    },
  };
  const ended = async (status: TaskStatus) => {
    const [id] = await it.submit({ max_retries: 0 });
    await end(await claim(), status);
    return id!;
  };

  test.each(states(TASK))('a task made %s is', async (status) => {
    expect(await it.status(await taskIn[status]())).toBe(status);
  });

  describe('cancel', () => {
    test.each(states(TASK))('of a task that is %s', async (status) => {
      const id = await taskIn[status]();
      const cancelled = await cancelTask(it.sql, id, 'because');
      if (isTerminal(status)) {
        expect(cancelled).toBeUndefined();
        expect(await it.status(id)).toBe(status);
        return;
      }
      expect(cancelled).toHaveLength(['PENDING', 'BLOCKED', 'VERIFYING'].includes(status) ? 0 : 1);
      expect(await it.status(id)).toBe('CANCELLED');
      expect((await it.eventsOf(id)).at(-1)).toBe('task.cancelled');
      expect(await it.sql`select closed_reason from tasks where task_id = ${id}`).toEqual([
        { closed_reason: 'because' },
      ]);
      expect(await cancelTask(it.sql, id, 'again')).toBeUndefined();
      expect(
        await it.sql`select task_id from ready where task_id = ${id} union all select task_id from delayed`,
      ).toEqual([]);
    });

    test('of a delayed task, and of one that nobody knows', async () => {
      const [id] = await it.submit({ run_at: '2999-01-01T00:00:00Z' });
      expect(await cancelTask(it.sql, id!, null)).toEqual([]);
      expect(await it.status(id!)).toBe('CANCELLED');
      expect(await cancelTask(it.sql, 'task_none', null)).toBeUndefined();
    });

    test('keeps the slot of a running task until its agent has stopped it, and says which run that is', async () => {
      const [id] = await it.submit({});
      const run = await claim();
      expect(await cancelTask(it.sql, id!, null)).toEqual([{ agent_id: run.agent_id, fence: run.fence }]);
      expect(
        await it.sql`select slots_used, cancel_requested_at is not null as asked from agents join leases using (agent_id)`,
      ).toEqual([{ slots_used: 1, asked: true }]);
      expect(await retryTask(it.sql, id!)).toBeUndefined();
      expect(await end(run, 'CANCELLED')).toMatchObject({ next: 'none', run_status: 'CANCELLED' });
      expect(await it.sql`select slots_used from agents`).toEqual([{ slots_used: 0 }]);
      expect(await retryTask(it.sql, id!)).toMatchObject({ task_id: id });
    });

    test('wins over a success that comes after it', async () => {
      const [id] = await it.submit({});
      const run = await claim();
      await cancelTask(it.sql, id!, null);
      expect(await end(run, 'COMPLETED')).toMatchObject({ next: 'none', run_status: 'CANCELLED' });
      expect(await it.status(id!)).toBe('CANCELLED');
      expect(await it.sql`select * from trust`).toEqual([]);
    });
  });

  describe('retry', () => {
    test.each(states(TASK))('of a task that is %s', async (status) => {
      const id = await taskIn[status]();
      const retried = await retryTask(it.sql, id);
      if (!('retry' in TASK[status])) {
        expect(retried).toBeUndefined();
        expect(await it.status(id)).toBe(status);
        return;
      }
      expect(retried).toEqual({ task_id: id, class_id: await it.classOf('echo') });
      expect(await it.status(id)).toBe('PENDING');
      expect((await it.eventsOf(id)).filter((kind) => kind === 'task.retried')).toHaveLength(1);
      expect(await it.sql`select attempt, failures from ready`).toEqual([{ attempt: 0, failures: 0 }]);
      expect(await retryTask(it.sql, id)).toBeUndefined();
      await end(await claim(), 'COMPLETED');
      expect(await it.status(id)).toBe('COMPLETED');
      expect(await it.sql`select attempt from runs order by fence desc limit 1`).toEqual([{ attempt: 1 }]);
    });

    test('twenty at once queue it once', async () => {
      const id = await taskIn.FAILED();
      const done = await Promise.all(Array.from({ length: 20 }, () => retryTask(it.sql, id)));
      expect(done.filter(Boolean)).toHaveLength(1);
    });
  });

  describe('expire', () => {
    test('ends what nobody started in time, ready or delayed, and nothing else', async () => {
      const soon = new Date((await it.clock.now()).getTime() + 5_000).toISOString();
      const late = new Date(Date.parse(soon) + 60_000).toISOString();
      const [held] = await it.submit({ expires_at: soon });
      await claim();
      const [ready, delayed, other, forever] = await it.submit(
        { expires_at: soon },
        { expires_at: soon, run_at: late },
        { expires_at: late },
        {},
      );
      const statuses = () => Promise.all([ready, delayed, other, forever, held].map((id) => it.status(id!)));
      expect(await expireTasks(it.sql, 10)).toBe(0);
      await it.clock.advance('6s');
      // The one that is handed out but not begun is looked at again.
      expect(await expireTasks(it.sql, 10)).toBe(2);
      expect(await statuses()).toEqual(['EXPIRED', 'EXPIRED', 'PENDING', 'PENDING', 'ASSIGNED']);
      expect(await it.eventsOf(ready!)).toEqual(['task.created', 'task.expired']);
      await it.clock.advance('60s');
      expect(await expireTasks(it.sql, 10)).toBe(1);
      expect(await statuses()).toEqual(['EXPIRED', 'EXPIRED', 'EXPIRED', 'PENDING', 'ASSIGNED']);
    });

    test('leaves a task alone that was tried and waits for its next try', async () => {
      const soon = new Date((await it.clock.now()).getTime() + 5_000).toISOString();
      const [id] = await it.submit({ expires_at: soon });
      expect(await end(await claim(), 'FAILED')).toMatchObject({ next: 'delayed' });
      await it.clock.advance('6s');
      expect(await expireTasks(it.sql, 10)).toBe(1);
      expect(await it.status(id!)).toBe('PENDING');
    });

    test('two coordinators end each task once', async () => {
      const ids = await it.submit(...Array.from({ length: 60 }, () => ({ expires_at: '2000-01-01T00:00:00Z' })));
      const other = it.openMore();
      const counts = await Promise.all(
        [0, 1, 2, 3].flatMap(() => [expireTasks(it.sql, 20), expireTasks(other.admin, 20)]),
      );
      expect(counts.reduce((a, b) => a + b)).toBe(60);
      const [events] =
        await it.sql`select sum(cardinality(subject_ids))::int as n from events where kind = 'task.expired'`;
      expect([events!.n, ids.length]).toEqual([60, 60]);
    });
  });

  describe('promote', () => {
    test('makes ready what is due, the longest due first, and says of which classes', async () => {
      const now = (await it.clock.now()).getTime();
      const at = (ms: number) => new Date(now + ms).toISOString();
      await it.submit(
        { run_at: at(3_000) },
        { run_at: at(1_000), capability_required: 'other' },
        { run_at: at(60_000) },
      );
      expect(await promoteTasks(it.db.hot, 10)).toEqual([]);
      await it.clock.advance('4s');
      expect(await promoteTasks(it.db.hot, 1)).toEqual([await it.classOf('other')]);
      expect(await promoteTasks(it.db.hot, 10)).toEqual([await it.classOf('echo')]);
      expect(await promoteTasks(it.db.hot, 10)).toEqual([]);
      expect(await it.sql`select count(*)::int as n from ready`).toEqual([{ n: 2 }]);
    });

    test('keeps what a task has behind it', async () => {
      const [id] = await it.submit({ retry_policy: 'fixed' });
      await end(await claim(), 'FAILED');
      await it.clock.advance('2s');
      await promoteTasks(it.db.hot, 10);
      expect(await it.sql`select attempt, failures from ready where task_id = ${id!}`).toEqual([
        { attempt: 1, failures: 1 },
      ]);
    });

    test('eight at once move each task once', async () => {
      const soon = new Date((await it.clock.now()).getTime() + 1_000).toISOString();
      await it.submit(...Array.from({ length: 400 }, () => ({ run_at: soon })));
      await it.clock.advance('2s');
      const moved = await Promise.all(Array.from({ length: 8 }, () => promoteTasks(it.db.hot, 100)));
      const rest = await promoteTasks(it.db.hot, 1_000);
      expect(moved.flat().length + rest.length).toBe(400);
    });
  });

  test('a status that changes without its event fails, and so does one with two', async () => {
    const [id] = await it.submit({});
    const close = it.sql`update tasks set closed_status = 'CANCELLED', closed_at = (select muster_now()) where task_id = ${id!}`;
    await expect(close).rejects.toThrow(/changed its status with 0 events, not one/);
    const { agent_id } = await it.agent();
    await expect(it.sql`update agents set mode = 'CORDONED' where agent_id = ${agent_id}`).rejects.toThrow(/0 events/);
    const twice = it.sql`
      with told as (insert into events (tx, at, kind, subject_ids) select pg_current_xact_id(), muster_now(), 'x', array[${agent_id}] from generate_series(1, 2))
      update agents set mode = 'CORDONED' where agent_id = ${agent_id}`;
    await expect(twice).rejects.toThrow(/2 events/);
    expect(await it.status(id!)).toBe('PENDING');
    expect(await it.sql`select mode from agents`).toEqual([{ mode: 'OPEN' }]);
  });
});
