import type { Dst, Exclusion, Misfire, Overlap, Target } from '@muster/shared/contract/schedule-rule';
import type { Routing } from '@muster/shared/contract/tasks';
import type { Verification } from '@muster/shared/contract/verification';
import { sql } from 'drizzle-orm';
import {
  boolean,
  check,
  doublePrecision,
  index,
  integer,
  jsonb,
  pgTable,
  smallint,
  text,
  uniqueIndex,
} from 'drizzle-orm/pg-core';
import { anyJson, idText, moment } from './columns.ts';

/** A rule of when, and the task it makes. */
export const schedules = pgTable(
  'schedules',
  {
    schedule_id: idText().primaryKey(),
    owner: text().notNull(),
    client_id: text(),
    /** What an owner calls it; free again once it is deleted. */
    name: text(),
    status: text().notNull(),
    /** When: one of the three. */
    cron_expression: text(),
    interval_seconds: integer(),
    at: moment(),
    /** Intervals are counted from 1970 plus this. */
    phase_seconds: integer().notNull().default(0),
    timezone: text().notNull(),
    dst: jsonb().$type<Dst>().notNull().default(sql`'"vixie"'::jsonb`),
    exclude: jsonb().$type<Exclusion[]>().notNull().default([]),
    starts_at: moment(),
    ends_at: moment(),
    max_runs: integer(),
    jitter_seconds: integer().notNull().default(0),
    /** What if. The defaults are what schedules did that were made before there was a choice. */
    overlap: text().$type<Overlap>().notNull().default('ALLOW_ALL'),
    catch_up_seconds: integer().notNull().default(60),
    misfire: jsonb().$type<Misfire>().notNull().default({ policy: 'FIRE_ALL' }),
    pause_on_failure: integer(),
    late_after_seconds: integer(),
    description: text(),
    pause_note: text(),
    /** What it makes: a task of the settings that follow. */
    target: jsonb().$type<Target>().notNull().default({ kind: 'task' }),
    task_type: text().notNull(),
    capability_required: text().notNull(),
    input_data: anyJson().notNull(),
    priority: smallint().notNull(),
    timeout_seconds: integer().notNull(),
    max_retries: smallint().notNull(),
    retry_policy: text().notNull(),
    retry_base_ms: integer().notNull().default(1_000),
    retry_cap_ms: integer().notNull().default(300_000),
    retry_jitter: boolean().notNull().default(true),
    non_retryable: text().array().notNull().default([]),
    task_timeout_seconds: integer(),
    labels_required: jsonb().$type<Record<string, string>>().notNull().default({}),
    labels_preferred: jsonb().$type<Record<string, string>>().notNull().default({}),
    slot_cost: smallint().notNull().default(1),
    verification: jsonb().$type<Verification>().notNull().default(sql`'"none"'::jsonb`),
    min_trust: doublePrecision().notNull().default(0),
    min_integrity: doublePrecision().notNull().default(0),
    routing: text().$type<Routing>().notNull().default('trust_weighted'),
    concurrency_key: text(),
    concurrency_limit: integer().notNull().default(1),
    tags: text().array().notNull(),
    metadata: jsonb().notNull(),
    /** The due time that is next, and how much later than that it fires: `fire_at` is both, in a form that Postgres takes for immutable. */
    next_run_at: moment(),
    jitter_ms: integer().notNull().default(0),
    fire_at: moment().generatedAlwaysAs(
      sql`((next_run_at at time zone 'UTC') + jitter_ms * interval '1 millisecond') at time zone 'UTC'`,
    ),
    /** The first due time it was paused over, or will have been. */
    paused_from: moment(),
    last_run_at: moment(),
    /** Tasks made, however they came to be; due times that made none. */
    total_runs: integer().notNull().default(0),
    failed_runs: integer().notNull().default(0),
    skipped: integer().notNull().default(0),
    missed: integer().notNull().default(0),
    consecutive_failures: integer().notNull().default(0),
    /** The task of the last execution known to be COMPLETED. */
    last_completed_task_id: idText(),
    /** Changes with whatever an admin says of it, and not with what it does by itself. */
    version: integer().notNull().default(0),
    created_at: moment().notNull(),
    updated_at: moment().notNull(),
  },
  (t) => [
    index('schedules_owner').on(t.owner, t.schedule_id),
    index('schedules_due').on(t.fire_at).where(sql`status = 'ACTIVE'`),
    uniqueIndex('schedules_name').on(t.owner, t.name).where(sql`status <> 'DELETED'`),
    check('schedules_status', sql`${t.status} in ('ACTIVE', 'PAUSED', 'ENDED', 'DELETED')`),
    check('schedules_next_run_at', sql`(${t.status} = 'ACTIVE') = (${t.next_run_at} is not null)`),
    check('schedules_when', sql`num_nonnulls(${t.cron_expression}, ${t.interval_seconds}, ${t.at}) = 1`),
    check('schedules_overlap', sql`${t.overlap} in ('SKIP', 'BUFFER_ONE', 'BUFFER_ALL', 'CANCEL_OTHER', 'ALLOW_ALL')`),
  ],
);

/** What happened at a due time, or at many in a row that did not fire: `count` of them, from `scheduled_at` until `until`. */
export const executions = pgTable(
  'executions',
  {
    execution_id: idText().primaryKey(),
    schedule_id: idText().notNull(),
    status: text().notNull(),
    /** Why it did not fire. */
    reason: text(),
    scheduled_at: moment().notNull(),
    until: moment(),
    count: integer().notNull().default(1),
    fired_at: moment(),
    /** How long after its due time, jitter included, it fired. */
    lateness_ms: integer(),
    /** Which of the schedule's runs it is, from 1. */
    execution_number: integer(),
    task_id: idText(),
    /** How the task ended; null while it has not. */
    task_status: text(),
  },
  (t) => [
    uniqueIndex('executions_tick')
      .on(t.schedule_id, t.scheduled_at)
      .where(sql`status in ('FIRED', 'SKIPPED', 'MISSED')`),
    index('executions_newest').on(t.schedule_id, t.execution_id),
    index('executions_task_id').on(t.task_id),
    index('executions_open').on(t.schedule_id, t.execution_id).where(sql`task_id is not null and task_status is null`),
    check('executions_status', sql`${t.status} in ('FIRED', 'SKIPPED', 'MISSED', 'TRIGGERED', 'BACKFILLED')`),
  ],
);
