import { setTimeout as pause } from 'node:timers/promises';
import { createSchedule, deleteSchedule, listExecutions } from '@muster/shared/contract/schedules';
import { getTrust } from '@muster/shared/contract/trust';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { holdSweeps } from './fixtures/held-tables.ts';
import { inParallel, type Network, networkAt, startNetwork, startSdkAgent, supervise } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

/** By then a poll that found nothing waits. */
const PARKED_MS = 30;

async function startTwo() {
  const one = await startNetwork();
  const other = await startNetwork({ databaseUrl: one.databaseUrl, env: { MUSTER_ADMIN_KEY: one.adminKey } });
  return [one, other] as const;
}

test('what is submitted at one coordinator is executed by an agent that knows only the other', async () => {
  const [one, other] = await startTwo();
  // Its token was bought at the one, too: they trust each other's signatures.
  const enrollment_token = await one.enrol();
  const agent = await startSdkAgent(other, {
    enrollment_token,
    slots: 4,
    handlers: { double: ({ input_data }) => (input_data as number) * 2 },
  });
  const numbers = Array.from({ length: 50 }, (_, n) => n);
  const ids = await inParallel(numbers, 5, (n) => one.submit({ task_type: 'double', input_data: n }));
  await inParallel(ids, 5, async (task_id, n) => {
    expect(await one.until(task_id, 'COMPLETED')).toMatchObject({ result_data: n * 2, attempt: 1 });
  });
  expect(await other.task(ids[7]!)).toEqual(await one.task(ids[7]!));
  const trust = await one.admin(getTrust, { params: { agent_id: agent.agentId! } });
  expect(trust.capabilities).toMatchObject([{ capability: 'double', completed: 50 }]);
});

test('a poll that waits at one coordinator is woken by a submit and by a cancel at the other', async () => {
  const [one, other] = await startTwo();
  const agent = await other.rawAgent({ slots: 2 });
  const asked = performance.now();
  const waiting = agent.poll({ wait_ms: 25_000 });
  await eventually(() => performance.now() - asked > 1_500, { timeoutMs: 5_000 });
  const task_id = await one.submit({ task_type: 'work', input_data: null });
  const { runs } = await waiting;
  expect(runs).toMatchObject([{ task_id }]);
  const again = agent.poll({ wait_ms: 25_000, holding: [runs[0]!.run_id] });
  await one.cancel(task_id);
  // By its next beat at the latest; sooner where it waits.
  const told = await Promise.race([
    again.then(({ cancel }) => cancel),
    eventually(async () => {
      const beat = await agent.beat({ runs: runs.map(({ run_id, fence }) => ({ run_id, fence })) });
      return beat.cancel.length > 0 && beat.cancel;
    }),
  ]);
  expect(told).toEqual([runs[0]!.run_id]);
  expect(performance.now() - asked).toBeLessThan(15_000);
});

test('a submit at one coordinator wakes a poll that waits at the other, and when one dies the other goes on', async () => {
  const supervisor = supervise();
  const processes = await supervisor.coordinators(2);
  const [one, other] = processes.map(({ url, adminKey }) => networkAt(url, adminKey)) as [Network, Network];
  const agent = await RawAgent.register(
    { url: other.url },
    { capabilities: ['work'], enrollment_token: await one.enrol() },
  );
  const wake = async (from: Network) => {
    const waiting = agent.poll({ wait_ms: 25_000 });
    await pause(PARKED_MS);
    const submitted = performance.now();
    // What counts is the time to the agent, not that to the submitter.
    const task_id = from.submit({ task_type: 'work', input_data: null });
    const { runs } = await waiting;
    const took = performance.now() - submitted;
    expect(runs).toMatchObject([{ task_id: await task_id }]);
    await agent.poll({
      slots: 0,
      wait_ms: 0,
      results: runs.map(({ run_id, fence }) => ({ run_id, fence, outcome: 'COMPLETED' as const })),
    });
    return took;
  };
  // One tells the other nothing before it knows of it, which takes a second.
  expect(await wake(one)).toBeLessThan(5_000);
  const release = await holdSweeps(processes[0]!.databaseUrl!);
  const took: number[] = [];
  for (let n = 0; n < 100; n += 1) took.push(await wake(one));
  await release();
  took.sort((a, b) => a - b);
  // 50 ms are promised, at the 99th percentile of a quiet machine; on a busy one most are on time.
  expect(took[50], `${took}`).toBeLessThan(150);
  processes[0]!.kill();
  expect(await wake(other)).toBeLessThan(5_000);
});

test('a schedule of every second fires once a second while two coordinators run', async () => {
  const [one, other] = await startTwo();
  const { schedule_id } = await one.admin(createSchedule, {
    body: { task_type: 'tick', input_data: null, cron_expression: '* * * * * *', overlap: 'ALLOW_ALL' },
  });
  // What is due when it is deleted, and has not fired, is SKIPPED.
  const fired = () => other.admin(listExecutions, { params: { schedule_id }, query: { limit: 200, status: 'FIRED' } });
  await eventually(async () => expect((await fired()).data.length).toBeGreaterThanOrEqual(5), { timeoutMs: 15_000 });
  await other.admin(deleteSchedule, { params: { schedule_id } });
  const { data } = await fired();
  const times = data.map(({ scheduled_at }) => Date.parse(scheduled_at)).reverse();
  // Ascending by whole seconds: a due time that was late may be skipped, none comes twice.
  expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
  expect(times.every((at) => at % 1_000 === 0)).toBe(true);
  expect(data.every(({ task_id }) => task_id !== null)).toBe(true);
  const [tasks] =
    await one.sql`select count(*)::int as n, count(distinct run_at)::int as times from tasks where schedule_id = ${schedule_id}`;
  expect(tasks).toEqual({ n: data.length, times: data.length });
});

test('due times that both coordinators see in the same moment fire once each', async () => {
  const [one, other] = await startTwo();
  const body = { task_type: 'tick', input_data: null, cron_expression: '* * * * *', overlap: 'ALLOW_ALL' as const };
  const ids = await inParallel(Array.from({ length: 10 }), 5, async () => {
    return (await one.admin(createSchedule, { body })).schedule_id;
  });
  // Both run their loops after each step, at the same time.
  for (let minutes = 0; minutes < 12; minutes += 1) await one.clock.advance('60s');
  for (const schedule_id of ids) {
    const { data } = await other.admin(listExecutions, { params: { schedule_id } });
    // Real time passes too, perhaps into one minute more.
    expect(data.length).toBeGreaterThanOrEqual(12);
    expect(data.length).toBeLessThanOrEqual(13);
    const times = data.map(({ scheduled_at }) => Date.parse(scheduled_at)).reverse();
    expect(times).toEqual(times.map((_, n) => times[0]! + n * 60_000));
    expect(new Set(data.map(({ task_id }) => task_id)).size).toBe(data.length);
  }
});
