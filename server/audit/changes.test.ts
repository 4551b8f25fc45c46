import { newId } from '@muster/shared/ids';
import { eventually } from '@muster/testing/eventually';
import { type Life, openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { revokeAgent } from '../dispatch/store/boot.ts';
import { noteRuns } from '../dispatch/store/heartbeat.ts';
import { applyResults } from '../dispatch/store/results.ts';
import type { Sql } from '../platform/database.ts';
import { insertSchedule, moveSchedule } from '../schedules/store/schedules.ts';
import { cancelTask, retryTask } from '../tasks/store/transitions.ts';

const BY = { actor: 'key_tester', address: '192.0.2.7', request_id: 'req_1' };

describe.each([18, 15] as const)('audited changes on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const logs = (subject: string) => it.sql`
    select action, actor, address, request_id, owner, before, after from audit_logs where subject_id = ${subject} order by audit_id`;
  const log = async (subject: string) => (await logs(subject)).at(-1);
  const claim = async (): Promise<Life & { fence: number }> => {
    const agent = await it.agent();
    const standings = await it.claim(it.db.hot, [{ ...agent, want: 1 }], [await it.classOf('echo')]);
    return { ...agent, fence: standings.get(agent.agent_id)!.runs[0]!.fence };
  };
  const failed = async () => {
    const [id] = await it.submit({ max_retries: 0 });
    const run = await claim();
    const end = { fault: 'agent', retryable: true, result_data: null, error: null };
    await applyResults(it.db.hot, [{ ...run, status: 'FAILED', ...end }]);
    return id!;
  };
  const schedule = async (by = BY, owner = 'acme') => {
    const schedule_id = newId('sched');
    const about = {
      schedule_id,
      owner,
      client_id: null,
      description: 'd',
      task_type: 'echo',
      capability_required: 'echo',
    };
    const when = { cron_expression: '0 0 * * *', timezone: 'UTC', next_run_at: new Date('2030-01-01T00:00:00Z') };
    const how = { priority: 5, timeout_seconds: 300, max_retries: 3, retry_policy: 'exponential', tags: ['t'] };
    await insertSchedule(it.sql, { ...about, ...when, ...how, input_data: '{"secret":1}', metadata: '{}' }, by);
    return schedule_id;
  };
  /** Does `first` in a transaction that is open while `second` starts, so that `second` waits for it. */
  const inTheWay = async (first: (sql: Sql) => Promise<unknown>, second: () => Promise<unknown>) => {
    const { admin } = it.openMore({ adminConnections: 1 });
    await admin`begin`;
    await first(admin);
    const done = second();
    await eventually(async () => {
      const [row] =
        await it.sql`select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      return row!.n > 0;
    });
    await admin`commit`;
    await done;
  };

  test('a cancel tells where the task was and why it ended', async () => {
    const [waiting] = await it.submit({ owner: 'acme' });
    await cancelTask(it.sql, waiting!, 'because', BY);
    const after = { status: 'CANCELLED', reason: 'because' };
    expect(await logs(waiting!)).toEqual([
      { ...BY, action: 'task.cancel', owner: 'acme', before: { status: 'PENDING' }, after },
    ]);
    const [handedOut] = await it.submit({});
    await claim();
    await cancelTask(it.sql, handedOut!, 'because', BY);
    expect(await log(handedOut!)).toMatchObject({ before: { status: 'ASSIGNED' }, after });
    const [later] = await it.submit({ run_at: '2100-01-01T00:00:00Z' });
    await cancelTask(it.sql, later!, 'because', BY);
    expect(await log(later!)).toMatchObject({ before: { status: 'PENDING' }, after });
  });

  test('a retry tells how the task had ended', async () => {
    const id = await failed();
    await retryTask(it.sql, id, BY);
    expect(await log(id)).toMatchObject({
      ...BY,
      action: 'task.retry',
      before: { status: 'FAILED' },
      after: { status: 'PENDING' },
    });
    await cancelTask(it.sql, id, 'why', BY);
    await retryTask(it.sql, id, BY);
    expect(await log(id)).toMatchObject({
      before: { status: 'CANCELLED', reason: 'why' },
      after: { status: 'PENDING' },
    });
    expect(await logs(id)).toHaveLength(3);
  });

  test('a schedule tells each of its moves, and nothing of its input', async () => {
    const id = await schedule();
    const next_run_at = '2030-01-01T00:00:00.000Z';
    const rule = { task_type: 'echo', cron_expression: '0 0 * * *', timezone: 'UTC', priority: 5, tags: ['t'] };
    expect(await logs(id)).toEqual([
      {
        ...BY,
        action: 'schedule.create',
        owner: 'acme',
        before: null,
        after: { ...rule, status: 'ACTIVE', next_run_at },
      },
    ]);
    await moveSchedule(it.sql, { scheduleId: id, event: 'pause', note: 'stop', by: BY });
    const [active, paused] = [
      { status: 'ACTIVE', next_run_at, pause_note: null },
      { status: 'PAUSED', next_run_at: null, pause_note: 'stop' },
    ];
    expect(await log(id)).toEqual({ ...BY, action: 'schedule.pause', owner: 'acme', before: active, after: paused });
    await moveSchedule(it.sql, { scheduleId: id, event: 'resume', nextRunAt: new Date(next_run_at), by: BY });
    expect(await log(id)).toMatchObject({ action: 'schedule.resume', before: paused, after: active });
    await moveSchedule(it.sql, { scheduleId: id, event: 'delete', by: BY });
    expect(await log(id)).toMatchObject({ action: 'schedule.delete', before: active, after: { status: 'DELETED' } });
  });

  test('a revoked agent is told once', async () => {
    const { agent_id } = await it.agent({ mode: 'CORDONED', owner: 'acme' });
    await revokeAgent(it.sql, agent_id, BY);
    await revokeAgent(it.sql, agent_id, BY);
    const change = { before: { mode: 'CORDONED' }, after: { mode: 'REVOKED' } };
    expect(await logs(agent_id)).toEqual([{ ...BY, action: 'agent.revoke', owner: 'acme', ...change }]);
  });

  test('what changes nothing, and what nobody is to be named for, leaves no row', async () => {
    const [id] = await it.submit({});
    expect(await retryTask(it.sql, id!, BY)).toBeUndefined();
    await cancelTask(it.sql, id!, null);
    expect(await cancelTask(it.sql, id!, 'again', BY)).toBeUndefined();
    const { agent_id } = await it.agent();
    await revokeAgent(it.sql, agent_id);
    const scheduleId = await schedule();
    expect(await moveSchedule(it.sql, { scheduleId, event: 'resume', nextRunAt: new Date(), by: BY })).toBeUndefined();
    expect(await Promise.all([id!, agent_id].map(logs))).toEqual([[], []]);
    expect(await logs(scheduleId)).toHaveLength(1);
  });

  test('where the row cannot be written nothing is changed either', async () => {
    const broken = { ...BY, request_id: null as never };
    const [id] = await it.submit({});
    await expect(cancelTask(it.sql, id!, null, broken)).rejects.toMatchObject({ code: '23502' });
    expect([await it.status(id!), await it.eventsOf(id!)]).toEqual(['PENDING', ['task.created']]);
    const { agent_id } = await it.agent();
    await expect(revokeAgent(it.sql, agent_id, broken)).rejects.toMatchObject({ code: '23502' });
    expect(await it.sql`select mode from agents where agent_id = ${agent_id}`).toEqual([{ mode: 'OPEN' }]);
    await expect(schedule(broken, 'nobody')).rejects.toMatchObject({ code: '23502' });
    expect(await it.sql`select from schedules where owner = 'nobody'`).toHaveLength(0);
  });

  describe('what it was before is what it was when the change had its turn:', () => {
    test('a schedule that was just paused', async () => {
      const scheduleId = await schedule();
      await inTheWay(
        (sql) => moveSchedule(sql, { scheduleId, event: 'pause', note: 'by another', by: BY }),
        () => moveSchedule(it.sql, { scheduleId, event: 'delete', by: BY }),
      );
      expect(await log(scheduleId)).toMatchObject({
        action: 'schedule.delete',
        before: { status: 'PAUSED', next_run_at: null, pause_note: 'by another' },
      });
    });

    test('an agent that was just cordoned', async () => {
      const { agent_id } = await it.agent();
      await inTheWay(
        (sql) => sql`
          with changed as (update agents set mode = 'CORDONED' where agent_id = ${agent_id} returning agent_id)
          insert into events (tx, at, kind, subject_ids) select pg_current_xact_id(), muster_now(), 'agent.cordoned', array[agent_id] from changed`,
        () => revokeAgent(it.sql, agent_id, BY),
      );
      expect(await log(agent_id)).toMatchObject({ before: { mode: 'CORDONED' }, after: { mode: 'REVOKED' } });
    });

    test('a task that has just begun', async () => {
      const [id] = await it.submit({});
      const { agent_id, fence } = await claim();
      await inTheWay(
        (sql) => sql`update leases set started_at = muster_now() where fence = ${fence} and agent_id = ${agent_id}`,
        () => cancelTask(it.sql, id!, null, BY),
      );
      expect(await log(id!)).toMatchObject({
        before: { status: 'RUNNING' },
        after: { status: 'CANCELLED', reason: null },
      });
    });

    test('a task that was just retried and cancelled again', async () => {
      const id = await failed();
      await inTheWay(
        async (sql) => {
          await retryTask(sql, id, BY);
          // The test's triggers allow a task one event a transaction.
          await sql`update events set subject_ids = '{}' where kind = 'task.retried' and ${id} = any(subject_ids)`;
          await cancelTask(sql, id, 'by another', BY);
        },
        () => retryTask(it.sql, id, BY),
      );
      expect((await logs(id)).map((row) => [row.action, row.before.status, row.before.reason])).toEqual([
        ['task.retry', 'FAILED', null],
        ['task.cancel', 'PENDING', undefined],
        ['task.retry', 'CANCELLED', 'by another'],
      ]);
    });
  });

  test('beats of agents are not told', async () => {
    await it.submit({});
    const before = await it.sql`select count(*) from audit_logs`;
    const run = await claim();
    await noteRuns(it.db.hot, [{ ...run, started: true, progress: null }]);
    expect(await it.sql`select count(*) from audit_logs`).toEqual(before);
  });
});
