import { sql } from 'drizzle-orm';
import {
  bigint,
  bigserial,
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

/** The distinct requirements of tasks. Matching decides agent x class; claims take the heads of each class. */
export const classes = pgTable(
  'classes',
  { class_id: bigserial({ mode: 'number' }).primaryKey(), owner: text().notNull(), capability: text().notNull() },
  (t) => [uniqueIndex('classes_requirements').on(t.owner, t.capability)],
);

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
    tags: text().array().notNull(),
    metadata: jsonb().notNull(),
    schedule_id: idText(),
    traceparent: text(),
    run_at: moment().notNull(),
    expires_at: moment(),
    created_at: moment().notNull(),
    closed_status: text(),
    closed_at: moment(),
    closed_reason: text(),
    /** A person's retry forgets the runs up to this fence; they stay as history. */
    reset_fence: bigint({ mode: 'number' }).notNull().default(0),
  },
  (t) => [
    check('tasks_closed_status', sql`${t.closed_status} in ('CANCELLED', 'EXPIRED')`),
    check('tasks_closed_at', sql`(${t.closed_status} is null) = (${t.closed_at} is null)`),
    // A network of one owner pays nothing for it.
    index('tasks_owner').on(t.owner, t.task_id).where(sql`owner <> 'admin'`),
    index('tasks_schedule_id').on(t.schedule_id).where(sql`schedule_id is not null`),
  ],
);

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

/** Tasks that end by themselves when nobody has started them in time. */
export const expiring = pgTable('expiring', { expires_at: moment().notNull(), task_id: idText().notNull() }, (t) => [
  primaryKey({ columns: [t.expires_at, t.task_id] }),
]);

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
    /** Which piece of evidence this was for (agent, capability); none where it moved nothing. */
    fold_seq: bigint({ mode: 'number' }),
  },
  (t) => [
    index('runs_task_id').on(t.task_id),
    index('runs_agent').on(t.agent_id, t.finished_at),
    index('runs_dead').on(t.task_id).where(sql`final and status <> 'COMPLETED'`),
    check('runs_status', sql`${t.status} in ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'RETURNED', 'LOST')`),
    check('runs_fault', sql`${t.fault} in ('agent', 'task', 'system', 'client')`),
  ],
);
