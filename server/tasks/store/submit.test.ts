import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { insertTasks } from './submit.ts';

describe.each([18, 15] as const)('submitting on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  /** Where the tasks of a batch went, by position. */
  const placesOf = async (ids: string[]) => {
    const rows = await it.sql<{ task_id: string; place: string }[]>`
      select task_id, 'ready' as place from ready union all select task_id, 'delayed' from delayed
      union all select task_id, agent_id from leases`;
    const places = new Map(rows.map((row) => [row.task_id, row.place]));
    return ids.map((id) => places.get(id));
  };
  const insert = async (...seeds: Parameters<Rows['task']>[0][]) => {
    const tasks = await Promise.all(seeds.map((seed) => it.task(seed)));
    const inserted = await insertTasks(it.db.hot, tasks);
    const ids = tasks.map((task) => task.task_id);
    return { ...inserted, ids, places: await placesOf(ids) };
  };

  test('what is due is ready, what is not is delayed; every column arrives as it was given', async () => {
    const now = await it.clock.now();
    const later = new Date(now.getTime() + 60_000).toISOString();
    const earlier = new Date(now.getTime() - 60_000).toISOString();
    const tags = ['a"b', 'c\\d', 'e,f', '', 'NULL', 'Ünï'];
    const { ids, places, fences } = await insert(
      { tags, input_data: '{"a":[1,"x\\"y"]}', metadata: '{"m":1}', priority: 9, client_id: 'c', traceparent: '00-a' },
      { run_at: later, priority: 1, expires_at: later },
      { run_at: earlier },
    );
    expect(places).toEqual(['ready', 'delayed', 'ready']);
    expect(fences.size).toBe(0);
    const [row] =
      await it.sql`select *, extract(epoch from run_at - rank)::int as ahead from tasks where task_id = ${ids[0]!}`;
    expect(row).toMatchObject({
      tags,
      input_data: { a: [1, 'x"y'] },
      metadata: { m: 1 },
      priority: 9,
      ahead: 9 * 300,
      client_id: 'c',
      traceparent: '00-a',
      closed_status: null,
    });
    const [late] = await it.sql`select d.run_at, d.rank, e.expires_at from delayed d join expiring e using (task_id)`;
    expect(late!.run_at.toISOString()).toBe(later);
    expect(late!.rank.getTime()).toBe(Date.parse(later) - 300_000);
    expect(late!.expires_at.toISOString()).toBe(later);
    expect(await it.eventsOf(ids[1]!)).toEqual(['task.created']);
  });

  test('a plain task is the same row beside one that is like it, one that is another, and one that is not plain', async () => {
    const agent = await it.agent({ slots: 4 });
    const plain = {
      tags: ['a', 'b"'],
      metadata: '{"m":1}',
      client_id: 'c',
      traceparent: '00-a',
      max_retries: 7,
      priority: 2,
    };
    const alike = await insert({ ...plain, ...agent }, { ...plain, tags: [...plain.tags] });
    const differing = await insert({ ...plain, ...agent }, plain, { ...plain, tags: ['a', 'b'], priority: 9 });
    const beside = await insert({ ...plain, ...agent }, plain, { retry_cap_ms: 5_000 });
    expect(alike.places).toEqual([agent.agent_id, 'ready']);
    expect(differing.places).toEqual([agent.agent_id, 'ready', 'ready']);
    expect(beside.places).toEqual([agent.agent_id, 'ready', 'ready']);
    const rowsOf = ([handed, queued]: string[]) => it.sql`
      select to_jsonb(t) - '{task_id,rank,run_at,created_at}'::text[] as task, t.rank - t.run_at as ahead, t.run_at = t.created_at as due,
        l.attempt, l.timeout_seconds, l.capability, l.class_id, r.attempt as attempts, r.failures
      from tasks t left join leases l using (task_id) left join ready r using (task_id) where task_id = any(${[handed!, queued!]}) order by task_id`;
    const rows = await rowsOf(alike.ids);
    expect(rows).toHaveLength(2);
    expect(rows[0]!.task).toMatchObject({ ...plain, metadata: { m: 1 } });
    expect(await rowsOf(differing.ids)).toEqual(rows);
    expect(await rowsOf(beside.ids)).toEqual(rows);
    expect(await it.sql`select tags, priority from tasks where task_id = ${differing.ids[2]!}`).toEqual([
      { tags: ['a', 'b'], priority: 9 },
    ]);
    expect(await it.sql`select retry_cap_ms from tasks where task_id = ${beside.ids[2]!}`).toEqual([
      { retry_cap_ms: 5_000 },
    ]);
  });

  test('a task handed to a parked poll is leased in the same statement, with a fence and a slot', async () => {
    const agent = await it.agent({ slots: 2 });
    const { ids, places, fences } = await insert({ ...agent, timeout_seconds: 7 }, {});
    expect(places).toEqual([agent.agent_id, 'ready']);
    const [lease] = await it.sql`select * from leases`;
    expect(lease).toMatchObject({ attempt: 1, failures: 0, timeout_seconds: 7, capability: 'echo', started_at: null });
    expect(fences).toEqual(new Map([[0, Number(lease!.fence)]]));
    expect(await it.status(ids[0]!)).toBe('ASSIGNED');
    expect(await it.eventsOf(ids[0]!)).toEqual(['task.created', 'run.assigned']);
    expect((await it.sql`select slots_used from agents`)[0]!.slots_used).toBe(1);
  });

  test('a task that comes alone is leased or queued, and not both', async () => {
    const agent = await it.agent({ slots: 1 });
    expect((await insert(agent)).places).toEqual([agent.agent_id]);
    expect((await insert(agent)).places).toEqual(['ready']);
    expect(
      await it.sql`select (select count(*)::int from leases) as leased, (select count(*)::int from ready) as queued`,
    ).toEqual([{ leased: 1, queued: 1 }]);
  });

  test('a hand-off takes no more slots than there are, and spreads what one batch brings over several agents', async () => {
    const [one, two] = [await it.agent({ slots: 2 }), await it.agent({ slots: 1 })];
    const { places } = await insert(one, two, one, two, one);
    expect(places).toEqual([one.agent_id, two.agent_id, one.agent_id, 'ready', 'ready']);
    const again = await insert(one);
    expect(again.places).toEqual(['ready']);
    await it.sql`update agents set slots = 1 where agent_id = ${one.agent_id}`;
    expect((await insert(one)).places).toEqual(['ready']);
  });

  test('of two lives of one agent in one batch, the current one is given its tasks', async () => {
    const agent = await it.agent({ slots: 2 });
    const { places } = await insert({ ...agent, boot_id: 'boot_old' }, agent, agent);
    expect(places).toEqual(['ready', agent.agent_id, agent.agent_id]);
  });

  test.each([
    ['is cordoned', { mode: 'CORDONED' }, {}],
    ['drains', { mode: 'DRAINING' }, {}],
    ['was revoked', { mode: 'REVOKED' }, {}],
    ['has not beaten for a lease', { lease_seconds: -1 }, {}],
    ['has started again since', {}, { boot_id: 'boot_old' }],
    ['does not exist', {}, { agent_id: 'agent_none' }],
    ['is not to be asked before the task is due', {}, { run_at: '2999-01-01T00:00:00Z' }],
  ])('a task is not handed to an agent that %s', async (_, agent, poll) => {
    const life = await it.agent(agent);
    const { fences, places } = await insert({ ...life, ...poll });
    expect(fences.size).toBe(0);
    expect(places).toEqual(['run_at' in poll ? 'delayed' : 'ready']);
  });

  test('sixty-four submits at once to agents with eight slots between them hand off eight', async () => {
    const agents = await Promise.all([1, 2, 3, 2].map((slots) => it.agent({ slots })));
    const done = await Promise.all(
      Array.from({ length: 16 }, async () => insertTasks(it.db.hot, await Promise.all(agents.map((a) => it.task(a))))),
    );
    expect(done.reduce((sum, { fences }) => sum + fences.size, 0)).toBe(8);
    const used = await it.sql`select slots, slots_used from agents`;
    for (const { slots, slots_used } of used) expect(slots_used).toBe(slots);
  });

  test('a batch with one value Postgres refuses inserts nothing', async () => {
    await expect(insert({}, { metadata: '{"a":"\\u0000"}' })).rejects.toMatchObject({ code: '22P05' });
    expect(await it.sql`select 1 from tasks union all select 1 from ready`).toHaveLength(0);
  });
});
