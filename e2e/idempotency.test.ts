import { createTask, listTasks, retryTask } from '@muster/shared/contract/tasks';
import { startCoordinator } from '@muster/testing';
import { expect, onTestFinished, test } from 'vitest';
import { checkedClient } from './fixtures/checked-client.ts';
import { makeKey } from './fixtures/keys.ts';
import { inParallel, startNetwork } from './fixtures/network.ts';

const work = { task_type: 'work', input_data: { n: 1 } };
const once = (key: string) => ({ headers: { 'idempotency-key': key } });

test('the same request makes one task, however often and wherever it is sent', async () => {
  const network = await startNetwork();
  const peer = await startCoordinator({
    databaseUrl: network.databaseUrl,
    env: { MUSTER_ADMIN_KEY: network.adminKey },
  });
  onTestFinished(() => peer.stop());
  const clients = [network.admin, checkedClient({ url: peer.url, credential: network.adminKey })];
  const keys = Array.from({ length: 40 }, (_, n) => `key-${n}`);
  const sends = keys.flatMap((key) => Array.from({ length: 10 }, () => key));
  const made = await inParallel(sends, 64, async (key, n) => {
    const { task_id } = await clients[n % 2]!(createTask, { body: { ...work, client_id: key } }, once(key));
    return [key, task_id] as const;
  });
  for (const key of keys) expect(new Set(made.filter(([it]) => it === key).map(([, id]) => id)).size).toBe(1);
  expect((await network.admin(listTasks, { query: { limit: 200 } })).data).toHaveLength(keys.length);
});

test('another body under the same key is refused; another owner’s key is another key', async () => {
  const network = await startNetwork();
  const { task_id } = await network.admin(createTask, { body: work }, once('k'));
  await expect(network.admin(createTask, { body: { ...work, priority: 6 } }, once('k'))).rejects.toMatchObject({
    code: 'idempotency-mismatch',
  });
  const acme = await makeKey(network, { owner: 'acme', scopes: ['tasks:write'] });
  expect((await acme.call(createTask, { body: { ...work, priority: 6 } }, once('k'))).task_id).not.toBe(task_id);
  for (const key of ['two words', 'x'.repeat(256)])
    await expect(network.admin(createTask, { body: work }, once(key))).rejects.toMatchObject({
      code: 'validation-failed',
    });
});

test('a request is remembered for a day', async () => {
  const network = await startNetwork();
  const { task_id } = await network.admin(createTask, { body: work }, once('k'));
  await network.clock.advance('23h');
  expect((await network.admin(createTask, { body: work }, once('k'))).task_id).toBe(task_id);
  await network.clock.advance('61m');
  expect((await network.admin(createTask, { body: work }, once('k'))).task_id).not.toBe(task_id);
});

test('of the tasks that share a unique key one is open at a time', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const unique = { ...work, unique_key: 'nightly' };
  const first = await network.submit(unique);
  await expect(network.submit(unique)).rejects.toMatchObject({
    code: 'conflict',
    message: `task ${first} has the unique key "nightly"`,
  });
  expect(await network.submit({ ...unique, unique_policy: 'keep' })).toBe(first);
  const second = await network.submit({ ...unique, unique_policy: 'replace' });
  expect((await network.task(first)).status).toBe('CANCELLED');
  const run = await agent.take();
  expect(run.task_id).toBe(second);
  await expect(network.submit(unique)).rejects.toMatchObject({ code: 'conflict' });
  await agent.complete(run);
  const third = await network.submit(unique);
  // The key of a task that ended is free; somebody who begins it anew needs it again.
  await network.cancel(third);
  const fourth = await network.submit(unique);
  await expect(network.admin(retryTask, { params: { task_id: third } })).rejects.toMatchObject({ code: 'conflict' });
  expect((await network.task(fourth)).status).toBe('PENDING');
  const acme = await makeKey(network, { owner: 'acme', scopes: ['tasks:write'] });
  await acme.call(createTask, { body: unique });
});

test('of a hundred that race for a unique key one gets it', async () => {
  const network = await startNetwork();
  const tries = await Promise.allSettled(
    Array.from({ length: 100 }, () => network.submit({ ...work, unique_key: 'only' })),
  );
  expect(tries.filter((it) => it.status === 'fulfilled')).toHaveLength(1);
  const kept = await Promise.all(
    Array.from({ length: 50 }, () => network.submit({ ...work, unique_key: 'only', unique_policy: 'keep' })),
  );
  expect(new Set(kept).size).toBe(1);
});

test('a request that counts once and found its unique key taken stands for what it was answered', async () => {
  const network = await startNetwork();
  const first = await network.submit({ ...work, unique_key: 'u' });
  const keep = { ...work, unique_key: 'u', unique_policy: 'keep' as const };
  expect((await network.admin(createTask, { body: keep }, once('a'))).task_id).toBe(first);
  const reject = { ...work, unique_key: 'u' };
  await expect(network.admin(createTask, { body: reject }, once('b'))).rejects.toMatchObject({ code: 'conflict' });
  await network.cancel(first);
  expect((await network.admin(createTask, { body: keep }, once('a'))).task_id).toBe(first);
  const { task_id } = await network.admin(createTask, { body: reject }, once('b'));
  expect((await network.admin(createTask, { body: reject }, once('b'))).task_id).toBe(task_id);
});

test('a request whose coordinator died between finding its unique key taken and saying so can be made again', async () => {
  const network = await startNetwork();
  const body = { ...work, unique_key: 'u' };
  const { task_id } = await network.admin(createTask, { body }, once('a'));
  // What is left then: a request that is remembered, and no task.
  await network.sql`
    with task as (delete from tasks where task_id = ${task_id}), ready as (delete from ready where task_id = ${task_id})
    delete from unique_keys where task_id = ${task_id}`;
  const again = await network.admin(createTask, { body }, once('a'));
  expect(again.task_id).not.toBe(task_id);
  expect((await network.admin(createTask, { body }, once('a'))).task_id).toBe(again.task_id);
});

test('of many that replace each other at two coordinators one is left, and everybody is answered', async () => {
  const network = await startNetwork();
  const peer = await startCoordinator({
    databaseUrl: network.databaseUrl,
    env: { MUSTER_ADMIN_KEY: network.adminKey },
  });
  onTestFinished(() => peer.stop());
  const clients = [network.admin, checkedClient({ url: peer.url, credential: network.adminKey })];
  const body = { ...work, unique_key: 'u', unique_policy: 'replace' as const };
  await Promise.all(Array.from({ length: 60 }, (_, n) => clients[n % 2]!(createTask, { body })));
  const { data } = await network.admin(listTasks, { query: { limit: 200 } });
  expect(data.filter((task) => task.status === 'PENDING')).toHaveLength(1);
  expect(data.filter((task) => task.status === 'CANCELLED')).toHaveLength(59);
});
