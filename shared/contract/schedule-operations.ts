import { z } from 'zod';
import { endpoint } from './endpoint.ts';
import { id, instant, page, pageQuery, taskType, text, timestamp } from './fields.ts';
import { namedScheduleBody, scheduleBody } from './schedule-rule.ts';
import { dryRunQuery, execution, scheduleOrDryRun, scheduleParams, WHEN_PROBLEMS } from './schedules.ts';

const count = z.int().nonnegative();

export const updateSchedule = endpoint({
  method: 'PUT',
  path: '/aitp/tasks/schedule/{schedule_id}',
  tag: 'Schedules',
  summary: 'Give a schedule another rule in place of its own; what it did and whether it is paused stay',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'path',
  audit: 'schedule.update',
  versioned: true,
  params: scheduleParams,
  query: z.strictObject(dryRunQuery),
  body: scheduleBody,
  response: scheduleOrDryRun,
  problems: ['not-found', 'conflict', ...WHEN_PROBLEMS],
});

export const triggerSchedule = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/{schedule_id}/trigger',
  tag: 'Schedules',
  summary: 'Make its task now, whatever is due and whatever is under way',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'path',
  audit: 'schedule.trigger',
  idempotent: true,
  status: 201,
  params: scheduleParams,
  response: execution,
  problems: ['not-found', 'conflict', 'idempotency-mismatch'],
});

/** How many due times one backfill may be of. */
export const MOST_BACKFILLED = 1_000;
export const backfillSchedule = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/{schedule_id}/backfill',
  tag: 'Schedules',
  summary: 'Make its task for each due time of the past that lies in a range, by the rule it has now',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'path',
  audit: 'schedule.backfill',
  idempotent: true,
  status: 201,
  params: scheduleParams,
  body: z
    .strictObject({
      from: instant.describe('The first instant that counts'),
      to: instant.describe(`The last; at most ${MOST_BACKFILLED} due times in between`),
      overlap: z
        .enum(['BUFFER_ALL', 'ALLOW_ALL'])
        .default('BUFFER_ALL')
        .describe('One after the other, the oldest first, or all at once'),
    })
    .refine(({ from, to }) => !(Date.parse(from) > Date.parse(to)), { path: ['to'], error: 'must not be before from' }),
  response: z.object({
    schedule_id: id('sched'),
    made: count.describe('Executions, and tasks'),
    first: timestamp.nullable().describe('The first due time that was made up for'),
    last: timestamp.nullable(),
  }),
  problems: ['not-found', 'conflict', 'idempotency-mismatch'],
});

/** A due time as clocks in the zone of its schedule show it. */
const occurrence = {
  scheduled_at: timestamp,
  fire_at: timestamp.describe('With its jitter'),
  local: z.string().describe('The same as clocks there show it, with their distance from UTC'),
  note: z.string().nullable().describe('What clocks that are set do to it'),
};
export const previewSchedule = endpoint({
  method: 'GET',
  path: '/aitp/tasks/schedule/{schedule_id}/preview',
  tag: 'Schedules',
  summary: 'The due times that come next and those that came last, by the rule it has now',
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'path',
  params: scheduleParams,
  query: z.strictObject({
    next: z.coerce.number().int().min(0).max(100).default(10),
    past: z.coerce.number().int().min(0).max(100).default(0),
  }),
  response: z.object({
    schedule_id: id('sched'),
    timezone: z.string(),
    next: z.array(z.object(occurrence)),
    past: z.array(z.object(occurrence)).describe('The last first'),
  }),
  problems: ['not-found'],
});

export const listCalendar = endpoint({
  method: 'GET',
  path: '/aitp/tasks/schedule/calendar',
  tag: 'Schedules',
  summary: 'The due times to come of all active schedules, the earliest first',
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'list',
  query: z.strictObject({
    from: instant.optional().describe('Due then or later; now unless said, and no earlier'),
    to: instant.optional().describe('Due before; a year after `from` unless said, and no later'),
    client_id: text(128).optional(),
    task_type: taskType.optional(),
    tag: text(64).optional(),
    ...pageQuery,
  }),
  response: page(
    z.object({
      schedule_id: id('sched'),
      name: z.string().nullable(),
      owner: z.string(),
      task_type: z.string(),
      timezone: z.string(),
      ...occurrence,
    }),
  ),
});

const moved = z.object({ matched: count.describe('With those beyond the limit'), moved: count });
const byTag = { tag: text(64).min(1), limit: z.int().min(1).max(1_000).default(1_000) };
export const pauseSchedules = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/pause',
  tag: 'Schedules',
  summary: 'Pause all active schedules that have a tag',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'list',
  audit: 'schedule.pause',
  query: z.strictObject(dryRunQuery),
  body: z.strictObject({ ...byTag, note: text(1_000).optional() }),
  response: moved,
});
export const resumeSchedules = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/resume',
  tag: 'Schedules',
  summary: 'Resume all paused schedules that have a tag',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'list',
  audit: 'schedule.resume',
  query: z.strictObject(dryRunQuery),
  body: z.strictObject(byTag),
  response: moved,
});

/** How many schedules one file may have. */
export const MOST_IN_FILE = 500;
export const exportSchedules = endpoint({
  method: 'GET',
  path: '/aitp/tasks/schedule/export',
  tag: 'Schedules',
  summary: "The caller's own schedules that have a name, as a file that can be imported",
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'list',
  yaml: true,
  response: z.object({
    schedules: z.array(
      z.looseObject({ name: z.string() }).describe('What it was told to be, but for what holds unless said'),
    ),
  }),
  problems: ['conflict'],
});
export const importSchedules = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/import',
  tag: 'Schedules',
  summary:
    "Make the caller's own schedules that have a name be those of a file: create, update, delete, or nothing of it",
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'new',
  audit: 'schedule.import',
  yaml: true,
  query: z.strictObject(dryRunQuery),
  body: z.strictObject({ schedules: z.array(namedScheduleBody).max(MOST_IN_FILE) }),
  response: z.object({
    created: count,
    updated: count,
    deleted: count,
    unchanged: count,
    plan: z.array(
      z.object({
        action: z.enum(['create', 'update', 'delete']),
        name: z.string(),
        schedule_id: id('sched').nullable().describe('None where it is yet to be created'),
        changes: z.array(z.string()).describe('The fields an update changes'),
      }),
    ),
  }),
  problems: ['conflict', ...WHEN_PROBLEMS],
});
