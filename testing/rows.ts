import type { Verifier } from '@muster/server/dispatch/claim';
import { type Claimant, claimTasks, type Standing } from '@muster/server/dispatch/store/claim';
import type { Lane } from '@muster/server/dispatch/store/heads';
import { beatCoordinator } from '@muster/server/ops/store';
import { type Database, openDatabase, type Sql } from '@muster/server/platform/database';
import { MOST_CLASSES } from '@muster/server/tasks/classes';
import { ensureClass, UNSAID } from '@muster/server/tasks/store/classes';
import { insertTasks, type NewTask } from '@muster/server/tasks/store/submit';
import { newId } from '@muster/shared/ids';
import postgres from 'postgres';
import { auditRows } from './auditor.ts';
import { type TestClock, testClock } from './clock.ts';
import { createDatabase, type PostgresMajor, testPostgres } from './postgres.ts';

/** An agent's life, as the protocol's statements name it. */
export interface Life {
  agent_id: string;
  boot_id: string;
}

/** A database for tests of stores, and makers of the rows they are about. */
export interface Rows {
  url: string;
  db: Database;
  sql: Sql;
  clock: TestClock;
  /** More pools on the database: another coordinator's. */
  openMore(options?: Parameters<typeof openDatabase>[1]): Database;
  agent(seed?: Partial<AgentSeed>): Promise<Life>;
  /** Tasks for an agent of the seed's capability to do, unsaved. */
  task(seed?: Partial<NewTask>): Promise<NewTask>;
  /** Inserts tasks, as a submit does. Answers their ids. */
  submit(...seeds: Partial<NewTask>[]): Promise<string[]>;
  classOf(capability: string, owner?: string, slotCost?: number): Promise<number>;
  /** Claims of these classes, all of one owner. */
  claim(hot: Sql, claimants: readonly Claimant[], classIds: readonly number[]): Promise<Map<string, Standing>>;
  status(taskId: string): Promise<string | undefined>;
  /** Kinds of the events that name a task, an agent or a schedule, in order. */
  eventsOf(subjectId: string): Promise<string[]>;
  /** At the end of a test: throws where the rows contradict each other, and forgets them all, classes apart. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

export interface AgentSeed {
  slots: number;
  mode: string;
  owner: string;
  serves: string;
  capabilities: string[];
  /** How long its lease still holds, in seconds. */
  lease_seconds: number;
}

/** What a test does by hand, which may take as long as the machine does. */
const byHand = (url: string): Sql =>
  postgres(url, { max: 4, onnotice: () => {}, connection: { application_name: 'test', jit: 'off' } as never });

const KEPT = ['classes', 'muster_clock', 'cluster', 'audit_logs', 'audit_seals'];

/** Opens a new database with all migrations. Close it. */
export async function openRows(major: PostgresMajor = 18): Promise<Rows> {
  const database = await createDatabase(await testPostgres(major));
  const more: Database[] = [];
  const openMore = (options?: Parameters<typeof openDatabase>[1]) => {
    more.push(openDatabase(database.url, options));
    return more.at(-1)!;
  };
  const db = openMore();
  const sql = byHand(database.url);
  await beatCoordinator(sql, newId('coord'), '');
  // As if a coordinator had always been there, and were to stay.
  const steady = () => sql`
    update cluster set beat_at = now + interval '1 day', steady_since = now - interval '1 day' from (select muster_now() as now) clock`;
  await steady();
  const tables = await sql<{ name: string }[]>`
    select tablename as name from pg_tables where schemaname = 'public' and tablename <> all(${KEPT}::text[])`;
  const classes = new Map<string, Promise<number>>();
  const rows: Rows = {
    url: database.url,
    db,
    sql,
    clock: testClock(sql, database.url),
    openMore,
    agent: (seed = {}) => insertAgentRow(sql, seed),
    async task(seed = {}) {
      const capability = seed.capability_required ?? 'echo';
      return newTask({ class_id: seed.class_id ?? (await rows.classOf(capability, seed.owner)), ...seed });
    },
    async submit(...seeds) {
      const tasks = await Promise.all(seeds.map((seed) => rows.task(seed)));
      await insertTasks(db.hot, tasks);
      return tasks.map((task) => task.task_id);
    },
    classOf(capability, owner = 'admin', slot_cost = 1) {
      const key = `${owner}\n${capability}\n${slot_cost}`;
      const known =
        classes.get(key) ??
        ensureClass(
          sql,
          { owner, capability, ...UNSAID, slot_cost },
          slot_cost === 1 ? '' : String(slot_cost),
          MOST_CLASSES,
        ).then((it) => it!.class_id);
      classes.set(key, known);
      return known;
    },
    claim: async (hot, claimants, classIds) =>
      (
        await claimTasks(
          hot,
          claimants,
          classIds.map((id) => lane(id)),
        )
      ).standings,
    async status(taskId) {
      const [row] = await sql<{ status: string }[]>`select status from task_state where task_id = ${taskId}`;
      return row?.status;
    },
    async eventsOf(id) {
      const found = await sql<{ kind: string }[]>`
        select kind from events e where ${id} = any(subject_ids)
          or fences && array(select fence from runs where task_id = ${id} union select fence from leases where task_id = ${id})
        order by event_id`;
      return found.map((event) => event.kind);
    },
    async finish() {
      try {
        await auditRows(sql);
      } finally {
        await sql.unsafe(tables.map(({ name }) => `delete from ${name};`).join('\n'));
        await steady();
      }
    },
    async close() {
      await Promise.all([...more.map((it) => it.close()), sql.end({ timeout: 2 })]);
      await database.drop();
    },
  };
  return rows;
}

/** Nobody checks anybody's answers. */
export const unverified: Verifier = {
  verified: new Set(),
  wants: () => false,
  claim: async () => [],
  async claimed() {},
  reported() {},
};

/** A class as a claim sees it that no limit concerns. */
export const lane = (class_id: number, more: Partial<Lane> = {}): Lane => ({
  class_id,
  owner: 'admin',
  capability: 'echo',
  slot_cost: 1,
  limited: false,
  begins: 0,
  stride: 1,
  ...more,
});

async function insertAgentRow(sql: Sql, seed: Partial<AgentSeed>): Promise<Life> {
  const life = { agent_id: newId('agent'), boot_id: newId('boot') };
  const {
    slots = 4,
    mode = 'OPEN',
    owner = 'admin',
    serves = 'all',
    capabilities = ['echo'],
    lease_seconds = 30,
  } = seed;
  await sql`
    with agent as (
      insert into agents (agent_id, display_name, owner, serves, public_jwk, jkt, capabilities, labels, slots, mode, boot_id, enrollment_token_id, created_at, updated_at)
      values (${life.agent_id}, 'an agent', ${owner}, ${serves}, '{}', ${life.agent_id}, ${capabilities}::text[], '{}', ${slots}, ${mode}, ${life.boot_id}, 'enroll_none',
        (select muster_now()), (select muster_now()))
    ), life as (
      insert into boots (agent_id, boot_id, started_at) values (${life.agent_id}, ${life.boot_id}, (select muster_now()))
    )
    insert into presence (agent_id, last_seen_at, lease_expires_at)
    values (${life.agent_id}, (select muster_now()), (select muster_now()) + ${lease_seconds}::float8 * interval '1 s')`;
  return life;
}

const newTask = (seed: Partial<NewTask> & { class_id: number }): NewTask => ({
  task_id: newId('task'),
  owner: 'admin',
  client_id: null,
  task_type: 'echo',
  capability_required: 'echo',
  input_data: '{}',
  priority: 5,
  timeout_seconds: 300,
  max_retries: 3,
  retry_policy: 'exponential',
  retry_base_ms: 1_000,
  retry_cap_ms: 300_000,
  retry_jitter: true,
  non_retryable: [],
  task_timeout_seconds: null,
  tags: [],
  metadata: '{}',
  unique_key: null,
  concurrency_key: null,
  depends_on: [],
  on_dependency_failure: null,
  idempotency_key: null,
  request_hash: null,
  schedule_id: null,
  verification: null,
  traceparent: null,
  run_at: null,
  expires_at: null,
  agent_id: null,
  boot_id: null,
  ...seed,
});
