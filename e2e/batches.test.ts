import { createBatch, getBatch, listBatchResults } from '@muster/shared/contract/batches';
import { cancelBatch } from '@muster/shared/contract/bulk';
import type { CallOf } from '@muster/shared/contract/endpoint';
import { cleanupRuns } from '@muster/shared/contract/runs';
import { createTask, listTasks } from '@muster/shared/contract/tasks';
import { eventually, startCoordinator } from '@muster/testing';
import { expect, onTestFinished, test } from 'vitest';
import { checkedClient } from './fixtures/checked-client.ts';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';

type Tasks = CallOf<typeof createBatch>['body']['tasks'];
const work = { task_type: 'work', input_data: null };
const some = (count: number): Tasks => Array.from({ length: count }, (_, n) => ({ ...work, input_data: n }));
const once = (key: string) => ({ headers: { 'idempotency-key': key } });

const submit = (network: TestNetwork, tasks: Tasks, atomic = true) =>
  network.admin(createBatch, { body: { tasks, atomic } });
const rowsOf = async ({ sql }: TestNetwork) =>
  (
    await sql<{ tasks: number; batches: number; keys: number }[]>`
    select (select count(*) from tasks)::int as tasks, (select count(*) from batches)::int as batches,
      (select count(*) from unique_keys)::int + (select count(*) from idempotency_keys)::int as keys`
  )[0]!;

/** Does what waits, in the order it is handed out; the inputs it came with. */
async function workOff(network: TestNetwork, count: number): Promise<unknown[]> {
  const agent = await network.rawAgent({ slots: count });
  const inputs: unknown[] = [];
  while (inputs.length < count) {
    const { runs } = await agent.poll({ slots: count, wait_ms: 10_000 });
    for (const run of runs) {
      inputs.push(run.input_data);
      await agent.complete(run, { was: run.input_data });
    }
  }
  return inputs;
}

test('a thousand tasks are submitted at once, run in their order, and their results come in it', async () => {
  const network = await startNetwork();
  const { batch_id, results, ...counts } = await submit(network, some(1_000));
  expect(counts).toEqual({ atomic: true, created: 1_000, refused: 0 });
  expect(results.map(({ index, status }) => [index, status])).toEqual(some(1_000).map((_, n) => [n, 'PENDING']));
  const ids = results.map(({ task_id }) => task_id!);
  expect(ids).toEqual([...ids].sort());
  const at = { params: { batch_id } };
  expect(await network.admin(getBatch, at)).toMatchObject({
    by_status: { PENDING: 1_000 },
    done: false,
    owner: 'admin',
  });
  const agent = await network.rawAgent({ slots: 20 });
  const { runs } = await agent.poll({ slots: 20 });
  expect(runs.map(({ input_data }) => input_data)).toEqual(some(20).map((_, n) => n));
  for (const run of runs.slice(0, 5)) await agent.complete(run, { was: run.input_data });
  await agent.fail(runs[5]!, { message: 'no', retryable: false });
  const first = await network.admin(listBatchResults, { ...at, query: { limit: 6 } });
  expect(first.data).toEqual([
    ...ids.slice(0, 5).map((task_id, index) => ({
      index,
      task_id,
      status: 'COMPLETED',
      result_data: { was: index },
      error: null,
      finality: null,
      result_version: 1,
    })),
    expect.objectContaining({ index: 5, status: 'FAILED', error: expect.objectContaining({ message: 'no' }) }),
  ]);
  const next = await network.admin(listBatchResults, { ...at, query: { limit: 1, cursor: first.next_cursor! } });
  expect(next.data).toMatchObject([{ index: 6, status: 'ASSIGNED', result_data: null }]);
  const listed = await network.admin(listTasks, { query: { batch_id, status: 'FAILED' } });
  expect(listed.data.map((task) => [task.task_id, task.batch_id])).toEqual([[ids[5], batch_id]]);
  expect(await network.admin(cancelBatch, at)).toMatchObject({ matched: 994, changed: 994, remaining: 0 });
  expect(await network.admin(getBatch, at)).toMatchObject({
    by_status: { COMPLETED: 5, FAILED: 1, CANCELLED: 994 },
    done: true,
  });
});

test('results of any size come by pages that fit', async () => {
  const network = await startNetwork();
  const { batch_id } = await submit(network, some(8));
  const agent = await network.rawAgent({ slots: 8 });
  for (const run of (await agent.poll({ slots: 8 })).runs) await agent.complete(run, 'x'.repeat(1_000_000));
  const seen: number[] = [];
  let pages = 0;
  for (let cursor: string | null | undefined; cursor !== null; pages += 1) {
    const query = cursor ? { cursor } : {};
    const page = await network.admin(listBatchResults, { params: { batch_id }, query });
    seen.push(...page.data.map(({ index }) => index));
    cursor = page.next_cursor;
  }
  expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(pages).toBe(2);
});

test('a batch that is atomic is made as a whole or not at all, and every bad task is named', async () => {
  const network = await startNetwork();
  const { task_id } = await network.admin(createTask, { body: { ...work, unique_key: 'taken' } });
  const before = await rowsOf(network);
  const tasks = some(1_000);
  tasks[3] = { ...work, priority: 11 };
  for (let n = 500; n < 510; n += 1) tasks[n] = { task_type: 'a b' } as never;
  tasks[999] = { ...work, depends_on: ['task_01h2xcejqtf2nbrexx3vqjhp41'] };
  await expect(submit(network, tasks)).rejects.toMatchObject({
    code: 'validation-failed',
    message: expect.stringMatching(/^12 of 1000 tasks are refused, at 3, 500-509, 999: #\/tasks\/3\/priority /),
    errors: expect.arrayContaining([expect.objectContaining({ pointer: '#/tasks/500/task_type' })]),
  });
  await expect(
    network.admin(createBatch, { body: { tasks: [work, { ...work, unique_key: 'taken' }] } }, once('k')),
  ).rejects.toMatchObject({
    code: 'conflict',
    message: `1 of 2 tasks are refused, at 1: #/tasks/1/unique_key task ${task_id} has the unique key "taken"`,
  });
  expect(await rowsOf(network)).toEqual(before);
});

test('of one that is not, those that can be made are, and each other one has its own problem', async () => {
  const network = await startNetwork();
  const { task_id: taken } = await network.admin(createTask, { body: { ...work, unique_key: 'taken' } });
  const tasks: Tasks = [
    { ...work, ref: 'a' },
    { ...work, max_retries: -1, ref: 'b' },
    { ...work, depends_on_refs: ['a'] },
    { ...work, depends_on_refs: ['b'], ref: 'c' },
    { ...work, depends_on_refs: ['c'] },
    { ...work, unique_key: 'taken' },
    { ...work, unique_key: 'taken', unique_policy: 'keep' },
    5 as never,
    { ...work, depends_on: ['task_01h2xcejqtf2nbrexx3vqjhp41'] },
  ];
  const answer = await submit(network, tasks, false);
  expect(answer).toMatchObject({ atomic: false, created: 2, refused: 6 });
  expect(answer.results.map(({ status, problem }) => status ?? problem?.code)).toEqual([
    'PENDING',
    'validation-failed',
    'BLOCKED',
    'validation-failed',
    'validation-failed',
    'conflict',
    'PENDING',
    'validation-failed',
    'validation-failed',
  ]);
  expect(answer.results[6]!.task_id).toBe(taken);
  expect(answer.results[4]!.problem!.detail).toBe('#/tasks/4/depends_on_refs waits for #/tasks/3, which is refused');
  const { data } = await network.admin(listTasks, { query: { batch_id: answer.batch_id } });
  expect(data.map(({ task_id }) => task_id)).toEqual([answer.results[2]!.task_id, answer.results[0]!.task_id]);
  expect(
    (await network.admin(listBatchResults, { params: { batch_id: answer.batch_id } })).data.map(({ index }) => index),
  ).toEqual([0, 2]);
  const none = await submit(network, [{ ...work, priority: 0 }], false);
  expect(await network.admin(getBatch, { params: { batch_id: none.batch_id } })).toMatchObject({
    created: 0,
    refused: 1,
    done: true,
  });
  // It goes when it is old, as one does whose tasks have gone; what has tasks that wait stays.
  await network.clock.advance('31d');
  const gone = network.admin(getBatch, { params: { batch_id: none.batch_id } });
  await expect(gone).rejects.toMatchObject({ code: 'not-found' });
  expect((await network.admin(getBatch, { params: { batch_id: answer.batch_id } })).created).toBe(2);
});

test('tasks of a batch wait for each other by their refs, wherever in it they are', async () => {
  const network = await startNetwork();
  const outside = await network.submit({ ...work, input_data: 'outside' });
  const { results } = await submit(network, [
    { ...work, input_data: 'last', depends_on_refs: ['mid', 'first'] },
    { ...work, input_data: 'first', ref: 'first' },
    { ...work, input_data: 'mid', ref: 'mid', depends_on_refs: ['first'], depends_on: [outside] },
  ]);
  expect(results.map(({ status }) => status)).toEqual(['BLOCKED', 'PENDING', 'BLOCKED']);
  expect((await network.task(results[0]!.task_id!)).depends_on).toEqual([results[2]!.task_id, results[1]!.task_id]);
  expect(await workOff(network, 4)).toEqual(['outside', 'first', 'mid', 'last']);
});

test('a circle is refused with its path, and a ref that is there twice or not at all', async () => {
  const network = await startNetwork();
  const of = (ref: string, ...depends_on_refs: string[]) => ({ ...work, ref, depends_on_refs });
  await expect(submit(network, [of('a', 'b'), of('b', 'c'), of('c', 'b')])).rejects.toMatchObject({
    errors: [
      { pointer: '#/tasks/0/depends_on_refs', detail: 'waits for itself: "b" -> "c" -> "b"' },
      { pointer: '#/tasks/1/depends_on_refs', detail: 'waits for itself: "b" -> "c" -> "b"' },
      { pointer: '#/tasks/2/depends_on_refs', detail: 'waits for itself: "b" -> "c" -> "b"' },
    ],
  });
  await expect(submit(network, [of('a', 'a')])).rejects.toMatchObject({
    message: expect.stringContaining('waits for itself: "a" -> "a"'),
  });
  await expect(submit(network, [of('a'), of('a'), of('b', 'x')])).rejects.toMatchObject({
    errors: [
      { pointer: '#/tasks/1/ref', detail: '"a" is the ref of #/tasks/0 too' },
      { pointer: '#/tasks/2/depends_on_refs/0', detail: 'no task of this batch has the ref "x"' },
    ],
  });
});

test('unique keys hold within a batch and against what is open', async () => {
  const network = await startNetwork();
  const old = await network.submit({ ...work, unique_key: 'u' });
  const unique = { ...work, unique_key: 'u' };
  await expect(
    submit(network, [
      { ...work, unique_key: 'v' },
      { ...work, unique_key: 'v' },
    ]),
  ).rejects.toMatchObject({
    message: '1 of 2 tasks are refused, at 1: #/tasks/1/unique_key #/tasks/0 of this batch has the unique key "v"',
  });
  const { results } = await submit(network, [
    { ...unique, unique_policy: 'replace', ref: 'new' },
    { ...unique, unique_policy: 'keep', ref: 'same' },
    { ...work, depends_on_refs: ['same'] },
  ]);
  expect((await network.task(old)).status).toBe('CANCELLED');
  expect(results[1]!.task_id).toBe(results[0]!.task_id);
  expect((await network.task(results[2]!.task_id!)).depends_on).toEqual([results[0]!.task_id]);
  await workOff(network, 2);
  await network.until(results[2]!.task_id!, 'COMPLETED');
});

test('a batch that replaces a thousand tasks does so at once, and of several that race one is left', async () => {
  const network = await startNetwork();
  const tasks: Tasks = some(1_000).map((task, n) => ({ ...task, unique_key: `u${n}`, unique_policy: 'replace' }));
  await submit(network, tasks);
  const asked = performance.now();
  await submit(network, tasks);
  // An eighth of a second on a quiet machine; one by one they took fifteen.
  expect(performance.now() - asked).toBeLessThan(4_000);
  await Promise.all([submit(network, tasks), submit(network, tasks), submit(network, tasks)]);
  const rows = await network.sql`select status, count(*)::int as n from task_state group by 1 order by 1`;
  expect(rows).toEqual([
    { status: 'CANCELLED', n: 4_000 },
    { status: 'PENDING', n: 1_000 },
  ]);
  const [audit] = await network.sql`
    select count(distinct subject_id)::int as n from audit_logs where action = 'task.cancel' and subject_id like 'task_%'`;
  expect(audit).toEqual({ n: 4_000 });
});

test('a concurrency key of a batch lets in as many as it says', async () => {
  const network = await startNetwork();
  await submit(
    network,
    some(5).map((task) => ({ ...task, concurrency_key: 'k', concurrency_limit: 2 })),
  );
  const agent = await network.rawAgent({ slots: 5 });
  await network.coordinator.tick();
  expect((await agent.poll({ slots: 5 })).runs.map(({ input_data }) => input_data)).toEqual([0, 1]);
});

test('the same request makes one batch, at whatever coordinator; another body under its key is refused', async () => {
  const network = await startNetwork();
  const peer = await startCoordinator({
    databaseUrl: network.databaseUrl,
    env: { MUSTER_ADMIN_KEY: network.adminKey },
  });
  onTestFinished(() => peer.stop());
  const clients = [network.admin, checkedClient({ url: peer.url, credential: network.adminKey })];
  const tasks: Tasks = [...some(20), { ...work, unique_key: 'u' }, { ...work, priority: 0 }];
  const body = { tasks, atomic: false };
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) => clients[n % 2]!(createBatch, { body }, once('k'))),
  );
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  expect(await rowsOf(network)).toEqual({ tasks: 21, batches: 1, keys: 2 });
  await expect(network.admin(createBatch, { body: { tasks } }, once('k'))).rejects.toMatchObject({
    code: 'idempotency-mismatch',
  });
  await expect(network.admin(createTask, { body: work }, once('k'))).rejects.toMatchObject({
    code: 'idempotency-mismatch',
  });
});

test('a batch wakes the polls that wait, and hands its tasks to them', async () => {
  const network = await startNetwork();
  const agents = await Promise.all(Array.from({ length: 3 }, () => network.rawAgent({ slots: 4 })));
  const polls = agents.map((agent) => agent.poll({ slots: 4, wait_ms: 20_000 }));
  await eventually(() => network.sql`select 1 from presence having count(*) = 3`.then((rows) => rows.length === 1));
  const { results } = await submit(network, some(12));
  const runs = (await Promise.all(polls)).flatMap((poll) => poll.runs);
  const rest = (await Promise.all(agents.map((agent) => agent.poll({ slots: 4 })))).flatMap((poll) => poll.runs);
  expect([...runs, ...rest].map(({ task_id }) => task_id).sort()).toEqual(results.map(({ task_id }) => task_id));
  expect(runs.length).toBeGreaterThanOrEqual(3);
});

test('an owner’s batch is nobody else’s, and waits for nobody else’s tasks', async () => {
  const network = await startNetwork();
  const scopes = ['tasks:read', 'tasks:write'] as const;
  const [acme, rival] = [
    await makeKey(network, { owner: 'acme', scopes: [...scopes] }),
    await makeKey(network, { owner: 'rival', scopes: [...scopes] }),
  ];
  const { batch_id, results } = await acme.call(createBatch, { body: { tasks: some(2) } });
  for (const endpoint of [getBatch, listBatchResults, cancelBatch])
    await expect(rival.call(endpoint, { params: { batch_id } })).rejects.toMatchObject({ code: 'not-found' });
  expect((await rival.call(listTasks, { query: { batch_id } })).data).toEqual([]);
  await expect(
    rival.call(createBatch, { body: { tasks: [{ ...work, depends_on: [results[0]!.task_id!] }] } }),
  ).rejects.toMatchObject({ code: 'validation-failed' });
  expect(await acme.call(cancelBatch, { params: { batch_id } })).toMatchObject({ changed: 2 });
});

test('a batch is forgotten with its last task', async () => {
  const network = await startNetwork();
  const { batch_id, results } = await submit(network, [work, { ...work, capability_required: 'nobody' }]);
  await workOff(network, 1);
  const forget = async () => {
    await network.clock.advance('49h');
    return network.admin(cleanupRuns, { body: { older_than_days: 1 } });
  };
  expect(await forget()).toMatchObject({ tasks: 1 });
  expect(await network.admin(getBatch, { params: { batch_id } })).toMatchObject({
    created: 2,
    by_status: { PENDING: 1 },
  });
  expect((await network.admin(listBatchResults, { params: { batch_id } })).data).toMatchObject([{ index: 1 }]);
  await network.cancel(results[1]!.task_id!);
  expect(await forget()).toMatchObject({ tasks: 1 });
  await expect(network.admin(getBatch, { params: { batch_id } })).rejects.toMatchObject({ code: 'not-found' });
});

test('a batch may be four times as long as any other body, and no longer', async () => {
  const network = await startNetwork();
  const tasks = (length: number) => Array.from({ length: 100 }, () => ({ ...work, input_data: 'x'.repeat(length) }));
  expect(await submit(network, tasks(40_000))).toMatchObject({ created: 100 });
  await expect(submit(network, tasks(42_000))).rejects.toMatchObject({ code: 'payload-too-large' });
  await expect(submit(network, some(1_001))).rejects.toMatchObject({ code: 'validation-failed' });
  await expect(submit(network, [])).rejects.toMatchObject({ code: 'validation-failed' });
});
