import { createSchedule, listExecutions } from '@muster/shared/contract/schedules';
import { assertFindings, eventually, startCoordinator, startFleet } from '@muster/testing';
import { expect, test } from 'vitest';

test('a month of nightly reports, with an agent that dies in the middle', async () => {
  await using coordinator = await startCoordinator();
  const { admin, clock } = coordinator;
  await using fleet = await startFleet({
    coordinator,
    agents: 50,
    seed: 7,
    capability: 'report',
    personas: {
      honest: { share: 0.88 },
      flaky: { share: 0.1, failure_rate: 0.5 },
      // One agent is gone without a word when it gets its first task.
      mortal: { share: 0.02, vanish_rate: 1 },
    },
  });
  const settings = { task_type: 'report', overlap: 'ALLOW_ALL', max_retries: 10, retry_policy: 'fixed' } as const;
  const { schedule_id } = await admin(createSchedule, {
    body: {
      ...settings,
      input_data: { night: '{{scheduled_at}}' },
      cron_expression: '0 3 * * *',
      timezone: 'Europe/Berlin',
    },
  });
  const nights = async () => (await admin(listExecutions, { params: { schedule_id }, query: { limit: 100 } })).data;
  const allDone = async () => (await nights()).every(({ task_status }) => task_status === 'COMPLETED');

  // Fifteen nights pass. Agents are taken to have beaten all the while; each night fires when it is due.
  await clock.advance('15d', { schedules: 'kept' });

  // A busy second, in which the one gets its task. What it had is taken back when it was not heard of for a lease time.
  await fleet.load([{ seconds: 1, tasks_per_second: 100 }]);
  await eventually(() => fleet.tally.counts.vanished === 1);
  await clock.advance('31s', { beats: 'missed' });
  await clock.runUntil(allDone, { step: '2s', atMost: '10m' });
  await fleet.drained();

  await clock.advance('15d', { schedules: 'kept' });
  await clock.runUntil(allDone, { step: '2s', atMost: '10m' });

  const fired = await nights();
  expect(fired).toHaveLength(30);
  expect(fired.every(({ status, lateness_ms }) => status === 'FIRED' && lateness_ms! < 5_000)).toBe(true);
  const { submitted, lost, doubled, promises } = await fleet.report();
  expect({ submitted, lost, doubled }).toEqual({ submitted: 100, lost: 0, doubled: 0 });
  assertFindings(promises, { minimum: 100 });
}, 60_000);
