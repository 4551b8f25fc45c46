import { setTimeout as pause } from 'node:timers/promises';
import { getTrustHistory } from '@muster/shared/contract/trust';
import { eventually } from '@muster/testing';
import postgres from 'postgres';
import { expect, onTestFinished, test } from 'vitest';
import { inParallel, startProcessNetwork, startSdkAgent, supervise } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

test('a coordinator killed and restarted three times under load loses no task it acknowledged and applies none twice', async () => {
  const network = await startProcessNetwork(supervise());
  const executions = new Map<string, number>();
  const enrollment_token = await network.enrol();
  const agents = await inParallel(Array.from({ length: 6 }), 3, () =>
    startSdkAgent(network, {
      enrollment_token,
      slots: 4,
      handlers: {
        double: async ({ input_data, run }) => {
          executions.set(run.task_id, (executions.get(run.task_id) ?? 0) + 1);
          await pause(20);
          return (input_data as number) * 2;
        },
      },
    }),
  );

  const acknowledged = new Map<string, number>();
  let refused = 0;
  let going = true;
  const submitting = inParallel(Array.from({ length: 4 }), 4, async (_, lane) => {
    for (let n = lane; going; n += 4) {
      const id = await network.submit({ task_type: 'double', input_data: n }).catch(() => undefined);
      if (id) acknowledged.set(id, n);
      else refused += 1;
      await pause(id ? 10 : 50);
    }
  });
  for (let restarts = 1; restarts <= 3; restarts += 1) {
    const done = executions.size;
    await eventually(() => expect(executions.size).toBeGreaterThan(done + 40), { timeoutMs: 30_000 });
    await network.coordinator.restart('SIGKILL');
  }
  const done = executions.size;
  await eventually(() => expect(executions.size).toBeGreaterThan(done + 40), { timeoutMs: 30_000 });
  going = false;
  await submitting;

  expect(refused, 'submits that met a dead coordinator').toBeGreaterThan(0);
  await inParallel([...acknowledged.entries()], 10, async ([task_id, n]) => {
    const task = await network.until(task_id, 'COMPLETED', 40_000);
    expect(task).toMatchObject({ result_data: n * 2, attempt: 1, dead_letter: false });
    expect(task.runs.map(({ status }) => status)).toEqual(['COMPLETED']);
    expect(executions.get(task_id)).toBe(1);
  });
  expect(agents.map(({ agentId }) => agentId).every(Boolean)).toBe(true);
}, 120_000);

test('a coordinator killed between a claim and the decision, and again between the last answer and the decision, decides after it is back: each verdict once', async () => {
  const network = await startProcessNetwork(supervise());
  const agentOf = async (owner: string) =>
    RawAgent.register(
      { url: network.url },
      { capabilities: ['work'], slots: 8, enrollment_token: await network.enrol({ owner, serves: 'all' }) },
    );
  const [a, b] = [await agentOf('a'), await agentOf('b')];
  const verification = { policy: 'quorum', comparator: { kind: 'exact' } } as const;
  const tasks = await inParallel(Array.from({ length: 6 }), 3, () =>
    network.submit({ task_type: 'work', input_data: 1, verification }),
  );
  const takeAll = async (agent: RawAgent) => {
    const runs = [];
    while (runs.length < tasks.length) {
      const { runs: more } = await agent.poll({ slots: 8, wait_ms: 5_000, holding: runs.map(({ run_id }) => run_id) });
      runs.push(...more);
    }
    return runs;
  };
  const answerAll = (agent: RawAgent, runs: Awaited<ReturnType<typeof takeAll>>) =>
    inParallel(runs, 6, (run) => agent.complete(run, 'x'));
  const runs = await takeAll(a);
  await network.coordinator.restart('SIGKILL');
  await answerAll(a, runs);
  const checks = await takeAll(b);
  // Answers are heard, and none can be decided, until this lets go of the verdicts.
  const sql = postgres(network.coordinator.databaseUrl!, { max: 1, onnotice: () => {} });
  onTestFinished(() => sql.end());
  await sql.begin(async (hold) => {
    await hold`lock table verdicts in share row exclusive mode`;
    await answerAll(b, checks);
    network.coordinator.kill('SIGKILL');
    // What the dead one had begun comes to nothing.
    await hold`
      select pg_terminate_backend(pid) from pg_locks
      where relation = 'verdicts'::regclass and not granted and database = (select oid from pg_database where datname = current_database())`;
    expect(await hold`select from verdicts`).toHaveLength(0);
  });
  await network.coordinator.restart('SIGKILL');
  // Of those that agree some are judged by a third.
  const enrollment_token = await network.enrol({ owner: 'c', serves: 'all' });
  await startSdkAgent(network, { enrollment_token, handlers: { work: async () => 'x' } });
  for (const task_id of tasks)
    expect(await network.until(task_id, 'COMPLETED', 20_000)).toMatchObject({ result_data: 'x', finality: 'verified' });
  for (const { agentId: agent_id } of [a, b])
    await eventually(async () => {
      const { data } = await network.admin(getTrustHistory, { params: { agent_id }, query: { limit: 100 } });
      const found = data.filter(({ outcome }) => outcome === 'RIGHT');
      expect(found.map(({ task_id }) => task_id).sort()).toEqual([...tasks].sort());
    });
}, 60_000);
