import { z } from 'zod';
import { SCHEDULE, states, TASK } from '../lifecycle.ts';
import { endpoint } from './endpoint.ts';
import { id, json, nullableTimestamp, page, pageQuery, taskType, text, timestamp } from './fields.ts';
import { taskSettings } from './tasks.ts';

const cron_expression = z.string().min(1).max(256);
const timezone = z.string().max(64);

const schedule = z.object({
  schedule_id: id('sched'),
  status: z.enum(states(SCHEDULE)),
  cron_expression: z.string(),
  timezone: z.string(),
  next_run_at: nullableTimestamp,
  last_run_at: nullableTimestamp,
  task_type: z.string(),
  capability_required: z.string(),
  input_data: json,
  priority: z.int(),
  timeout_seconds: z.int(),
  max_retries: z.int(),
  retry_policy: z.string(),
  owner: z.string(),
  client_id: z.string().nullable(),
  tags: z.array(z.string()),
  metadata: json,
  description: z.string().nullable(),
  pause_note: z.string().nullable(),
  total_runs: z.int(),
  failed_runs: z.int(),
  created_at: timestamp,
  updated_at: timestamp,
});
export type Schedule = z.output<typeof schedule>;
const scheduleParams = z.object({ schedule_id: id('sched') });

export const createSchedule = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule',
  tag: 'Schedules',
  summary: 'Submit a task again and again, by a cron expression',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'new',
  audit: 'schedule.create',
  status: 201,
  body: z.strictObject({
    ...taskSettings,
    cron_expression,
    timezone: timezone.default('UTC'),
    description: text(1_000).optional(),
  }),
  response: schedule,
  problems: ['invalid-cron', 'invalid-timezone', 'schedule-never-fires'],
});
export const validateSchedule = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/validate',
  tag: 'Schedules',
  summary: 'Check a cron expression and see when it would fire',
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'none',
  body: z.strictObject({ cron_expression: z.string().max(1_024), timezone: timezone.default('UTC') }),
  response: z.union([
    z.object({
      valid: z.literal(true),
      cron_expression: z.string(),
      timezone: z.string(),
      next_run_at: timestamp,
      next_runs: z.array(timestamp),
    }),
    z.object({ valid: z.literal(false), cron_expression: z.string(), timezone: z.string(), message: z.string() }),
  ]),
});
export const listSchedules = endpoint({
  method: 'GET',
  path: '/aitp/tasks/schedule',
  tag: 'Schedules',
  summary: 'List schedules, newest first',
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'list',
  query: z.strictObject({
    status: z.enum(states(SCHEDULE)).optional(),
    client_id: text(128).optional(),
    task_type: taskType.optional(),
    tag: text(64).optional(),
    ...pageQuery,
  }),
  response: page(schedule),
});
export const getSchedule = endpoint({
  method: 'GET',
  path: '/aitp/tasks/schedule/{schedule_id}',
  tag: 'Schedules',
  summary: 'Look at a schedule',
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'path',
  params: scheduleParams,
  response: schedule,
  problems: ['not-found'],
});
export const deleteSchedule = endpoint({
  method: 'DELETE',
  path: '/aitp/tasks/schedule/{schedule_id}',
  tag: 'Schedules',
  summary: 'End a schedule; what it did is kept',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'path',
  audit: 'schedule.delete',
  params: scheduleParams,
  response: schedule,
  problems: ['not-found'],
});
export const pauseSchedule = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/{schedule_id}/pause',
  tag: 'Schedules',
  summary: 'Stop firing for now',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'path',
  audit: 'schedule.pause',
  params: scheduleParams,
  body: z.strictObject({ note: text(1_000).optional() }).default({}),
  bodyOptional: true,
  response: schedule,
  problems: ['not-found', 'conflict'],
});
export const resumeSchedule = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/{schedule_id}/resume',
  tag: 'Schedules',
  summary: 'Fire again, from the next due time on',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'path',
  audit: 'schedule.resume',
  params: scheduleParams,
  response: schedule,
  problems: ['not-found', 'conflict'],
});
export const listExecutions = endpoint({
  method: 'GET',
  path: '/aitp/tasks/schedule/{schedule_id}/executions',
  tag: 'Schedules',
  summary: 'What happened at each due time, newest first',
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'path',
  params: scheduleParams,
  query: z.strictObject(pageQuery),
  response: page(
    z.object({
      execution_id: id('exec'),
      schedule_id: id('sched'),
      status: z.enum(['FIRED', 'SKIPPED', 'MISSED', 'TRIGGERED', 'BACKFILLED']),
      scheduled_at: timestamp,
      fired_at: nullableTimestamp,
      lateness_ms: z.int().nullable(),
      task_id: id('task').nullable(),
      task_status: z.enum(states(TASK)).nullable(),
      result_data: json.nullable(),
      error: json.nullable(),
    }),
  ),
  problems: ['not-found'],
});
