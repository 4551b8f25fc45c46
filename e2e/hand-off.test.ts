import { expect, test } from 'vitest';
import { startNetwork } from './fixtures/network.ts';

const KINDS = Array.from({ length: 15 }, (_, n) => `kind-${n}`);

test('a task of a kind nobody has submitted before reaches the poll that asks at the same moment', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ capabilities: KINDS });
  for (const task_type of KINDS) {
    const asked = performance.now();
    const [{ runs }, task_id] = await Promise.all([
      agent.poll({ wait_ms: 10_000 }),
      network.submit({ task_type, input_data: null }),
    ]);
    expect(runs, task_type).toMatchObject([{ task_id, task_type }]);
    expect(performance.now() - asked, task_type).toBeLessThan(5_000);
    await agent.complete(runs[0]!);
  }
});
