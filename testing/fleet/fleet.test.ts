import { cancelTask } from '@muster/shared/contract/tasks';
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
      vanishing: { share: 0.1, vanish_rate: 0.3, return_ms: 100 },
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
    personas: { saboteur: { share: 0.5, labels: { side: 'wrong' } }, stubborn: { share: 0.5, speed_ms: 300 } },
  });
  await fleet.submit({ labels_required: { side: 'wrong' } });
  await fleet.drained();
  expect(fleet.tally.counts).toMatchObject({ completed: 1, wrong: 1 });
  await Promise.all([fleet.submit(), fleet.submit()]);
  await eventually(() => fleet.tally.counts.claimed === 3);
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
