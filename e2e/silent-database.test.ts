import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { createDatabase, startCoordinator } from '@muster/testing';
import { expect, onTestFinished, test } from 'vitest';
import { networkAt } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

/** Far from a lease, in milliseconds, and less than it takes to find out about two dead connections one after the other. */
const SOON_MS = 12_000;

/** A way to a database that can forget the connections of the moment, as a firewall does: nothing passes, nobody is told. */
async function startFirewall(databaseUrl: string) {
  const target = new URL(databaseUrl);
  const pairs = new Set<[near: Socket, far: Socket]>();
  let swallows = false;
  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname);
    const pair: [Socket, Socket] = [near, far];
    pairs.add(pair);
    for (const socket of pair) socket.on('error', () => {}).on('close', () => pair.forEach((it) => void it.destroy()));
    near.on('close', () => pairs.delete(pair));
    near.pipe(far);
    far.pipe(near);
    if (swallows) forget(pair);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const forget = ([near, far]: [Socket, Socket]) => {
    near.unpipe(far);
    far.unpipe(near);
    near.pause();
    far.removeAllListeners('close').destroy();
  };
  return {
    url: url.href,
    forgetAll: () => pairs.forEach(forget),
    swallowAll() {
      swallows = true;
      pairs.forEach(forget);
    },
    async stop() {
      for (const [near, far] of pairs) for (const socket of [near, far]) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function startBehindFirewall() {
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  const firewall = await startFirewall(database.url);
  onTestFinished(() => firewall.stop());
  const coordinator = await startCoordinator({ databaseUrl: firewall.url, env: { MUSTER_LOG_LEVEL: 'silent' } });
  const network = networkAt(coordinator.url, coordinator.adminKey);
  const agent = await RawAgent.register(
    { url: coordinator.url },
    { enrollment_token: await network.enrol(), capabilities: ['work'], slots: 2 },
  );
  await network.submit({ task_type: 'work', input_data: null });
  const run = await agent.take();
  return { firewall, coordinator, network, agent, run };
}

const timed = async <T>(work: Promise<T>) => {
  const since = performance.now();
  const [{ status, ...rest }] = await Promise.allSettled([work]);
  return { status, ...rest, ms: performance.now() - since };
};

test('when the database connections there are go silent, agents are heard again long before their leases end', async () => {
  const { firewall, coordinator, network, agent, run } = await startBehindFirewall();
  onTestFinished(async () => {
    // What is still silent need not be waited for once more.
    await firewall.stop();
    await coordinator.stop();
  });
  // Several connections have been used, and wait: beats alone may be one batch on one, which a loop may have when it goes silent.
  await Promise.all(
    Array.from({ length: 40 }, () => [agent.beat(), network.submit({ task_type: 'other', input_data: null })]).flat(),
  );
  firewall.forgetAll();
  const since = performance.now();
  const first = await timed(agent.beat());
  expect(first.status === 'rejected' ? first : undefined).toMatchObject({ reason: { code: 'storage-unavailable' } });
  // Whoever asks again meets no second dead connection.
  const { lost } = await agent.beat({ runs: [{ run_id: run.run_id, fence: run.fence }] });
  expect((await agent.poll({ holding: [run.run_id] })).runs).toEqual([]);
  expect(lost).toEqual([]);
  expect(await agent.complete(run)).toEqual({ applied: true, task_status: 'COMPLETED' });
  expect(performance.now() - since).toBeLessThan(SOON_MS);
});

test('with a database that swallows everything a coordinator says that it is not ready, and stops all the same', async () => {
  const { firewall, coordinator } = await startBehindFirewall();
  firewall.swallowAll();
  const ready = await fetch(`${coordinator.url}/readyz`);
  expect([ready.status, await ready.json()]).toMatchObject([503, { code: 'storage-unavailable' }]);
  const took = (await timed(coordinator.stop())).ms;
  expect(took).toBeLessThan(20_000);
});
