import { listDeadLetters, retryDeadLetters } from '@muster/shared/contract/queue';
import { createTask } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { inParallel, startNetwork, type TestNetwork } from './fixtures/network.ts';
import type { RawAgent } from './fixtures/raw-agent.ts';

const work = { task_type: 'work', input_data: null, max_retries: 0 };

/** A task that fails with this code. */
async function dead(network: TestNetwork, agent: RawAgent, code: string, more: object = {}): Promise<string> {
  const task_id = await network.submit({ ...work, ...more });
  await agent.fail(await agent.take(), { message: `it is ${code}`, code });
  return task_id;
}

test('dead letters are listed by when they ended, with their last error, and found by what they are', async () => {
  const network = await startNetwork();
  const [agent, other] = [await network.rawAgent(), await network.rawAgent({ capabilities: ['work', 'other'] })];
  const list = async (query: object = {}) =>
    (await network.admin(listDeadLetters, { query })).data.map((it) => it.task_id);
  const a = await dead(network, agent, 'busy');
  await network.clock.advance('1s');
  const middle = (await network.clock.now()).toISOString();
  const b = await dead(network, other, 'gone', { task_type: 'job', capability_required: 'other' });
  const late = await network.submit({ ...work, capability_required: 'nobody', task_timeout_seconds: 5 });
  await network.submit({
    ...work,
    capability_required: 'nobody',
    expires_at: (await network.clock.now()).toISOString(),
  });
  const cancelled = await network.submit({ ...work, capability_required: 'nobody' });
  await network.cancel(cancelled);
  await network.clock.advance('6s');
  expect(await list()).toEqual([late, b, a]);
  const { data } = await network.admin(listDeadLetters, {});
  expect(data.every((it) => it.dead_letter)).toBe(true);
  expect(data.map((it) => [it.status, it.attempt, (it.error as { message: string }).message])).toEqual([
    ['TIMED_OUT', 0, 'took longer than 5 s in all'],
    ['FAILED', 1, 'it is gone'],
    ['FAILED', 1, 'it is busy'],
  ]);
  for (const [query, found] of [
    [{ task_type: 'job' }, [b]],
    [{ capability: 'other' }, [b]],
    [{ agent_id: agent.agentId }, [a]],
    [{ error_code: 'busy' }, [a]],
    [{ to: middle }, [a]],
    [{ from: middle }, [late, b]],
  ] as const)
    expect(await list(query), JSON.stringify(query)).toEqual(found);
  const seen: string[] = [];
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await network.admin(listDeadLetters, { query: { limit: 1, ...(cursor ? { cursor } : {}) } });
    seen.push(...page.data.map((it) => it.task_id));
    cursor = page.next_cursor;
  }
  expect(seen).toEqual([late, b, a]);
});

test('dead letters are retried by filter, so many at a time, the oldest first; history stays', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const ids: string[] = [];
  for (const code of ['busy', 'busy', 'gone', 'busy']) {
    ids.push(await dead(network, agent, code));
    await network.clock.advance('10ms');
  }
  const retry = (body: object) => network.admin(retryDeadLetters, { body });
  expect(await retry({ error_code: 'busy', dry_run: true })).toEqual({ matched: 3, retried: 0 });
  expect((await network.task(ids[0]!)).status).toBe('FAILED');
  expect(await retry({ error_code: 'busy', limit: 2 })).toEqual({ matched: 3, retried: 2 });
  for (const [n, status] of ['PENDING', 'PENDING', 'FAILED', 'FAILED'].entries())
    expect(await network.task(ids[n]!)).toMatchObject({ status });
  expect(await network.sql`select subject_id from audit_logs where action = 'task.retry' order by 1`).toEqual(
    ids.slice(0, 2).map((subject_id) => ({ subject_id })),
  );
  const again = await agent.take();
  expect(again).toMatchObject({ task_id: ids[0], attempt: 1 });
  await agent.complete(again);
  const task = await network.task(ids[0]!);
  expect(task).toMatchObject({ status: 'COMPLETED', dead_letter: false, attempt: 1 });
  expect(task.runs.map((run) => run.status)).toEqual(['FAILED', 'COMPLETED']);
  expect(await retry({})).toEqual({ matched: 2, retried: 2 });
  expect(await retry({})).toEqual({ matched: 0, retried: 0 });
});

test('one whose unique key another task has by now stays where it is', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const first = await dead(network, agent, 'busy', { unique_key: 'one' });
  const second = await dead(network, agent, 'busy', { unique_key: 'one' });
  // Of two that share a key, one.
  expect(await network.admin(retryDeadLetters, { body: {} })).toEqual({ matched: 2, retried: 1 });
  expect(await network.admin(retryDeadLetters, { body: {} })).toEqual({ matched: 1, retried: 0 });
  const statuses = [(await network.task(first)).status, (await network.task(second)).status];
  expect(statuses.sort()).toEqual(['FAILED', 'PENDING']);
});

test('retries at the same moment queue each task once', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 40 });
  for (let n = 0; n < 40; n += 1) await network.submit(work);
  const { runs } = await agent.poll({ slots: 40 });
  await inParallel(runs, 8, (run) => agent.fail(run));
  const answers = await Promise.all(Array.from({ length: 6 }, () => network.admin(retryDeadLetters, { body: {} })));
  const [{ queued }] = (await network.sql`select count(*)::int as queued from ready`) as unknown as [
    { queued: number },
  ];
  expect(answers.reduce((sum, it) => sum + it.retried, 0)).toBe(queued);
  await network.admin(retryDeadLetters, { body: {} });
  expect(await network.sql`select count(*)::int as n, count(distinct task_id)::int as tasks from ready`).toEqual([
    { n: 40, tasks: 40 },
  ]);
  expect(await network.sql`select count(*)::int as n from audit_logs where action = 'task.retry'`).toEqual([{ n: 40 }]);
});

test('an owner sees and retries its own alone', async () => {
  const network = await startNetwork();
  const scopes = ['tasks:read', 'tasks:write'] as const;
  const [acme, rival] = [
    await makeKey(network, { owner: 'acme', scopes: [...scopes] }),
    await makeKey(network, { owner: 'rival', scopes: [...scopes] }),
  ];
  const agent = await network.rawAgent({ enrollment_token: await network.enrol({ serves: 'all' }) });
  const { task_id } = await acme.call(createTask, { body: work });
  await agent.fail(await agent.take());
  expect((await rival.call(listDeadLetters, {})).data).toEqual([]);
  expect(await rival.call(retryDeadLetters, { body: {} })).toEqual({ matched: 0, retried: 0 });
  expect((await acme.call(listDeadLetters, {})).data.map((it) => it.task_id)).toEqual([task_id]);
  expect(await acme.call(retryDeadLetters, { body: {} })).toEqual({ matched: 1, retried: 1 });
});

test('a task that kills its agents is given up after three different ones, whatever its retries', async () => {
  const network = await startNetwork();
  const task_id = await network.submit({ task_type: 'work', input_data: null, max_retries: 50 });
  const kill = async () => {
    const agent = await network.rawAgent();
    await agent.take();
    await network.clock.advance('31s', { beats: 'missed' });
    return agent;
  };
  await kill();
  // The same agent twice counts once.
  const second = await kill();
  await second.assert('boot_01h2xcejqtf2nbrexx3vqjhp41');
  await second.take();
  await network.clock.advance('31s', { beats: 'missed' });
  expect((await network.task(task_id)).status).toBe('PENDING');
  await kill();
  expect(await network.task(task_id)).toMatchObject({
    status: 'FAILED',
    dead_letter: true,
    error: { code: 'poison', message: expect.stringContaining('3 agents were lost over it') },
  });
});
