import { createBatch } from '@muster/shared/contract/batches';
import { createSchedule, listExecutions, pauseSchedule } from '@muster/shared/contract/schedules';
import { expect, test } from 'vitest';
import { startNetwork } from '../fixtures/network.ts';
import { tableHashes } from '../fixtures/tables.ts';

const work = { task_type: 'work', input_data: null };

test('what cannot be told does not happen: where the outbox takes no event, nothing else changes', async () => {
  // What is refused on purpose is not worth a log.
  const network = await startNetwork({ env: { MUSTER_LOG_LEVEL: 'fatal' } });
  const { admin, sql } = network;
  const agent = await network.rawAgent({ slots: 6 });
  const silent = await network.rawAgent({ slots: 1, capabilities: ['slow'] });
  const slow = await network.submit({ ...work, task_type: 'slow' });
  await silent.take();
  for (let n = 0; n < 6; n += 1) await network.submit(work);
  const { runs } = await agent.poll({ slots: 6 });
  const { schedule_id } = await admin(createSchedule, { body: { ...work, cron_expression: '* * * * *' } });
  const [waiting, late] = [
    await network.submit({ ...work, task_type: 'nobody' }),
    await network.submit({ ...work, run_at: '2999-01-01T00:00:00Z' }),
  ];
  const done = (n: number) => ({ run_id: runs[n]!.run_id, fence: runs[n]!.fence, outcome: 'COMPLETED' as const });

  const acts: Record<string, () => Promise<unknown>> = {
    'a submit': () => network.submit(work),
    'a batch': () => admin(createBatch, { body: { tasks: [work, work] } }),
    'a result': () => agent.complete(runs[0]!),
    'results of a poll': () => agent.poll({ slots: 0, results: [done(1), done(2)] }),
    'a failure': () => agent.fail(runs[3]!),
    'a cancel of a run': () => network.cancel(runs[4]!.task_id),
    'a cancel of what waits': () => network.cancel(waiting),
    'a cancel of what is delayed': () => network.cancel(late),
    'a schedule': () => admin(createSchedule, { body: { ...work, cron_expression: '0 3 * * *' } }),
    // Before the pause, after which nothing is due.
    'a look of the reaper and a tick': () => network.coordinator.tick(),
    'a pause': () => admin(pauseSchedule, { params: { schedule_id }, body: {} }),
    'a new life': () => agent.assert(`boot_${'0'.repeat(26)}`),
    'a departure': () => agent.leave(),
  };
  // The beats of the silent agent end, and a due time comes; the loops see it when the outbox is closed.
  await sql.unsafe(`
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no more events' using errcode = '57P01'; end $$;
    create trigger refuse before insert on events for each row execute function refuse()`);
  await sql`update presence set lease_expires_at = lease_expires_at - interval '1 day' where agent_id = ${silent.agentId}`;
  await sql`update schedules set next_run_at = next_run_at - interval '5 minutes'`;
  const before = await tableHashes(sql);
  for (const [what, act] of Object.entries(acts)) {
    await expect(act(), what).rejects.toThrow();
    expect(await tableHashes(sql), what).toEqual(before);
  }
  await sql`drop function refuse cascade`;
  for (const [what, act] of Object.entries(acts)) await expect(act(), what).resolves.not.toThrow();
  expect(await network.task(slow)).toMatchObject({ status: 'PENDING', runs: [{ status: 'LOST' }] });
  const { data } = await admin(listExecutions, { params: { schedule_id } });
  expect(data.map(({ status }) => status)).toContain('MISSED');
});
