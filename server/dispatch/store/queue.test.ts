import { openRows, type Rows } from '@muster/testing/rows';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readQueue } from './queue.ts';

let it: Rows;
beforeAll(async () => {
  it = await openRows();
});
afterAll(() => it.close());

const READY = 35_003;

test('of a long queue the counts are exact, and the rest is close, whatever its rhythm', async () => {
  const classId = await it.classOf('echo');
  // Ranks that alternate between two priorities, as two steady submitters make them.
  await it.sql`
    with made as (
      insert into tasks (task_id, class_id, owner, task_type, capability_required, input_data, priority, rank, timeout_seconds, max_retries, retry_policy,
        tags, metadata, run_at, created_at)
      select 'task_' || lpad(n::text, 26, '0'), ${classId}, 'admin', 'echo', 'echo', '{}', p, run_at - p * interval '5 minutes', 300, 3, 'fixed',
        '{}', '{}', run_at, run_at
      from (
        select n, case when n % 2 = 0 then 1 else 9 end as p, now - n * interval '10 ms' + (n % 2) * interval '40 minutes' - interval '1 hour' as run_at
        from generate_series(1, ${READY}::int) n, (select muster_now() as now) clock
      ) x returning class_id, rank, task_id
    )
    insert into ready (class_id, rank, task_id, replica, attempt, failures) select class_id, rank, task_id, 0, 0, 0 from made`;
  const [all, one] = await readQueue(it.sql, { owner: undefined, capability: undefined, limit: 10 });
  expect(all).toMatchObject({ ready: READY, estimated: true });
  expect(one).toMatchObject({ ...all, capability: 'echo', ages: expect.anything() });
  const { 1: low, 9: high, ...others } = all!.by_priority!;
  expect(low! + high!).toBe(READY);
  expect(Math.abs(low! - high!)).toBeLessThan(READY / 20);
  expect(Object.values(others).every((n) => n === 0)).toBe(true);
  for (const [n, share] of [0.5, 0.9, 0.99, 1].entries()) {
    const [exact] = await it.sql<{ share: number }[]>`
      select avg((extract(epoch from muster_now() - run_at) * 1000 <= ${all!.ages![n]!}::float8)::int)::float8 as share from tasks`;
    expect(Math.abs(exact!.share - share), `share ${share}`).toBeLessThan(0.02);
  }
});

test('what has ended is not looked at, however much there is of it', async () => {
  // Twice as much history as the queue above.
  await it.sql`
    insert into tasks (task_id, class_id, owner, task_type, capability_required, input_data, priority, rank, timeout_seconds, max_retries, retry_policy,
      tags, metadata, run_at, created_at, closed_status, closed_at)
    select 'task_9' || lpad(n::text, 25, '0'), 1, 'admin', 'echo', 'echo', '{}', 5, now, 300, 3, 'fixed', '{}', '{}', now, now, 'CANCELLED', now
    from generate_series(1, ${2 * READY}::int) n, (select muster_now() as now) clock`;
  await it.sql`analyze tasks, ready`;
  const seen: { text: string; parameters: unknown[] }[] = [];
  const watched = postgres(it.url, { max: 1, debug: (_, text, parameters) => seen.push({ text, parameters }) });
  await readQueue(watched, { owner: undefined, capability: undefined, limit: 10 });
  const { text, parameters } = seen.at(-1)!;
  const plan = await watched.unsafe(`explain ${text}`, parameters as never[]);
  await watched.end();
  const lines = plan.map((row) => String(row['QUERY PLAN'])).join('\n');
  expect(lines).toMatch(/Index Scan using tasks_pkey on tasks/);
  expect(lines).not.toMatch(/Seq Scan on (tasks|runs)/);
});
