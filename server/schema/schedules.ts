import { sql } from 'drizzle-orm';
import { check, index, integer, jsonb, pgTable, smallint, text, uniqueIndex } from 'drizzle-orm/pg-core';
import { anyJson, idText, moment } from './columns.ts';

/** A rule of when, and the task it makes. */
export const schedules = pgTable(
  'schedules',
  {
    schedule_id: idText().primaryKey(),
    owner: text().notNull(),
    client_id: text(),
    status: text().notNull(),
    cron_expression: text().notNull(),
    timezone: text().notNull(),
    description: text(),
    pause_note: text(),
    task_type: text().notNull(),
    capability_required: text().notNull(),
    input_data: anyJson().notNull(),
    priority: smallint().notNull(),
    timeout_seconds: integer().notNull(),
    max_retries: smallint().notNull(),
    retry_policy: text().notNull(),
    tags: text().array().notNull(),
    metadata: jsonb().notNull(),
    next_run_at: moment(),
    last_run_at: moment(),
    total_runs: integer().notNull().default(0),
    failed_runs: integer().notNull().default(0),
    version: integer().notNull().default(0),
    created_at: moment().notNull(),
    updated_at: moment().notNull(),
  },
  (t) => [
    index('schedules_owner').on(t.owner, t.schedule_id),
    index('schedules_due').on(t.next_run_at).where(sql`status = 'ACTIVE'`),
    check('schedules_status', sql`${t.status} in ('ACTIVE', 'PAUSED', 'ENDED', 'DELETED')`),
    check('schedules_next_run_at', sql`(${t.status} = 'ACTIVE') = (${t.next_run_at} is not null)`),
  ],
);

/** What happened at a due time. */
export const executions = pgTable(
  'executions',
  {
    execution_id: idText().primaryKey(),
    schedule_id: idText().notNull(),
    status: text().notNull(),
    scheduled_at: moment().notNull(),
    fired_at: moment(),
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
    check('executions_status', sql`${t.status} in ('FIRED', 'SKIPPED', 'MISSED', 'TRIGGERED', 'BACKFILLED')`),
  ],
);
