import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  index,
  integer,
  json,
  jsonb,
  pgSequence,
  pgTable,
  primaryKey,
  smallint,
  text,
  uniqueIndex,
} from 'drizzle-orm/pg-core';
import { idText, moment } from './columns.ts';

/** The fence: one number per claim, never used twice, so a reclaimed run's late word is known for what it is. */
export const fence_seq = pgSequence('fence_seq', { cache: 1 });

/** What was asked for. Not written on the normal path: a task's status is read off `ready`, `delayed`, `leases` and `runs`. */
export const tasks = pgTable(
  'tasks',
  {
    task_id: idText().primaryKey(),
    class_id: bigint({ mode: 'number' }).notNull(),
    owner: text().notNull(),
    client_id: text(),
    task_type: text().notNull(),
    capability_required: text().notNull(),
    /** json, not jsonb: what was sent is kept as it was sent, a number's notation included. */
    input_data: json().notNull(),
    priority: smallint().notNull(),
    rank: moment().notNull(),
    timeout_seconds: integer().notNull(),
    max_retries: smallint().notNull(),
    retry_policy: text().notNull(),
    retry_base_ms: integer().notNull().default(1_000),
    retry_cap_ms: integer().notNull().default(300_000),
    retry_jitter: boolean().notNull().default(true),
    /** Error codes after which there is no further try. */
    non_retryable: text().array().notNull().default([]),
    /** The longest all its tries and waits may take, counted from run_at. */
    task_timeout_seconds: integer(),
    tags: text().array().notNull(),
    metadata: jsonb().notNull(),
    /** Of the tasks of an owner that share one, only one is open at a time. */
    unique_key: text(),
    /** Of the tasks of an owner that share one, only so many are under way at a time. */
    concurrency_key: text(),
    depends_on: text().array(),
    on_dependency_failure: text(),
    /** Somebody waits for it: whoever ends it looks who. */
    has_dependents: boolean().notNull().default(false),
    schedule_id: idText(),
    batch_id: idText(),
    /** Which one of its batch it was, from 0. */
    batch_index: smallint(),
    traceparent: text(),
    /** How others check what it is answered; null where nobody does. */
    verification: jsonb(),
    run_at: moment().notNull(),
    expires_at: moment(),
    created_at: moment().notNull(),
    closed_status: text(),
    closed_at: moment(),
    closed_reason: text(),
    /** The code of its error, where what was found ended it and no run. */
    closed_code: text(),
    /** A person's retry forgets the runs up to this fence; they stay as history. */
    reset_fence: bigint({ mode: 'number' }).notNull().default(0),
  },
  (t) => [
    check('tasks_closed_status', sql`${t.closed_status} in ('CANCELLED', 'EXPIRED', 'TIMED_OUT', 'FAILED', 'SKIPPED')`),
    check('tasks_closed_at', sql`(${t.closed_status} is null) = (${t.closed_at} is null)`),
    // A network of one owner pays nothing for it.
    index('tasks_owner').on(t.owner, t.task_id).where(sql`owner <> 'admin'`),
    index('tasks_timed_out')
      .on(t.closed_at, t.task_id)
      .where(sql`closed_status = 'TIMED_OUT' or closed_code is not null`),
    index('tasks_schedule_id').on(t.schedule_id).where(sql`schedule_id is not null`),
  ],
);

/** Tasks that were submitted together. `others`: of its members those that are no tasks of it, by index, and what became of each instead. */
export const batches = pgTable('batches', {
  batch_id: idText().primaryKey(),
  owner: text().notNull(),
  atomic: boolean().notNull(),
  size: integer().notNull(),
  others: jsonb().notNull(),
  /** Between which ids its tasks are found: an index by their batch would cost each of them a tenth of its submit. Null where it has none. */
  first_task_id: idText(),
  last_task_id: idText(),
  created_at: moment().notNull(),
});

/** What may be claimed now, best first: `rank` is run_at moved earlier by five minutes per priority step. */
export const ready = pgTable(
  'ready',
  {
    class_id: bigint({ mode: 'number' }).notNull(),
    rank: moment().notNull(),
    task_id: idText().notNull(),
    replica: smallint().notNull(),
    /** Runs so far, and how many of them count against max_retries. */
    attempt: integer().notNull(),
    failures: integer().notNull(),
  },
  (t) => [primaryKey({ columns: [t.class_id, t.rank, t.task_id, t.replica] })],
);

/** What may be claimed later. */
export const delayed = pgTable(
  'delayed',
  {
    run_at: moment().notNull(),
    task_id: idText().notNull(),
    replica: smallint().notNull(),
    class_id: bigint({ mode: 'number' }).notNull(),
    rank: moment().notNull(),
    attempt: integer().notNull(),
    failures: integer().notNull(),
  },
  (t) => [primaryKey({ columns: [t.run_at, t.task_id, t.replica] }), index('delayed_task_id').on(t.task_id)],
);

/** Capabilities nobody is given tasks of, of one owner or, by `*`, of all. */
export const pauses = pgTable(
  'pauses',
  { owner: text().notNull(), capability: text().notNull(), paused_at: moment().notNull() },
  (t) => [primaryKey({ columns: [t.owner, t.capability] })],
);

/** Tasks that end by themselves when nobody has started them in time or, `started` or not, when their whole time is over. */
export const expiring = pgTable(
  'expiring',
  { expires_at: moment().notNull(), task_id: idText().notNull(), started: boolean().notNull().default(false) },
  (t) => [primaryKey({ columns: [t.expires_at, t.task_id, t.started] })],
);

/** Requests that were answered, so that the same one again is answered the same and not done twice. */
export const idempotency_keys = pgTable(
  'idempotency_keys',
  {
    owner: text().notNull(),
    idempotency_key: text().notNull(),
    request_hash: text().notNull(),
    /** What it made: a task or a batch. */
    task_id: idText(),
    batch_id: idText(),
    expires_at: moment().notNull(),
  },
  (t) => [primaryKey({ columns: [t.owner, t.idempotency_key] }), index('idempotency_keys_expires_at').on(t.expires_at)],
);

/** Which open task has a unique key. */
export const unique_keys = pgTable(
  'unique_keys',
  { owner: text().notNull(), unique_key: text().notNull(), task_id: idText().notNull() },
  (t) => [primaryKey({ columns: [t.owner, t.unique_key] }), uniqueIndex('unique_keys_task_id').on(t.task_id)],
);

/** How many tasks of a concurrency key may be under way at a time, and how many are: from when they are let into `ready` until they end. */
export const concurrency_limits = pgTable(
  'concurrency_limits',
  {
    owner: text().notNull(),
    concurrency_key: text().notNull(),
    max: integer().notNull(),
    held: integer().notNull().default(0),
  },
  (t) => [primaryKey({ columns: [t.owner, t.concurrency_key] }), check('concurrency_limits_held', sql`${t.held} >= 0`)],
);

/** Tasks that could run but for their concurrency key, best first. */
export const gated = pgTable(
  'gated',
  {
    owner: text().notNull(),
    concurrency_key: text().notNull(),
    rank: moment().notNull(),
    task_id: idText().notNull(),
    class_id: bigint({ mode: 'number' }).notNull(),
    run_at: moment().notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.owner, t.concurrency_key, t.rank, t.task_id] }),
    uniqueIndex('gated_task_id').on(t.task_id),
  ],
);

/** Tasks that wait for others. `open`: how many have not ended; `failed`: whether one that did was not COMPLETED. */
export const blocked = pgTable(
  'blocked',
  {
    task_id: idText().primaryKey(),
    class_id: bigint({ mode: 'number' }).notNull(),
    open: integer().notNull(),
    failed: boolean().notNull().default(false),
    on_failure: text().notNull(),
    created_at: moment().notNull(),
  },
  (t) => [
    index('blocked_released').on(t.task_id).where(sql`open = 0 or failed and on_failure <> 'run'`),
    check('blocked_on_failure', sql`${t.on_failure} in ('fail', 'skip', 'run')`),
  ],
);

/** Who waits for whom, until that one has ended. */
export const dependencies = pgTable(
  'dependencies',
  { needs_task_id: idText().notNull(), task_id: idText().notNull(), created_at: moment().notNull() },
  (t) => [
    primaryKey({ columns: [t.needs_task_id, t.task_id] }),
    index('dependencies_task_id').on(t.task_id),
    index('dependencies_created_at').on(t.created_at),
  ],
);

/** Live runs. One per task and replica: two live ones are impossible. */
export const leases = pgTable(
  'leases',
  {
    fence: bigint({ mode: 'number' }).primaryKey(),
    task_id: idText().notNull(),
    replica: smallint().notNull(),
    agent_id: idText().notNull(),
    class_id: bigint({ mode: 'number' }).notNull(),
    capability: text().notNull(),
    attempt: integer().notNull(),
    failures: integer().notNull(),
    assigned_at: moment().notNull(),
    started_at: moment(),
    timeout_seconds: integer().notNull(),
    /** How many slots its agent gets back when it ends. */
    slot_cost: smallint().notNull().default(1),
    /** Its task holds no key and nobody checks it: what becomes of it when it is completed is known. Others may wait for it all the same. */
    lone: boolean().notNull().default(false),
    cancel_requested_at: moment(),
    progress: jsonb(),
  },
  (t) => [uniqueIndex('leases_task').on(t.task_id, t.replica)],
);

/** Finished runs, written once. They are history, and the evidence of what an agent's word is worth. */
export const runs = pgTable(
  'runs',
  {
    fence: bigint({ mode: 'number' }).primaryKey(),
    task_id: idText().notNull(),
    replica: smallint().notNull(),
    agent_id: idText().notNull(),
    capability: text().notNull(),
    attempt: integer().notNull(),
    status: text().notNull(),
    /** The task ended with this run. */
    final: boolean().notNull(),
    fault: text(),
    assigned_at: moment().notNull(),
    started_at: moment(),
    finished_at: moment().notNull(),
    result_data: json(),
    error: jsonb(),
    progress: jsonb(),
    /** What it took, where its agent said so. */
    usage: jsonb(),
    /** Which piece of evidence this was for (agent, capability); none where it moved nothing. */
    fold_seq: bigint({ mode: 'number' }),
  },
  (t) => [
    // With the fence: the last run of a task is a step down it, also where nobody has counted the rows.
    index('runs_task').on(t.task_id, t.fence),
    index('runs_agent').on(t.agent_id, t.finished_at),
    index('runs_dead').on(t.task_id).where(sql`final and status <> 'COMPLETED'`),
    index('runs_dead_newest').on(t.finished_at, t.task_id).where(sql`final and status <> 'COMPLETED'`),
    check('runs_status', sql`${t.status} in ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'RETURNED', 'LOST')`),
    check('runs_fault', sql`${t.fault} in ('agent', 'task', 'system', 'client')`),
  ],
);
