import { listAgents } from '@muster/shared/contract/agents';
import { expect, test } from 'vitest';
import { networkAt, startAgentProcess, startNetwork, supervise } from './fixtures/network.ts';

test('six coordinators that start at once on one empty database all come up and are one network', async () => {
  const supervisor = supervise();
  const { url: databaseUrl } = await supervisor.postgres();
  const env = { DATABASE_URL: databaseUrl, MUSTER_ADMIN_KEY: 'one-key-for-all-six-coordinators' };
  const processes = supervisor.coordinators(2, { env });
  const started = Promise.all([1, 2, 3, 4].map(() => startNetwork({ databaseUrl, env })));
  const networks = [
    ...(await started),
    ...(await processes).map((coordinator) => networkAt(coordinator.url, coordinator.adminKey)),
  ];
  const ready = await Promise.all(networks.map(async ({ url }) => (await fetch(`${url}/readyz`)).status));
  expect(ready).toEqual([200, 200, 200, 200, 200, 200]);
  const task_id = await networks[0]!.submit({ task_type: 'echo', input_data: 'hello' });
  await startAgentProcess(supervisor, networks[5]!);
  for (const network of networks) {
    expect(await network.until(task_id, 'COMPLETED')).toMatchObject({ result_data: 'hello' });
    expect((await network.admin(listAgents, {})).data).toHaveLength(1);
  }
}, 90_000);
