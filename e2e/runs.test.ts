import { linesOf } from '@muster/shared/client';
import { listAuditLogs } from '@muster/shared/contract/audit';
import { reportResult } from '@muster/shared/contract/dispatch';
import { cleanupRuns, deleteRun, exportRuns, getRun, listRuns, type RunRecord } from '@muster/shared/contract/runs';
import { createSchedule, listExecutions } from '@muster/shared/contract/schedules';
import { cancelTask, getTask, retryTask } from '@muster/shared/contract/tasks';
import { getTrust } from '@muster/shared/contract/trust';
import { newId, runIdOf } from '@muster/shared/ids';
import { eventually } from '@muster/testing';
import { describe, expect, test } from 'vitest';
import { nearly } from './fixtures/nearly.ts';
import { startNetwork } from './fixtures/network.ts';

const work = { task_type: 'work', input_data: null };

describe('run records', () => {
  test('there is one for each try: live, ended by its agent, lost, with who, when and why', async () => {
    const network = await startNetwork();
    const agent = await network.rawAgent();
    const task_id = await network.submit({
      ...work,
      capability_required: 'work',
      max_retries: 1,
      retry_policy: 'fixed',
    });
    const first = await agent.take();
    const look = (run_id: string) => network.admin(getRun, { params: { run_id } });
    const of = { task_id, task_type: 'work', capability: 'work', owner: 'admin', agent_id: agent.agentId };
    expect(await look(first.run_id)).toMatchObject({ ...of, status: 'ASSIGNED', attempt: 1, finished_at: null });
    await agent.start(first);
    expect(await look(first.run_id)).toMatchObject({ ...of, status: 'RUNNING', started_at: expect.any(String) });
    await agent.fail(first, { message: 'no', code: 'odd' });
    expect(await look(first.run_id)).toMatchObject({
      ...of,
      fence: first.fence,
      status: 'FAILED',
      fault: 'agent',
      error: { message: 'no', code: 'odd' },
      finished_at: expect.any(String),
    });
    await network.clock.advance('10s');
    const second = await agent.take();
    await agent.complete(second, { answer: ['é\n☃', 1.5] });
    expect(await look(second.run_id)).toMatchObject({
      status: 'COMPLETED',
      attempt: 2,
      result_data: { answer: ['é\n☃', 1.5] },
    });
    const list = async (query: NonNullable<Parameters<typeof network.admin<typeof listRuns>>[1]['query']>) =>
      (await network.admin(listRuns, { query })).data.map((run) => run.run_id);
    expect(await list({})).toEqual([second.run_id, first.run_id]);
    expect(await list({ status: 'FAILED' })).toEqual([first.run_id]);
    expect(await list({ from: (await look(second.run_id)).finished_at! })).toEqual([second.run_id]);
    expect(await list({ to: (await look(second.run_id)).finished_at! })).toEqual([first.run_id]);
    const exported = await network.admin(exportRuns, { query: { task_id } });
    expect(exported).toEqual([await look(second.run_id), await look(first.run_id)]);
  });

  test('what a run took is shown wherever it is, where its agent said so, and cannot be odd', async () => {
    const network = await startNetwork();
    const agent = await network.rawAgent();
    const task_id = await network.submit({ ...work, max_retries: 1, retry_policy: 'fixed' });
    const usage = { cpu_ms: 1_234, max_rss_bytes: 5_678_901_234 };
    const first = await agent.take();
    const params = { run_id: first.run_id };
    const failed = { fence: first.fence, outcome: 'FAILED' as const, error: { message: 'no' } };
    for (const odd of [{ cpu_ms: -1 }, { cpu_ms: 0.5 }, { max_rss_bytes: 2 ** 60 }, { gpu_ms: 1 }, 7, null])
      await expect(
        agent.call(reportResult, { params, body: { ...failed, usage: odd as never } }),
        JSON.stringify(odd),
      ).rejects.toMatchObject({ code: 'validation-failed', errors: [{ pointer: expect.stringMatching(/^#\/usage/) }] });
    await agent.call(reportResult, { params, body: { ...failed, usage } });
    await network.clock.advance('10s');
    const second = await agent.take();
    const live = await network.admin(getRun, { params: { run_id: second.run_id } });
    await agent.poll({
      slots: 0,
      results: [{ run_id: second.run_id, fence: second.fence, outcome: 'COMPLETED', usage: { cpu_ms: 0 } }],
    });
    expect([live.usage, (await network.admin(getRun, { params })).usage]).toEqual([null, usage]);
    const newest = [{ cpu_ms: 0 }, usage];
    const usages = (runs: readonly { usage: unknown }[]) => runs.map((run) => run.usage);
    expect(usages((await network.admin(listRuns, {})).data)).toEqual(newest);
    expect(usages(await network.admin(exportRuns, {}))).toEqual(newest);
    expect(usages((await network.admin(getTask, { params: { task_id } })).runs)).toEqual(newest.toReversed());
  });

  test('ids beyond any run are not found, however large', async () => {
    const { admin } = await startNetwork();
    for (const run_id of [runIdOf(1), runIdOf(2n ** 53n), 'run_zzzzzzzzzzzzz'])
      for (const endpoint of [getRun, deleteRun])
        await expect(admin(endpoint, { params: { run_id } })).rejects.toMatchObject({ code: 'not-found' });
  });

  test('a delete takes an earlier run of an ended task, and says why it does not take others', async () => {
    const network = await startNetwork();
    const agent = await network.rawAgent();
    const task_id = await network.submit({ ...work, max_retries: 0 });
    const first = await agent.take();
    const remove = ({ run_id }: { run_id: string }) => network.admin(deleteRun, { params: { run_id } });
    await expect(remove(first)).rejects.toMatchObject({
      code: 'conflict',
      message: /is ASSIGNED; only one that has ended/,
    });
    await agent.fail(first);
    await expect(remove(first)).rejects.toMatchObject({ code: 'conflict', message: /goes when the task goes/ });
    await network.admin(retryTask, { params: { task_id } });
    await expect(remove(first)).rejects.toMatchObject({ code: 'conflict', message: /is PENDING; its runs can be/ });
    const second = await agent.take();
    await agent.complete(second);
    const { trust_score } = await network.admin(getTrust, { params: { agent_id: agent.agentId } });
    expect(await remove(first)).toMatchObject({ run_id: first.run_id, status: 'FAILED' });
    await expect(remove(first)).rejects.toMatchObject({ code: 'not-found' });
    const task = await network.admin(getTask, { params: { task_id } });
    expect(task).toMatchObject({ status: 'COMPLETED', runs: [{ run_id: second.run_id }] });
    const after = await network.admin(getTrust, { params: { agent_id: agent.agentId } });
    expect(after.trust_score).toBeCloseTo(trust_score, 5);
    const logs = await network.admin(listAuditLogs, { query: { action: 'run.delete' } });
    expect(logs.data).toMatchObject([{ subject_id: first.run_id, before: { task_id, status: 'FAILED' } }]);
  });
});

describe('an export', () => {
  /** Ended runs of one agent, with tasks of their own, as many as no network would make in a test. */
  const fill = async (network: Awaited<ReturnType<typeof startNetwork>>, count: number, bytes = 10) => {
    const agent = await network.rawAgent();
    await network.sql`
      with made as (
        insert into tasks (task_id, class_id, owner, task_type, capability_required, input_data, priority, rank, timeout_seconds, max_retries, retry_policy, tags, metadata, run_at, created_at)
        select ${newId('task').slice(0, 20)} || lpad(n::text, 11, '0'), 1, 'admin', 'work', 'work', 'null', 5, now(), 1, 0, 'none', '{}', '{}', now(), now()
        from generate_series(1, ${count}::int) n returning task_id)
      insert into runs (fence, task_id, replica, agent_id, capability, attempt, status, final, assigned_at, finished_at, result_data)
      select nextval('fence_seq'), task_id, 0, ${agent.agentId}, 'work', 1, 'COMPLETED', true, now(), now(), to_json(repeat('x', ${bytes}::int)) from made`;
  };
  const open = ({ url, adminKey }: { url: string; adminKey: string }) =>
    fetch(`${url}/aitp/runs/export`, { headers: { authorization: `Bearer ${adminKey}` } });

  test('has every run once, newest first, over many parts', async () => {
    const network = await startNetwork();
    await fill(network, 2_500);
    const response = await open(network);
    expect(response.headers.get('content-type')).toBe('application/x-ndjson');
    const fences = (linesOf(await response.text()) as RunRecord[]).map((run) => run.fence);
    expect(fences).toHaveLength(2_500);
    expect(fences).toEqual([...new Set(fences)].sort((a, b) => b - a));
    expect(fences).toEqual(
      (await network.sql`select fence::int as fence from runs order by 1 desc`).map((row) => row.fence),
    );
  });

  test('is read from the database no faster than its caller reads it', async () => {
    const network = await startNetwork();
    await fill(network, 150, 500_000);
    const reader = (await open(network)).body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = (await reader.read()).value ?? '';
    // Until the coordinator reads no further by itself.
    let last: number | undefined;
    await eventually(async () => {
      const [row] = await network.sql<{ at: Date }[]>`
          select max(query_start) as at from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and query like '%octet_length(result_data)%'`;
      const stands = row!.at.getTime() === last;
      last = row!.at.getTime();
      if (!stands) await new Promise((resolve) => setTimeout(resolve, 300));
      return stands;
    });
    await network.sql`delete from runs`;
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) text += piece.value;
    const read = linesOf(text).length;
    expect(read, 'of 75 MB').toBeLessThan(100);
    expect(read).toBeGreaterThan(0);
  });

  test('that breaks off is no whole answer', async () => {
    // The loops miss the table, too.
    const network = await startNetwork({ env: { MUSTER_LOG_LEVEL: 'silent' } });
    await fill(network, 60, 500_000);
    const response = await open(network);
    const reader = response.body!.getReader();
    await reader.read();
    await network.sql`alter table runs rename to runs_elsewhere`;
    const rest = async () => {
      for (let done = false; !done; ) ({ done } = await reader.read());
    };
    await expect(rest()).rejects.toThrow();
  });
});

describe('what ended long ago', () => {
  const counts = async ({ sql }: Awaited<ReturnType<typeof startNetwork>>) => {
    const [row] = await sql<{ tasks: number; runs: number }[]>`
      select (select count(*)::int from tasks) as tasks, (select count(*)::int from runs) as runs`;
    return row!;
  };

  test('goes by a cleanup, which can be tried first; trust and the schedule keep what they know', async () => {
    const network = await startNetwork();
    const agent = await network.rawAgent();
    const { schedule_id } = await network.admin(createSchedule, { body: { ...work, cron_expression: '0 0 1 1 *' } });
    const [{ next }] = (await network.sql`
      select (extract(epoch from next_run_at - muster_now()) * 1000)::float8 as next from schedules`) as unknown as [
      { next: number },
    ];
    await network.clock.advance(next + 1_000);
    await agent.assert();
    await agent.complete(await agent.take(), 'home');
    const failed = await network.submit({ ...work, max_retries: 0 });
    await agent.fail(await agent.take());
    const stays = await network.submit({ ...work, run_at: '9000-01-01T00:00:00Z' });
    await network.clock.advance('2d');
    const late = await network.submit(work);
    await network.admin(cancelTask, { params: { task_id: late }, body: {} });
    const agent_id = agent.agentId;
    const trust = await network.admin(getTrust, { params: { agent_id } });

    const clean = (body: { older_than_days: number; dry_run?: boolean }) => network.admin(cleanupRuns, { body });
    expect(await clean({ older_than_days: 3 })).toEqual({ tasks: 0, runs: 0, dry_run: false });
    expect(await clean({ older_than_days: 1, dry_run: true })).toEqual({ tasks: 2, runs: 2, dry_run: true });
    expect(await counts(network)).toEqual({ tasks: 4, runs: 2 });
    expect(await clean({ older_than_days: 1 })).toEqual({ tasks: 2, runs: 2, dry_run: false });
    expect(await counts(network)).toEqual({ tasks: 2, runs: 0 });

    await expect(network.admin(getTask, { params: { task_id: failed } })).rejects.toMatchObject({ code: 'not-found' });
    for (const task_id of [stays, late]) await network.admin(getTask, { params: { task_id } });
    expect(await network.admin(getTrust, { params: { agent_id } })).toEqual(nearly(trust));
    const { data } = await network.admin(listExecutions, { params: { schedule_id } });
    expect(data).toMatchObject([
      { status: 'FIRED', task_status: 'COMPLETED', task_id: expect.any(String), result_data: null },
    ]);
    const logs = await network.admin(listAuditLogs, { query: { action: 'runs.cleanup' } });
    expect(logs.data).toMatchObject([{ owner: 'admin', before: { older_than_days: 1, tasks: 2, runs: 2 } }]);
  });

  test.for([
    { days: undefined, after: '29d', kept: 1 },
    { days: undefined, after: '31d', kept: 0 },
    { days: '2', after: '3d', kept: 0 },
    { days: '0', after: '400d', kept: 1 },
  ])('goes by itself: with MUSTER_RETENTION_DAYS=$days, $kept are kept $after later', async ({ days, after, kept }) => {
    const network = await startNetwork({ env: { MUSTER_RETENTION_DAYS: days } });
    const agent = await network.rawAgent();
    await network.submit(work);
    await agent.complete(await agent.take());
    await network.clock.advance(after);
    await eventually(async () => expect(await counts(network)).toEqual({ tasks: kept, runs: kept }));
  });
});
