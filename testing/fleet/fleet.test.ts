import { listAgents } from '@muster/shared/contract/agents';
import { cancelTask, getTask } from '@muster/shared/contract/tasks';
import { expect, onTestFinished, test } from 'vitest';
import { assertFindings } from '../checkers.ts';
import { startCoordinator } from '../coordinator.ts';
import { eventually } from '../eventually.ts';
import { type FleetOptions, startFleet } from './fleet.ts';
import { reportText } from './report.ts';

async function start(options: Omit<FleetOptions, 'coordinator'>) {
  const coordinator = await startCoordinator();
  onTestFinished(() => coordinator.stop());
  const fleet = await startFleet({ coordinator, ...options });
  onTestFinished(() => fleet.stop());
  return { coordinator, fleet };
}

test('a mixed fleet does all it is given, and what it saw keeps every promise', async () => {
  const { fleet } = await start({
    agents: 30,
    seed: 7,
    personas: {
      honest: { share: 0.5 },
      flaky: { share: 0.2, failure_rate: 0.3 },
      doubling: { share: 0.1 },
      vanishing: { share: 0.1, vanish_rate: 0.6, return_ms: 100 },
      skewed: { share: 0.1 },
    },
  });
  await fleet.load(
    [
      { seconds: 1, from: 0, to: 100 },
      { seconds: 1, tasks_per_second: 100 },
    ],
    {
      task: { max_retries: 20, retry_policy: 'fixed', retry_base_ms: 100 },
    },
  );
  await fleet.drained();
  const report = await fleet.report();
  assertFindings(report.promises, { minimum: 100 });
  expect(report).toMatchObject({ submitted: 150, lost: 0, doubled: 0 });
  const { completed, failed, replays, vanished, returned } = report.counts;
  expect(completed).toBe(150);
  for (const happened of [failed, replays, vanished, returned]) expect(happened).toBeGreaterThan(0);
  expect(report.times.end.count).toBe(150);
  expect(reportText(report)).toContain('150 tasks submitted');
});

test('wrong answers are counted, and who goes on with what is cancelled is refused', async () => {
  const { coordinator, fleet } = await start({
    agents: 2,
    personas: {
      saboteur: { share: 0.5, labels: { side: 'wrong' } },
      stubborn: { share: 0.5, labels: { side: 'stubborn' }, speed_ms: 2_000 },
    },
  });
  await fleet.submit({ labels_required: { side: 'wrong' } });
  await fleet.drained();
  expect(fleet.tally.counts).toMatchObject({ completed: 1, wrong: 1 });
  await fleet.submit({ labels_required: { side: 'stubborn' } });
  await eventually(() => fleet.tally.counts.claimed === 2);
  for (const task_id of await fleet.open()) {
    const cancel = () => coordinator.admin(cancelTask, { params: { task_id } });
    await fleet.history.call('test', 'cancel', { task_id }, cancel);
  }
  await eventually(() => fleet.tally.counts.terminal > 0);
  await fleet.drained();
  const { promises } = await fleet.report();
  expect(promises).toHaveLength(4);
  assertFindings(promises);
});

test('answers turn wrong after so many runs, for so many; each liar has a lie of its own, a ring one', async () => {
  const { coordinator, fleet } = await start({
    agents: 3,
    personas: {
      oscillator: { labels: { who: 'oscillator' }, good_runs: 2, bad_runs: 1 },
      sleeper: { labels: { who: 'sleeper' }, good_runs: 3 },
      ring: { labels: { who: 'ring' }, ring: 'always' },
    },
    answer: () => 'right',
  });
  const says = async (who: string): Promise<unknown> => {
    const task_id = await fleet.submit({ labels_required: { who } });
    await fleet.drained();
    const { result_data } = await coordinator.admin(getTask, { params: { task_id } });
    return (result_data as { says?: string }).says ?? result_data;
  };
  const inTurn = async (who: string, times: number) => {
    const said: unknown[] = [];
    for (let n = 0; n < times; n++) said.push(await says(who));
    return said;
  };
  const [R, O, S] = ['right', 'oscillator-0', 'sleeper-1'];
  expect(await inTurn('oscillator', 6)).toEqual([R, R, O, R, R, O]);
  expect(await inTurn('sleeper', 5)).toEqual([R, R, R, S, S]);
  expect(await says('ring')).toBe('the ring');
  const seen = fleet.members.map(({ name, answers, firstWrongAt }) => ({ name, answers, firstWrongAt }));
  expect(seen).toEqual([
    { name: O, answers: 6, firstWrongAt: 2 },
    { name: S, answers: 5, firstWrongAt: 3 },
    { name: 'ring-2', answers: 1, firstWrongAt: 0 },
  ]);
});

test('a closed load lets no more wait for their first answer than it is told, and the report knows what others check', async () => {
  const { fleet } = await start({ agents: 3, owners: 3 });
  await fleet.feed(9, { open: 2, task: { verification: { policy: 'always', comparator: { kind: 'json' } } } });
  await fleet.drained();
  let waiting = 0;
  const answered = new Set<string>();
  for (const { op, phase, call, value } of fleet.history.entries) {
    if (op === 'submit' && phase === 'invoke') waiting += 1;
    expect(waiting).toBeLessThanOrEqual(2);
    if (op !== 'result' || phase !== 'ok') continue;
    const asked = fleet.history.entries.find((it) => it.call === call)!.value as { task_id: string };
    if ((value as { applied: boolean }).applied && !answered.has(asked.task_id)) waiting -= 1;
    answered.add(asked.task_id);
  }
  expect(fleet.submitted()).toHaveLength(9);
  expect(fleet.tally.counts.completed).toBeGreaterThanOrEqual(18);
  assertFindings((await fleet.report()).promises, { minimum: 9 });
});

test('its agents have as many owners as it is told', async () => {
  const { coordinator } = await start({ agents: 5, owners: 3 });
  const { data } = await coordinator.admin(listAgents, { query: {} });
  expect(data.map(({ owner }) => owner).sort()).toEqual(['fleet-0', 'fleet-0', 'fleet-1', 'fleet-1', 'fleet-2']);
});

test('the same seed casts and behaves alike', async () => {
  const claims = async () => {
    const { fleet } = await start({ agents: 1, seed: 3, personas: { flaky: { failure_rate: 0.5 } } });
    for (let n = 0; n < 10; n++) {
      await fleet.submit({ max_retries: 0, input_data: { n } });
      await fleet.drained();
    }
    const statuses = fleet.history.entries.flatMap(({ op, phase, value }) =>
      op === 'result' && phase === 'invoke' ? [(value as { outcome: string }).outcome] : [],
    );
    await fleet.stop();
    return statuses;
  };
  const [first, second] = [await claims(), await claims()];
  expect(second).toEqual(first);
  expect(new Set(first).size).toBe(2);
});
