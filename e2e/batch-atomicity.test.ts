import { createBatch } from '@muster/shared/contract/batches';
import type { CallOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { History } from '@muster/testing';
import { assertFindings } from '@muster/testing/checkers';
import { checkBatches } from '@muster/testing/checkers/answers';
import fc from 'fast-check';
import postgres from 'postgres';
import { expect, onTestFinished, test } from 'vitest';
import { inParallel, startNetwork, startProcessNetwork, supervise, type TestNetwork } from './fixtures/network.ts';
import { SCALE, TIMEOUT_MS } from './proof/scale.ts';

type Tasks = CallOf<typeof createBatch>['body']['tasks'];
type Answer = ResponseOf<typeof createBatch>;

/** How many tasks a batch has that is cut off. */
const SIZE = 1_000;
const REFS = ['a', 'b', 'c', 'd', 'nobody'];
const maybe = <T>(arbitrary: fc.Arbitrary<T>, freq: number) => fc.option(arbitrary, { nil: undefined, freq });
/** A member as small as it can be said; `key` is open already, or is not. */
const member = fc.record({
  good: fc.nat(30).map((n) => n > 0),
  ref: maybe(fc.constantFrom('a', 'b', 'c', 'd'), 1),
  needs: fc.uniqueArray(fc.constantFrom(...REFS.map((ref, n) => ({ ref, rare: n === 4 }))), { maxLength: 2 }),
  needy: fc.nat(3).map((n) => n === 0),
  key: maybe(fc.constantFrom('open', 'x', 'y'), 1),
  policy: fc.constantFrom('reject' as const, 'keep' as const, 'keep' as const),
  later: fc.nat(9).map((n) => n === 0),
});
type Member = typeof member extends fc.Arbitrary<infer M> ? M : never;

/** As tasks, each batch with keys and a mark of its own. */
const tasksOf = (members: readonly Member[], mark: string): Tasks =>
  members.map(({ good, ref, needs, needy, key, policy, later }, n) => ({
    task_type: 'work',
    input_data: n,
    client_id: mark,
    priority: good ? 5 : 11,
    ...(ref === undefined ? {} : { ref }),
    ...(needy && needs.length > 0
      ? { depends_on_refs: needs.filter(({ rare }, i) => !rare || i > 0).map((it) => it.ref) }
      : {}),
    ...(key === undefined ? {} : { unique_key: `${mark} ${key}`, unique_policy: policy }),
    ...(later ? { run_at: '2099-01-01T00:00:00Z' } : {}),
  }));

interface Made {
  task_id: string;
  batch_index: number;
  input_data: number;
  unique_key: string | null;
  depends_on: string[] | null;
}
/** All there is of a batch, by its mark, in the order of the ids. */
const madeOf = ({ sql }: TestNetwork, mark: string) =>
  sql<Made[]>`
    select task_id, batch_index, input_data, unique_key, depends_on from tasks where client_id = ${mark} order by task_id`;

test('random batches are made as a whole or not at all, or without just those that are refused; order is kept', async () => {
  const network = await startNetwork();
  const outcomes = new Set<string>();
  let [n, batches] = [0, 0];
  await fc.assert(
    fc.asyncProperty(fc.array(member, { minLength: 1, maxLength: 12 }), async (members) => {
      n += 1;
      const [whole, loose] = [`${n} whole`, `${n} loose`];
      for (const mark of [whole, loose])
        await network.submit({ task_type: 'other', input_data: null, unique_key: `${mark} open` });
      const one = await network.admin(createBatch, { body: { tasks: tasksOf(members, whole) } }).catch(() => undefined);
      const body = { tasks: tasksOf(members, loose), atomic: false };
      const other = await network.admin(createBatch, { body });
      outcomes.add(`${one ? 'made' : 'refused'} ${other.refused > 0}`);
      expect(one !== undefined).toBe(other.refused === 0);
      const made = await madeOf(network, whole);
      if (one) checkMade(members, one, made);
      else {
        expect(made).toEqual([]);
        const left = await network.sql`select unique_key from unique_keys where unique_key like ${`${whole} %`}`;
        expect(left).toEqual([{ unique_key: `${whole} open` }]);
      }
      checkMade(members, other, await madeOf(network, loose));
      batches += one ? 2 : 1;
      expect(await network.sql`select count(*)::int as batches from batches`).toEqual([{ batches }]);
    }),
    { numRuns: 80, seed: 20261120 },
  );
  expect(outcomes).toEqual(new Set(['made false', 'refused true']));
}, 60_000);

function checkMade(members: readonly Member[], { results, created, refused }: Answer, made: readonly Made[]): void {
  expect(results.map(({ index }) => index)).toEqual(members.map((_, n) => n));
  const own = results.filter(({ task_id }) => made.some((task) => task.task_id === task_id));
  const byFirst = own.filter(({ task_id, index }) => own.find((it) => it.task_id === task_id)!.index === index);
  expect(made.map(({ task_id, batch_index, input_data }) => [task_id, batch_index, input_data])).toEqual(
    byFirst.map(({ task_id, index }) => [task_id, index, index]),
  );
  expect(created).toBe(made.length);
  expect(refused).toBe(results.filter(({ problem }) => problem).length);
  for (const [n, { good }] of members.entries()) if (!good) expect(results[n]!.problem).toBeDefined();
  const keys = made.flatMap(({ unique_key }) => unique_key ?? []);
  expect(new Set(keys).size).toBe(keys.length);
  const there = new Set(results.flatMap(({ task_id }) => task_id ?? []));
  for (const { depends_on } of made) for (const id of depends_on ?? []) expect(there).toContain(id);
}

test(
  `I13: of ${10 * SCALE} batches of a thousand, their coordinator killed in the midst of each ten, none is there in part`,
  async () => {
    const network = await startProcessNetwork(supervise());
    for (let round = 1; round <= SCALE; round += 1) await tenBatches(network, round);
  },
  TIMEOUT_MS,
);

async function tenBatches(network: Awaited<ReturnType<typeof startProcessNetwork>>, round: number): Promise<void> {
  const sql = postgres(network.coordinator.databaseUrl!, { max: 1, onnotice: () => {} });
  onTestFinished(() => sql.end({ timeout: 1 }));
  const history = new History();
  const marks = Array.from({ length: 10 }, (_, n) => `batch ${round}.${n}`);
  const submit = (mark: string) => {
    const tasks = Array.from({ length: SIZE }, (_, n) => ({ task_type: 'work', input_data: n, client_id: mark }));
    const headers = { 'idempotency-key': mark.replace(' ', '-') };
    return history.call('submitter', 'batch', { key: mark, size: SIZE }, async () => {
      const { results } = await network.admin(createBatch, { body: { tasks } }, { headers });
      return { task_ids: results.map(({ task_id }) => task_id) };
    });
  };
  /** The tasks of each batch, in its order. */
  const made = async () => {
    const rows = await sql<{ client_id: string; task_ids: string[] }[]>`
      select client_id, array_agg(task_id order by batch_index) as task_ids from tasks where client_id = any(${marks}) group by 1`;
    return new Map(rows.map(({ client_id, task_ids }) => [client_id, task_ids]));
  };
  // The first answer kills it: however many come at the same moment, those that are sent next meet a dead one.
  const kill = () => network.coordinator.kill('SIGKILL');
  await inParallel(marks, 8, (mark) => submit(mark).then(kill, () => {}));
  await network.coordinator.restart('SIGKILL');
  assertFindings([checkBatches(history.entries, await made())], { minimum: marks.length });
  const unanswered = history.entries.filter(({ phase }) => phase === 'unknown');
  expect(unanswered.length, 'batches that met a dead coordinator').toBeGreaterThan(0);
  // What was made before is answered, not made again; ids come in the order of the tasks.
  for (const mark of marks) await submit(mark);
  const all = await made();
  assertFindings([checkBatches(history.entries, all)], { minimum: 2 * marks.length });
  for (const ids of all.values()) expect(ids).toEqual(ids.toSorted());
  expect([...all.values()].map(({ length }) => length)).toEqual(marks.map(() => SIZE));
}
