import { z } from 'zod';
import { states, TASK } from '../lifecycle.ts';
import { endpoint } from './endpoint.ts';
import { capability, dryRun, id, instant, priority, taskType, text } from './fields.ts';

const count = z.int().min(0);

/** Which tasks: those to which all of it applies. */
const filter = {
  status: z.enum(states(TASK)).optional(),
  task_type: taskType.optional(),
  capability: capability.optional(),
  client_id: text(128).optional(),
  tag: text(64).optional(),
  metadata: text(512).optional().describe('key=value, as text'),
  batch_id: id('batch').optional(),
  schedule_id: id('sched').optional(),
  from: instant.optional().describe('Created then or later'),
  to: instant.optional().describe('Created before'),
};
const limit = z.int().min(1).max(100_000).default(10_000).describe('Change no more than so many');
type Filter = z.output<z.ZodObject<typeof filter>>;

/** What is meant for all tasks has to say so, if only by a time. */
const somewhere = ({
  status,
  task_type,
  capability,
  client_id,
  tag,
  metadata,
  batch_id,
  schedule_id,
  from,
  to,
}: Filter) =>
  [status, task_type, capability, client_id, tag, metadata, batch_id, schedule_id, from, to].some(
    (it) => it !== undefined,
  );
const NOWHERE = { error: 'must name at least one thing to choose tasks by' };

const bulk = {
  method: 'POST',
  tag: 'Bulk',
  principals: ['key'],
  scope: 'tasks:write',
  ownership: 'list',
  query: z.strictObject({ dry_run: dryRun }),
} as const;

/** What a change of many came to. */
export const bulkChange = z.object({
  matched: count.describe('Tasks the filter finds to which it can be done'),
  changed: count,
  remaining: count.describe('Of those, what is left: beyond the limit, or moved on meanwhile'),
  task_ids: z.array(id('task')).describe('The first hundred of those changed; in a dry run of those that would be'),
});

export const cancelTasks = endpoint({
  ...bulk,
  path: '/aitp/tasks/bulk/cancel',
  summary: 'Cancel all tasks of a filter that have not ended',
  audit: 'task.bulk_cancel',
  body: z.strictObject({ ...filter, limit, reason: text(1_000).optional() }).refine(somewhere, NOWHERE),
  response: bulkChange,
});

export const retryTasks = endpoint({
  ...bulk,
  path: '/aitp/tasks/bulk/retry',
  summary: 'Queue all ended tasks of a filter again that can be, attempts reset, history kept',
  audit: 'task.bulk_retry',
  body: z.strictObject({ ...filter, limit }).refine(somewhere, NOWHERE),
  response: bulkChange,
});

export const prioritiseTasks = endpoint({
  ...bulk,
  path: '/aitp/tasks/bulk/reprioritise',
  summary: 'Change the priority of all tasks of a filter that wait',
  audit: 'task.bulk_prioritise',
  body: z.strictObject({ ...filter, limit, priority }).refine(somewhere, NOWHERE),
  response: bulkChange,
});

export const cancelBatch = endpoint({
  ...bulk,
  path: '/aitp/tasks/batch/{batch_id}/cancel',
  tag: 'Batches',
  summary: 'Cancel all tasks of a batch that have not ended',
  ownership: 'path',
  audit: 'task.bulk_cancel',
  params: z.object({ batch_id: id('batch') }),
  body: z.strictObject({ limit, reason: text(1_000).optional() }).default({ limit: 10_000 }),
  bodyOptional: true,
  response: bulkChange,
  problems: ['not-found'],
});
