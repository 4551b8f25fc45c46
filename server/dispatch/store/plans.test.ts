import { newId } from '@muster/shared/ids';
import { type Life, openRows, type Rows } from '@muster/testing/rows';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { movedLately } from '../../agents/store/epochs.ts';
import { findAgentState } from '../../agents/store/read.ts';
import { TO_SEAL } from '../../audit/store.ts';
import { pruneEvents } from '../../events/store.ts';
import { beatCoordinator } from '../../ops/store.ts';
import type { Sql } from '../../platform/database.ts';
import { look } from '../../platform/look.ts';
import { applyOutcomes, ensureOutcomeReader, TO_BRING_HOME } from '../../schedules/store/outcomes.ts';
import { TO_FIRE } from '../../schedules/store/tick.ts';
import { admitGated } from '../../tasks/store/concurrency.ts';
import { failDependents, settleDependencies, TO_UNBLOCK, unblockTasks } from '../../tasks/store/dependencies.ts';
import { findOnce, forgetExpiredOnce } from '../../tasks/store/keys.ts';
import { insertBatch, insertTasks } from '../../tasks/store/submit.ts';
import { expireTasks, promoteTasks, TO_EXPIRE, TO_PROMOTE } from '../../tasks/store/transitions.ts';
import { wantCanary } from '../../verification/store/canary.ts';
import { findAnswers, listDue, TO_CHECK } from '../../verification/store/due.ts';
import { findFields } from '../../verification/store/field.ts';
import { findClaimed, openVerifications } from '../../verification/store/open.ts';
import { TO_LOOK_BACK, takeResults } from '../../verification/store/review.ts';
import { claimWanted, findWantedClasses } from '../../verification/store/wanted.ts';
import { bootAgent, leaveAgent } from './boot.ts';
import { findCandidates, findResponseTimes } from './candidates.ts';
import { claimTasks, findReadyClasses } from './claim.ts';
import type { Lane } from './heads.ts';
import { beatAgents, noteRuns } from './heartbeat.ts';
import { findHeldRuns, listHeldRuns } from './held-runs.ts';
import { TO_TAKE_BACK, takeBackQuarantined } from './quarantine.ts';
import { reapLeases, TO_REAP, timeOutRuns } from './reap.ts';
import { applyResults, findEndedRuns, findTaskStatus } from './results.ts';

const SMALL = 1_000;
const LARGE = { 18: 200_000, 15: 50_000 };
/** Tables with a row for every task, agent or event there is. */
const GROWING =
  'tasks ready delayed gated blocked dependencies expiring leases runs events agents presence trust idempotency_keys unique_keys verifications replicas verdicts integrity'.split(
    ' ',
  );
/**
 * Looked through is what runs and who runs it, once a second or when an agent comes, goes, is put out, or lost an answer: an index for that would cost every claim
 * and every result. Whether there is any at all takes one row. Who could check is looked for the less often the longer it takes. The outbox finds tasks by the index of scheduled ones, of which there are none here.
 */
const LOOKS_THROUGH: Record<string, string[]> = {
  'reap the lost': ['leases', 'presence'],
  'reap the late': ['leases'],
  'all held runs': ['leases'],
  'a new life': ['leases'],
  'a goodbye': ['leases'],
  'take back from those that are out': ['leases'],
  'who could do it': ['agents', 'presence', 'integrity'],
  'read the outbox': ['tasks'],
  look: ['leases', 'blocked', 'gated'],
};

/** Indexes of which all may be read: they hold those who are out, however many others there are. */
const FEW = ['integrity_out'];

interface Statement {
  name: string;
  sql: Sql;
  execute: string;
  /** The pool knows no plan that reads a whole table; the loops' may, where the table is small. */
  hot: boolean;
}
interface Plan {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Index Cond'?: string;
  'TID Cond'?: string;
  Plans?: Plan[];
}

/** Tables a plan reads from one end: without a condition on an index, and without a limit that ends it. */
function scanned(plan: Plan, limited = false): string[] {
  const table = plan['Relation Name'];
  const reads =
    /^(Seq|Index|Index Only) Scan$/.test(plan['Node Type']) && table !== undefined && GROWING.includes(table);
  const bounded =
    plan['Index Cond'] !== undefined ||
    FEW.includes(plan['Index Name'] ?? '') ||
    (limited && plan['Node Type'] !== 'Seq Scan');
  // What has to be sorted is read to its end, limit or not.
  const goesOn =
    plan['Node Type'] === 'Limit' || (limited && !/^(Sort|Hash|Aggregate|WindowAgg)/.test(plan['Node Type']));
  return [...(reads && !bounded ? [table] : []), ...(plan.Plans ?? []).flatMap((child) => scanned(child, goesOn))];
}

describe.each([18, 15] as const)('the plans of hot statements on Postgres %i', (major) => {
  let it: Rows;
  let agent: Life;
  let statements: Statement[];
  beforeAll(async () => {
    it = await openRows(major);
    statements = await prepareAll();
  });
  afterAll(() => it.close());

  /** Has the product prepare each of its statements, on one session of each pool: what is explained is what it runs, as it runs it. */
  async function prepareAll(): Promise<Statement[]> {
    const { hot, admin } = it.openMore({ hotConnections: 1, adminConnections: 1 });
    agent = await it.agent({ slots: 100 });
    const other = await it.agent();
    const class_id = await it.classOf('echo');
    const lane = (more: Partial<Lane> = {}): Lane => ({
      class_id,
      owner: 'admin',
      capability: 'echo',
      slot_cost: 1,
      limited: false,
      begins: 0,
      stride: 1,
      ...more,
    });
    const asking = { ...agent, want: 1 };
    const claims: [string, Lane[]][] = [
      ['one class', [lane()]],
      ['classes', [lane(), lane({ class_id: 2 })]],
      ['classes of several owners', [lane(), lane({ class_id: 2, owner: 'other' })]],
      ['limited classes', [lane({ limited: true })]],
    ];
    const now = await it.clock.now();
    const batch = {
      batch_id: newId('batch'),
      owner: 'admin',
      atomic: true,
      size: 1,
      others: '[]',
      idempotency_key: null,
      request_hash: null,
      indexes: [0],
      needed: [],
    };
    const special = {
      run_at: now.toISOString(),
      expires_at: now.toISOString(),
      unique_key: 'u',
      idempotency_key: 'i',
      request_hash: 'h',
    };
    const life = { ...agent, agentId: agent.agent_id, bootId: agent.boot_id, jkt: agent.agent_id, jti: 'j', exp: 0 };
    const beat = { ...agent, health: 'OK' as const, slots_free: 1, uptime_ms: null, metrics: null, fences: [1] };
    const ended = {
      ...agent,
      fence: 1,
      status: 'COMPLETED',
      fault: null,
      retryable: true,
      result_data: null,
      error: null,
    };
    await ensureOutcomeReader(admin);
    const hotOnes: [string, () => Promise<unknown>][] = [
      ['submit', async () => insertTasks(hot, [await it.task(agent)])],
      ['submits', async () => insertTasks(hot, [await it.task(agent), await it.task()])],
      ['submits that differ', async () => insertTasks(hot, [await it.task(agent), await it.task({ priority: 9 })])],
      ['submit, with all there is', async () => insertTasks(hot, [await it.task(special)])],
      ['submit a batch', async () => insertBatch(hot, batch, [await it.task()])],
      [
        'submit a batch of tasks that differ',
        async () =>
          insertBatch(hot, { ...batch, batch_id: newId('batch'), idempotency_key: null }, [
            await it.task(),
            await it.task({ priority: 9 }),
          ]),
      ],
      [
        'submit a batch, with all there is',
        async () =>
          insertBatch(hot, { ...batch, batch_id: newId('batch') }, [
            await it.task({ ...special, unique_key: null, idempotency_key: null }),
          ]),
      ],
      ...claims.flatMap(([name, lanes]): [string, () => Promise<unknown>][] => [
        [`claim of ${name}`, () => claimTasks(hot, [asking], lanes)],
        [`claim of ${name} for two`, () => claimTasks(hot, [asking, { ...other, want: 1 }], lanes)],
      ]),
      ['claim of several of one class', () => claimTasks(hot, [{ ...asking, want: 9 }], [lane()])],
      ['claim of tasks of several slots', () => claimTasks(hot, [asking], [lane({ slot_cost: 2 })])],
      ['results', () => applyResults(hot, [{ ...ended, status: 'FAILED' }])],
      ['a completed run', () => applyResults(hot, [ended])],
      ['completed runs', () => applyResults(hot, [ended, { ...ended, fence: 2 }])],
      ['completed runs of two', () => applyResults(hot, [ended, { ...ended, ...other, fence: 2 }])],
      ['verdicts', () => findEndedRuns(hot, [1])],
      ['status of a run', () => findTaskStatus(hot, 1)],
      ['beats', () => beatAgents(hot, [beat])],
      ['starts and progress', () => noteRuns(hot, [{ ...agent, fence: 1, started: true, progress: null }])],
      ['held runs by fence', () => findHeldRuns(hot, agent.agent_id, [1])],
      ['all held runs', () => listHeldRuns(hot, agent.agent_id)],
      ['runs that were claimed of tasks that others check', () => findClaimed(hot, [1])],
      ['begin checks', () => openVerifications(hot, [{ fence: 1, wanted: 1, trusted: false, apart: 'owner' }])],
      ['claim of what is wanted', () => claimWanted(hot, asking, [lane()])],
      ['claim of what is wanted of limited classes', () => claimWanted(hot, asking, [lane({ limited: true })])],
      ['classes runs are wanted of', () => findWantedClasses(hot)],
      ['a canary', () => wantCanary(hot, { capability: 'echo', alias: newId('task') })],
      ['classes with work', () => findReadyClasses(hot, [class_id])],
      ['candidates', () => findCandidates(hot, [agent.agent_id])],
      ['response times', () => findResponseTimes(hot, [agent.agent_id])],
      ['state of an agent', () => findAgentState(hot, agent.agent_id)],
      ['beat of a coordinator', () => beatCoordinator(hot, newId('coord'), '')],
      ['promote the delayed', () => promoteTasks(hot, 10)],
      [
        'look',
        () =>
          look(hot, [
            TO_SEAL,
            movedLately(1),
            TO_PROMOTE,
            TO_EXPIRE,
            TO_UNBLOCK,
            TO_REAP,
            TO_FIRE,
            TO_BRING_HOME,
            TO_CHECK,
            TO_LOOK_BACK,
            TO_TAKE_BACK,
          ]),
      ],
    ];
    const others: [string, () => Promise<unknown>][] = [
      ['reap the lost', () => reapLeases(admin, 10)],
      ['reap the late', () => timeOutRuns(admin, 10)],
      ['take back from those that are out', () => takeBackQuarantined(admin, 10)],
      ['checks that are due', () => listDue(admin, 10)],
      ['answers', () => findAnswers(admin, [1])],
      ['look back', () => takeResults(admin, 10)],
      ['who could do it', () => findFields(admin, [class_id])],
      ['expire tasks', () => expireTasks(admin, 10)],
      ['admit the gated', () => admitGated(admin, 10)],
      ['unblock tasks', () => unblockTasks(admin, 10)],
      ['fail dependents', () => failDependents(admin, 10)],
      ['settle a task', () => settleDependencies(admin, { taskIds: ['task_none'] })],
      ['settle a page', () => settleDependencies(admin, { after: '', limit: 10 })],
      ['a request that was made', () => findOnce(admin, 'admin', 'i')],
      ['forget requests', () => forgetExpiredOnce(admin, 10)],
      ['read the outbox', () => applyOutcomes(admin)],
      ['forget events', () => pruneEvents(admin, 10)],
      ['a new life', () => bootAgent(admin, { ...life, bootId: newId('boot') })],
      ['a goodbye', () => leaveAgent(admin, other.agent_id, other.boot_id)],
    ];
    return [...(await preparedBy(hot, hotOnes, true)), ...(await preparedBy(admin, others, false))];
  }

  async function preparedBy(sql: Sql, calls: [string, () => Promise<unknown>][], hot: boolean): Promise<Statement[]> {
    const prepared = () =>
      sql.unsafe<{ name: string; types: string }[]>(
        `select name, array_to_string(parameter_types, '|') as types from pg_prepared_statements`,
      );
    const found: Statement[] = [];
    const known = new Set((await prepared()).map(({ name }) => name));
    // The hot pool's plans know no values; the loops' do: how many rows they may take decides.
    await sql.unsafe(`set plan_cache_mode = force_${hot ? 'generic' : 'custom'}_plan`);
    for (const [name, call] of calls) {
      await call();
      const more = (await prepared()).filter((it) => !known.has(it.name));
      for (const it of more) {
        known.add(it.name);
        const values = it.types
          .split('|')
          .filter(Boolean)
          .map((type) => (/^(smallint|integer|bigint|numeric)$/.test(type) ? '10' : type === 'text' ? `'{}'` : 'null'));
        found.push({ name, sql, execute: `"${it.name}"${values.length > 0 ? `(${values.join()})` : ''}`, hot });
      }
    }
    expect(found.length).toBeGreaterThan(calls.length - 3);
    return found;
  }

  async function scans(which = statements.filter(({ hot }) => hot)): Promise<Record<string, string[]>> {
    const found: Record<string, string[]> = {};
    for (const { name, sql, execute } of which) {
      const [row] = await sql.unsafe<{ 'QUERY PLAN': { Plan: Plan }[] }[]>(`explain (format json) execute ${execute}`);
      const tables = scanned(row!['QUERY PLAN'][0]!.Plan).filter((table) => !LOOKS_THROUGH[name]?.includes(table));
      if (tables.length > 0) found[name] = tables;
    }
    return found;
  }

  /** Rows of every table that grows, as the product leaves them; of those that hold but what waits or who is there a tenth. */
  async function fill(from: number, to: number) {
    const rows = (part: number) => `
      (select n, 'task_' || lpad(n::text, 26, '0') as task_id, 'agent_' || lpad((n % 20000)::text, 26, '0') as agent_id, now() + n * interval '1 s' as at
       from generate_series(${Math.ceil(from / part)}, ${Math.floor(to / part)}) n) n`;
    const all = rows(1);
    const tenth = rows(10);
    for (const statement of [
      `tasks (task_id, class_id, owner, task_type, capability_required, input_data, priority, rank, timeout_seconds, max_retries, retry_policy, tags, metadata, run_at, created_at)
       select task_id, 1, 'admin', 'echo', 'echo', '{}', 5, at, 300, 3, 'fixed', '{}', '{}', at, at from ${all}`,
      `ready (class_id, rank, task_id, replica, attempt, failures) select 1 + n % 3, at, task_id, 0, 0, 0 from ${all}`,
      `leases (fence, task_id, replica, agent_id, class_id, capability, attempt, failures, assigned_at, timeout_seconds)
       select 1000000 + n, task_id, 0, agent_id, 1, 'echo', 1, 0, at, 300 from ${all}`,
      `runs (fence, task_id, replica, agent_id, capability, attempt, status, final, assigned_at, finished_at)
       select 1000000 + n, task_id, 0, agent_id, 'echo', 1, 'COMPLETED', true, at, at from ${all}`,
      `events (tx, at, kind, fences) select pg_current_xact_id(), at, 'run.finished', array[n] from ${all}`,
      `delayed (run_at, task_id, replica, class_id, rank, attempt, failures) select at, task_id, 0, 1, at, 0, 0 from ${tenth}`,
      `gated (owner, concurrency_key, rank, task_id, class_id, run_at) select 'admin', n % 100, at, task_id, 1, at from ${tenth}`,
      `blocked (task_id, class_id, open, on_failure, created_at) select task_id, 1, 1, 'fail', at from ${tenth}`,
      `dependencies (needs_task_id, task_id, created_at) select 'task_' || lpad((n / 2)::text, 26, '0'), task_id, at from ${tenth}`,
      `expiring (expires_at, task_id, started) select at, task_id, false from ${tenth}`,
      `agents (agent_id, display_name, owner, serves, public_jwk, jkt, capabilities, labels, slots, mode, boot_id, enrollment_token_id, created_at, updated_at)
       select 'agent_x' || n, '', 'admin', 'all', '{}', 'x' || n, '{echo}', '{}', 4, 'OPEN', 'boot', 'enroll', at, at from ${tenth}`,
      `presence (agent_id, last_seen_at, lease_expires_at) select 'agent_x' || n, at, at from ${tenth}`,
      `trust (agent_id, capability, dependable, undependable, completed, failed, timed_out, lost, fold_seq, updated_at)
       select 'agent_x' || n, 'echo', 1, 0, 1, 0, 0, 0, 1, at from ${tenth}`,
      `verifications (task_id, state, fence, agent_id, capability, finality, check_at, decided_at)
       select task_id, 'AGREED', 1000000 + n, agent_id, 'echo', 'verified', null, at from ${tenth}`,
      `verifications (task_id, state, fence, agent_id, capability, check_at)
       select 'v' || task_id, 'VERIFYING', 1000000 + n, agent_id, 'echo', at from ${tenth}`,
      `replicas (task_id, replica, kind, class_id, rank, trusted, since, fence)
       select task_id, 1, 'replica', 1 + n % 3, at, false, at, case when n % 10 > 0 then n end from ${tenth}`,
      `verdicts (fence, kind, task_id, agent_id, capability, found, vouched, weight, judge, at, fold_seq)
       select 1000000 + n, 'quorum', task_id, agent_id, 'echo', 'RIGHT', true, 1, 'x', at, n from ${tenth}`,
      `integrity (agent_id, capability, "right", wrong, checked_at, streak, faults, standing, quarantines, fold_seq, updated_at)
       select 'agent_x' || n, 'echo', 1, 0, at, 1, 0, 'TRUSTED', 0, 1, at from ${tenth}`,
      `idempotency_keys (owner, idempotency_key, request_hash, task_id, expires_at) select 'admin', n, '', task_id, at from ${tenth}`,
      `unique_keys (owner, unique_key, task_id) select 'admin', n, task_id from ${tenth}`,
    ])
      await it.sql.unsafe(`insert into ${statement}`);
  }
  const each = async (verb: string) => {
    for (const table of GROWING) await it.sql.unsafe(`${verb} ${table}`);
  };

  test('none reads a table from one end to the other: when all is new, small, large, drained', async () => {
    expect(await scans(), 'new').toEqual({});
    await fill(1, SMALL);
    expect(await scans(), 'small, and nobody has looked').toEqual({});
    await each('analyze');
    expect(await scans(), 'small').toEqual({});
    await fill(SMALL + 1, LARGE[major]);
    expect(await scans(), 'large, and nobody has looked').toEqual({});
    await each('analyze');
    expect(await scans(statements), 'large').toEqual({});
    await each('delete from');
    expect(await scans(), 'drained').toEqual({});
    await each('vacuum (truncate off, analyze)');
    expect(await scans(), 'drained and vacuumed').toEqual({});
    await each('vacuum (truncate on, analyze)');
    expect(await scans(), 'drained, vacuumed and cut off').toEqual({});
  }, 120_000);
});
