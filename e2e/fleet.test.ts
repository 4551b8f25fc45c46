import { setTimeout as pause } from 'node:timers/promises';
import { listAgents } from '@muster/shared/contract/agents';
import { eventually, startHttpProxy } from '@muster/testing';
import { expect, onTestFinished, test } from 'vitest';
import { inParallel, startNetwork, startSdkAgent, type TestNetwork } from './fixtures/network.ts';

const AGENTS = 20;
const SLOTS = 4;

/** A fleet at some address, and how often it ran each task. */
async function startFleet(network: TestNetwork, url = network.url) {
  const executions = new Map<string, number>();
  const busiest = { now: 0, ever: 0 };
  const enrollment_token = await network.enrol({ max_uses: AGENTS });
  const agents = await inParallel(Array.from({ length: AGENTS }), 5, (_, n) =>
    startSdkAgent(network, {
      url,
      enrollment_token,
      display_name: `agent ${n}`,
      slots: SLOTS,
      handlers: {
        double: async ({ input_data, run }) => {
          executions.set(run.task_id, (executions.get(run.task_id) ?? 0) + 1);
          busiest.now += 1;
          busiest.ever = Math.max(busiest.ever, busiest.now);
          await pause(5);
          busiest.now -= 1;
          return (input_data as number) * 2;
        },
      },
    }),
  );
  return { agents, executions, busiest };
}

async function submitAll(network: TestNetwork, count: number): Promise<Map<string, number>> {
  const numbers = Array.from({ length: count }, (_, n) => n);
  const ids = await inParallel(numbers, 50, (n) => network.submit({ task_type: 'double', input_data: n }));
  return new Map(ids.map((id, n) => [id, n]));
}

/** Every task completed once with its own result, by one run; nobody holds anything. */
async function expectAllDoneOnce(network: TestNetwork, tasks: Map<string, number>, executions: Map<string, number>) {
  const { sql } = network;
  await eventually(
    async () => {
      const [open] = await sql`select count(*)::int as n from task_state where status <> 'COMPLETED'`;
      expect(open).toEqual({ n: 0 });
    },
    { timeoutMs: 60_000, everyMs: 200 },
  );
  const rows = await sql<{ task_id: string; result: number; runs: number }[]>`
    select task_id, max(result_data::text::int) as result, count(*)::int as runs from runs group by task_id`;
  expect(rows.filter(({ task_id, result, runs }) => runs !== 1 || result !== tasks.get(task_id)! * 2)).toEqual([]);
  expect(new Set(rows.map(({ task_id }) => task_id))).toEqual(new Set(tasks.keys()));
  expect([...executions.entries()].filter(([, n]) => n !== 1)).toEqual([]);
  expect(executions.size).toBe(tasks.size);
  await eventually(async () => {
    const { data } = await network.admin(listAgents, { query: { limit: 200 } });
    expect(data.map(({ slots_used }) => slots_used)).toEqual(Array.from({ length: AGENTS }, () => 0));
  });
}

test('twenty agents do 2,000 tasks: none is lost, none is done twice, and all agents take part', async () => {
  const network = await startNetwork();
  const fleet = await startFleet(network);
  const tasks = await submitAll(network, 2_000);
  await expectAllDoneOnce(network, tasks, fleet.executions);
  const shares = await network.sql<{ n: number }[]>`select count(*)::int as n from runs group by agent_id`;
  expect(shares).toHaveLength(AGENTS);
  expect(fleet.busiest.ever).toBeLessThanOrEqual(AGENTS * SLOTS);
  // Any of them, as a caller sees it.
  const [task_id, n] = [...tasks.entries()][1_234]!;
  expect(await network.task(task_id)).toMatchObject({ status: 'COMPLETED', result_data: n * 2, attempt: 1 });
}, 120_000);

test('with a network that loses every fifth reply to a poll, still none is lost and none done twice', async () => {
  const network = await startNetwork();
  const proxy = await startHttpProxy(network.url);
  onTestFinished(() => proxy.stop());
  let polls = 0;
  proxy.judge(({ path }) => (path.endsWith('/poll') && ++polls % 5 === 0 ? 'lose' : 'pass'));
  const fleet = await startFleet(network, proxy.url);
  const tasks = await submitAll(network, 600);
  await expectAllDoneOnce(network, tasks, fleet.executions);
  expect(polls / 5).toBeGreaterThan(20);
}, 120_000);
