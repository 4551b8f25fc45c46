import { retryTask } from '@muster/shared/contract/tasks';
import { startCoordinator } from '@muster/testing';
import { expect, onTestFinished, test } from 'vitest';
import { networkAt, startNetwork } from './fixtures/network.ts';

const work = { task_type: 'work', input_data: null };
const keyed = { ...work, concurrency_key: 'db', concurrency_limit: 2 };

test('of the tasks that share a key only so many are under way, the most urgent first', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 10 });
  const ids: string[] = [];
  for (let n = 0; n < 3; n += 1) ids.push(await network.submit(keyed));
  const urgent = await network.submit({ ...keyed, priority: 10 });
  const free = await network.submit(work);
  const first = await agent.poll({ slots: 10 });
  expect(first.runs.map((run) => run.task_id).sort()).toEqual([ids[0]!, ids[1]!, free].sort());
  expect((await network.task(urgent)).status).toBe('PENDING');
  const [run] = first.runs.filter((it) => it.task_id === ids[0]);
  const waiting = agent.poll({ slots: 10, wait_ms: 5_000 });
  await agent.complete(run!);
  // Room is filled at once.
  expect((await waiting).runs.map((it) => it.task_id)).toEqual([urgent]);
  expect((await agent.poll({ slots: 10 })).runs).toEqual([]);
  // What was said last holds.
  await network.submit({ ...keyed, concurrency_limit: 5 });
  expect((await agent.poll({ slots: 10 })).runs).toHaveLength(2);
});

test('a task holds its place until it has ended: through retries, and until a cancelled run is gone', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 10 });
  const one = { ...keyed, concurrency_limit: 1, retry_base_ms: 60_000, retry_jitter: false };
  const [first, second] = [await network.submit(one), await network.submit(one)];
  await agent.fail(await agent.take());
  expect((await agent.poll({ slots: 10 })).runs).toEqual([]);
  await network.clock.advance('61s');
  await agent.assert();
  const again = await agent.take();
  expect(again.task_id).toBe(first);
  await network.cancel(first);
  expect((await agent.poll({ slots: 10 })).runs).toEqual([]);
  await agent.report(again, { outcome: 'CANCELLED' });
  expect((await agent.take()).task_id).toBe(second);
  // One that waits for room is cancelled where it waits, and takes none when it is begun anew.
  const third = await network.submit(one);
  await network.cancel(third);
  expect(await network.admin(retryTask, { params: { task_id: third } })).toMatchObject({ status: 'PENDING' });
  expect((await agent.poll({ slots: 10 })).runs).toEqual([]);
});

test('the limit holds with two coordinators, many agents and everything going on', async () => {
  const network = await startNetwork();
  const peer = await startCoordinator({
    databaseUrl: network.databaseUrl,
    env: { MUSTER_ADMIN_KEY: network.adminKey },
  });
  onTestFinished(() => peer.stop());
  const both = [network, networkAt(peer.url, network.adminKey)];
  const agents = await Promise.all(
    Array.from({ length: 6 }, (_, n) => network.rawAgent({ slots: 4 }, n % 2 ? peer.url : network.url)),
  );
  const total = 90;
  const underWay = new Map<string, number>();
  let most = 0;
  let done = 0;
  const submitted = Promise.all(
    Array.from({ length: total }, (_, n) =>
      both[n % 2]!.submit({ ...work, concurrency_key: `k${n % 3}`, concurrency_limit: 3, max_retries: 0 }),
    ),
  );
  const keyOf = async (task_id: string) => (await network.task(task_id)).concurrency_key!;
  const act = async (agent: (typeof agents)[number]) => {
    while (done < total) {
      const { runs } = await agent.poll({ slots: 4, wait_ms: 200 });
      await Promise.all(
        runs.map(async (run) => {
          const key = await keyOf(run.task_id);
          underWay.set(key, (underWay.get(key) ?? 0) + 1);
          most = Math.max(most, underWay.get(key)!);
          underWay.set(key, underWay.get(key)! - 1);
          await (run.fence % 5 ? agent.complete(run) : agent.fail(run));
          done += 1;
        }),
      );
      const [{ over }] = await network.sql<[{ over: number }]>`
        select count(*)::int as over from (
          select t.concurrency_key from leases l join tasks t using (task_id) group by 1 having count(*) > 3) it`;
      expect(over).toBe(0);
    }
  };
  await Promise.all([submitted, ...agents.map(act)]);
  expect(done).toBe(total);
  const rows = await network.sql<{ held: number }[]>`select held from concurrency_limits`;
  expect(rows.map((row) => row.held)).toEqual([0, 0, 0]);
}, 60_000);
