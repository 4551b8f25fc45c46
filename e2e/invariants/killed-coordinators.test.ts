import { setTimeout as pause } from 'node:timers/promises';
import { createBatch } from '@muster/shared/contract/batches';
import { cancelTasks, prioritiseTasks, retryTasks } from '@muster/shared/contract/bulk';
import { deleteLimit, putLimit } from '@muster/shared/contract/queue';
import { cancelTask, createTask } from '@muster/shared/contract/tasks';
import { replayTrust } from '@muster/shared/contract/trust';
import { eventually, History } from '@muster/testing';
import { assertFindings, checkCancels, checkClaims, checkResults, checkSubmits } from '@muster/testing/checkers';
import { checkOnce, checkReplays } from '@muster/testing/checkers/answers';
import { checkCaps, checkNeeds, checkReruns } from '@muster/testing/checkers/order';
import { randomOf, seedOf } from '@muster/testing/random';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { inParallel } from '../fixtures/network.ts';
import { SCALE, TIMEOUT_MS } from '../proof/scale.ts';
import { type Cluster, persist, startCluster } from './cluster.ts';
import { workAll } from './workers.ts';

/** A fiftieth of what is promised, unless said. */
const SENDS = 200 * SCALE;
const REPORTS = 1_000 * SCALE;
const RACES = 200 * SCALE;
const LIMITED = 200 * SCALE;
const GRAPHS = 10 * SCALE;
const NODES = 60;
const MAX_RETRIES = 2;
const AGENTS = 8;

const seed = seedOf('PROOF_SEED');
const work = { task_type: 'work', input_data: null };
const range = (length: number) => Array.from({ length }, (_, n) => n);

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster();
}, TIMEOUT_MS);
afterEach(() => cluster.audit(), TIMEOUT_MS);
afterAll(() => cluster?.stop());

/** What of a graph a node waits for, by its number; what it does then, and where one of those was not completed. */
const node = fc.record({
  needs: fc.uniqueArray(fc.nat(NODES), { maxLength: 3 }),
  otherwise: fc.constantFrom('fail' as const, 'skip' as const, 'run' as const),
  fails: fc.nat(4).map((n) => n === 0),
});
type Graph = (typeof node extends fc.Arbitrary<infer N> ? N : never)[];

/** Those before it: a graph has no circles. */
const needsOf = (graph: Graph, n: number) => [...new Set(n === 0 ? [] : graph[n]!.needs.map((it) => it % n))];

/** How the nodes of a graph are to end. */
function endsOf(graph: Graph): string[] {
  const ends: string[] = [];
  for (const [n, { otherwise, fails }] of graph.entries()) {
    const bound = needsOf(graph, n).some((it) => ends[it] !== 'COMPLETED') && otherwise !== 'run';
    ends.push(bound ? (otherwise === 'skip' ? 'SKIPPED' : 'FAILED') : fails ? 'FAILED' : 'COMPLETED');
  }
  return ends;
}

const statusesOf = async (tag: string) =>
  new Map(
    (
      await cluster.sql<
        { task_id: string; status: string }[]
      >`select task_id, status from task_state where ${tag} = any(tags)`
    ).map(({ task_id, status }) => [task_id, status]),
  );

test(
  `I2: ${SENDS} requests, ten of each, make one task each, whoever is asked and killed meanwhile (seed ${seed})`,
  async () => {
    const admin = cluster.client(cluster.adminKey);
    const keys = range(SENDS / 10).map((n) => `once-${n}`);
    const sends = range(SENDS).map((n) => keys[n % keys.length]!);
    const history = new History();
    const kills = await cluster.harassed(() =>
      inParallel(sends, 64, async (key) => {
        const body = { ...work, capability_required: 'nobody', input_data: key, tags: ['I2'] };
        const send = () => admin(createTask, { body }, { headers: { 'idempotency-key': key } });
        await persist(() => history.call('driver', 'submit', { idempotency_key: key }, send));
      }),
    );
    expect(kills).toBeGreaterThan(0);
    const { entries } = history;
    assertFindings([checkOnce(entries)], { minimum: SENDS });
    expect(entries.length / 2, 'some were not answered').toBeGreaterThan(SENDS);
    // Nor did a send that nobody answered make another.
    expect((await statusesOf('I2')).size).toBe(keys.length);
    for (const key of keys.slice(0, 10))
      await expect(admin(createTask, { body: work }, { headers: { 'idempotency-key': key } })).rejects.toMatchObject({
        code: 'idempotency-mismatch',
      });
  },
  TIMEOUT_MS,
);

test(
  `I3, I5, I6, I7, I14: of ${REPORTS} results, each told up to five times to anybody, one of each run counts, and all ends (seed ${seed})`,
  async () => {
    const random = randomOf(seed);
    const history = new History();
    const admin = cluster.client(cluster.adminKey);
    const tasks = REPORTS / 4;
    const ends = new Map<string, string>();
    let left = tasks;
    const submit = async (n: number) => {
      // The same request each time it is made: it counts once.
      const headers = { 'idempotency-key': `I5-${n}` };
      const retries = {
        max_retries: MAX_RETRIES,
        retry_policy: 'fixed' as const,
        retry_base_ms: 1,
        retry_jitter: false,
      };
      const body = { ...work, ...retries, tags: ['I5'] };
      await persist(() => history.call('driver', 'submit', {}, () => admin(createTask, { body }, { headers })));
    };
    const kills = await cluster.harassed(() =>
      Promise.all([
        inParallel(range(tasks), 16, submit),
        workAll(cluster, history, {
          agents: AGENTS,
          slots: 20,
          over: () => left <= 0,
          act: ({ task_id, attempt }) => {
            const fails = random.below(4) === 0;
            if ((!fails || attempt > MAX_RETRIES) && !ends.has(task_id)) {
              ends.set(task_id, fails ? 'FAILED' : 'COMPLETED');
              left -= 1;
            }
            const ending = fails
              ? { outcome: 'FAILED' as const, error: { message: 'it broke', retryable: true } }
              : { outcome: 'COMPLETED' as const };
            // Some are held while a coordinator is killed.
            return { ending, times: random.between(3, 5), takesMs: random.below(8) === 0 ? 1_000 : 0 };
          },
        }),
      ]),
    );
    expect(kills).toBeGreaterThan(0);
    const { entries } = history;
    const statuses = await statusesOf('I5');
    assertFindings([checkResults(entries)], { minimum: REPORTS });
    assertFindings([checkSubmits(entries, statuses), checkClaims(entries), checkReruns(entries)], { minimum: tasks });
    expect(statuses).toEqual(ends);
    // Who says so is the database's clock: no two tries of a task at once, and no more of them than there may be.
    const [row] = await cluster.sql<[{ runs: number; overlaps: number; most: number; folded: number }]>`
    with r as (select * from runs where task_id in (select task_id from tasks where 'I5' = any(tags)))
    select (select count(*)::int from r) as runs,
      (select count(*)::int from r a join r b on a.task_id = b.task_id and a.fence < b.fence and a.finished_at > b.assigned_at) as overlaps,
      (select max(attempt)::int from r) as most, (select sum(completed + failed)::int from trust) as folded`;
    expect(row).toEqual({ runs: row.folded, overlaps: 0, most: MAX_RETRIES + 1, folded: row.runs });
    expect(row.runs).toBeGreaterThan(tasks);
    for (const { agent_id } of await cluster.sql<{ agent_id: string }[]>`select agent_id from trust`)
      await history.call('admin', 'replay', agent_id, async () => {
        const answer = await admin(replayTrust, { params: { agent_id }, query: { dry_run: 'true' } });
        return answer.capabilities[0];
      });
    assertFindings([checkReplays(entries)], { minimum: AGENTS });
  },
  TIMEOUT_MS,
);

test(
  `I10: of ${RACES} cancels that race a result, what was cancelled is never completed, and each task ends once (seed ${seed})`,
  async () => {
    const random = randomOf(seed);
    const history = new History();
    const admin = cluster.client(cluster.adminKey);
    let left = RACES;
    const cancel = async (task_id: string) => {
      try {
        await history.call('admin', 'cancel', { task_id }, () => admin(cancelTask, { params: { task_id }, body: {} }));
      } catch {
        // It had ended before; or nobody answered, and then it may have been cancelled or not.
      }
      left -= 1;
    };
    await Promise.all([
      inParallel(range(RACES / 50), 4, (n) =>
        persist(() =>
          admin(
            createBatch,
            { body: { tasks: range(50).map(() => ({ ...work, tags: ['I10'] })) } },
            { headers: { 'idempotency-key': `I10-${n}` } },
          ),
        ),
      ),
      workAll(cluster, history, {
        agents: 4,
        slots: 20,
        over: () => left <= 0,
        act: ({ task_id }) => ({
          ending: { outcome: 'COMPLETED' },
          times: random.between(1, 2),
          meanwhile: () => cancel(task_id),
        }),
      }),
    ]);
    const { entries } = history;
    assertFindings([checkResults(entries), checkCancels(entries), checkReruns(entries)], { minimum: RACES / 20 });
    const ended = await cluster.sql<{ status: string; ends: number; n: number }[]>`
    select status, (select count(*)::int from events e where t.task_id = any(e.subject_ids) and e.kind = 'task.cancelled')
      + (select count(*)::int from runs r where r.task_id = t.task_id and r.final) as ends, count(*)::int as n
    from task_state t where 'I10' = any(tags) group by 1, 2 order by 1`;
    expect(ended.map(({ status, ends }) => [status, ends])).toEqual([
      ['CANCELLED', 1],
      ['COMPLETED', 1],
    ]);
    expect(ended.reduce((sum, { n }) => sum + n, 0)).toBe(RACES);
  },
  TIMEOUT_MS,
);

test(
  `I12: in ${GRAPHS} random graphs of up to ${NODES} tasks nothing begins before what it needs, and each ends once, as it is to (seed ${seed})`,
  async () => {
    const admin = cluster.client(cluster.adminKey);
    const graphs = fc.sample(fc.array(node, { minLength: 2, maxLength: NODES, size: 'max' }), {
      numRuns: GRAPHS,
      seed,
    });
    const expected = graphs.flatMap((graph, g) => endsOf(graph).map((end, n) => [`${g} ${n}`, end]));
    const submit = (graph: Graph, g: number) => {
      const tasks = graph.map(({ otherwise, fails }, n) => ({
        ...work,
        input_data: fails,
        client_id: `${g} ${n}`,
        max_retries: 0,
        tags: ['I12'],
        ref: String(n),
        on_dependency_failure: otherwise,
        depends_on_refs: needsOf(graph, n).map(String),
      }));
      return persist(() => admin(createBatch, { body: { tasks } }, { headers: { 'idempotency-key': `I12-${g}` } }));
    };
    const history = new History();
    let open = true;
    const done = async () => {
      await inParallel(graphs, 16, submit);
      await eventually(
        async () => {
          const [{ left }] = await cluster.sql<[{ left: number }]>`
        select (select count(*) from blocked)::int + (select count(*) from ready where task_id in (select task_id from tasks where 'I12' = any(tags)))::int
          + (select count(*) from leases)::int as left`;
          expect(left).toBe(0);
        },
        { timeoutMs: 30_000 * SCALE },
      );
      open = false;
    };
    const kills = await cluster.harassed(() =>
      Promise.all([
        done().finally(() => {
          open = false;
        }),
        workAll(cluster, history, {
          agents: 4,
          slots: 100,
          over: () => !open,
          act: ({ input_data }) => ({
            ending: input_data ? { outcome: 'FAILED', error: { message: 'it broke' } } : { outcome: 'COMPLETED' },
            times: 1,
          }),
        }),
      ]),
    );
    expect(kills).toBeGreaterThan(0);
    const ended = await cluster.sql<{ client_id: string; status: string }[]>`
    select client_id, status from task_state where 'I12' = any(tags)`;
    expect(ended.map(({ client_id, status }) => [client_id, status]).sort()).toEqual(expected.sort());
    // Twenty-four of each, on average; most of them may be small.
    expect(ended.length).toBeGreaterThan(4 * GRAPHS);
    const early = await cluster.sql`
    select t.task_id, s.task_id as needs from tasks t join runs r using (task_id) join task_state s on s.task_id = any(t.depends_on)
    where 'I12' = any(t.tags) and (s.finished_at is null or r.assigned_at < s.finished_at or s.status <> 'COMPLETED' and t.on_dependency_failure <> 'run')`;
    expect(early).toEqual([]);
    const bound = await cluster.sql<{ task_id: string; depends_on: string[] }[]>`
    select task_id, depends_on from tasks where 'I12' = any(tags) and depends_on is not null and on_dependency_failure <> 'run'`;
    const needs = new Map(bound.map(({ task_id, depends_on }) => [task_id, depends_on]));
    assertFindings([checkNeeds(history.entries, needs), checkReruns(history.entries)], { minimum: GRAPHS });
  },
  TIMEOUT_MS,
);

test(
  `I11: ${LIMITED} tasks under limits of all kinds, with bulk changes among them, never run beyond one, and none is left waiting (seed ${seed})`,
  async () => {
    const random = randomOf(seed);
    const admin = cluster.client(cluster.adminKey);
    const limits = [
      { params: { scope: 'owner', name: 'admin' }, most: 12 },
      { params: { scope: 'capability', name: 'work' }, most: 8 },
    ] as const;
    for (const { params, most } of limits) await admin(putLimit, { params, body: { max_running: most } });
    // Who starts after they were set knows them; how soon the others hear of them is not what this is about.
    await Promise.all(cluster.coordinators.map((it) => it.restart('SIGKILL')));
    const tasks = range(LIMITED).map((n) => ({
      ...work,
      input_data: n,
      tags: ['I11'],
      ...(n % 4 === 0 ? { concurrency_key: `k${n % 16}`, concurrency_limit: 1 } : {}),
      ...(n % 7 === 0 ? { slot_cost: 3 } : {}),
      max_retries: 0,
    }));
    for (let at = 0; at < tasks.length; at += 200)
      await persist(() =>
        admin(
          createBatch,
          { body: { tasks: tasks.slice(at, at + 200) } },
          { headers: { 'idempotency-key': `I11-${at}` } },
        ),
      );
    const left = async () =>
      (
        await cluster.sql<[{ n: number }]>`
        select count(*)::int as n from task_state where 'I11' = any(tags) and status in ('PENDING', 'ASSIGNED', 'RUNNING', 'BLOCKED')`
      )[0].n;
    const history = new History();
    let open = true;
    const excess: unknown[] = [];
    let samples = 0;
    const watch = async () => {
      while (open) {
        const over = await cluster.sql`
        with live as (select l.*, t.concurrency_key from leases l join tasks t using (task_id))
        select 'all' as what, count(*)::int as n from live having count(*) > 8
        union all select concurrency_key, count(*)::int from live where concurrency_key is not null group by 1 having count(*) > 1
        union all select agent_id, sum(slot_cost)::int from live group by 1 having sum(slot_cost) > 4`;
        excess.push(...over);
        samples += 1;
        await pause(50);
      }
    };
    const change = async () => {
      const some = { tag: 'I11', limit: 10 };
      const changes = [
        () => admin(prioritiseTasks, { body: { ...some, priority: random.between(1, 10) } }),
        () => admin(cancelTasks, { body: some }),
        () => admin(retryTasks, { body: some }),
      ];
      for (const change of [...changes, ...changes]) {
        await pause(300);
        // Where nobody answers it may have been done or not; either is as good.
        await change().catch(() => {});
      }
      await eventually(async () => expect(await left()).toBe(0), { timeoutMs: 60_000 * SCALE, everyMs: 100 });
    };
    const kills = await cluster.harassed(() =>
      Promise.all([
        watch(),
        change().finally(() => {
          open = false;
        }),
        workAll(cluster, history, {
          agents: 6,
          slots: 4,
          over: () => !open,
          act: () => ({
            ending:
              random.below(5) === 0 ? { outcome: 'FAILED', error: { message: 'it broke' } } : { outcome: 'COMPLETED' },
            times: 1,
          }),
        }),
      ]),
    );
    expect(kills).toBeGreaterThan(0);
    expect(excess).toEqual([]);
    expect(samples).toBeGreaterThan(5);
    const keyed = await cluster.sql<{ task_id: string; concurrency_key: string | null }[]>`
      select task_id, concurrency_key from tasks where 'I11' = any(tags)`;
    const keyOf = new Map(keyed.map(({ task_id, concurrency_key }) => [task_id, concurrency_key]));
    const keysOf = ({ task_id }: { task_id: string }) => ['all', keyOf.get(task_id) ?? []].flat();
    const most = (key: string) => (key === 'all' ? 8 : 1);
    assertFindings([checkCaps(history.entries, { keysOf, most })], { minimum: LIMITED / 2 });
    // A task that is retried while its agent still says that it was cancelled is no other's: only what is taken from one is.
    expect(history.entries.filter(({ value }) => value === 'stale-lease')).toEqual([]);
    expect(await cluster.sql`select * from concurrency_limits where held <> 0`).toEqual([]);
    for (const { params } of limits) await admin(deleteLimit, { params });
  },
  TIMEOUT_MS,
);
