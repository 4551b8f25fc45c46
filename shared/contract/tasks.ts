import { z } from 'zod';
import { BACKOFF_BASE_MS, BACKOFF_CAP_MS, RETRY_POLICIES } from '../backoff.ts';
import { RUN, states, TASK } from '../lifecycle.ts';
import { endpoint } from './endpoint.ts';
import {
  capability,
  id,
  instant,
  json,
  labelsOfAgents,
  metadata,
  nullableTimestamp,
  page,
  pageQuery,
  priority,
  tags,
  taskType,
  text,
  timestamp,
  usage,
} from './fields.ts';
import { verification } from './verification.ts';

/** How it is decided who of several agents that wait is given a task. */
export const ROUTINGS = ['trust_weighted', 'least_loaded', 'round_robin', 'fastest_response'] as const;
export type Routing = (typeof ROUTINGS)[number];

/** What of a task its submitter decides; a schedule decides the same of the tasks it makes. */
export const taskSettings = {
  task_type: taskType,
  capability_required: capability.optional().describe('What the agent must be able to do; the task_type unless said'),
  input_data: json,
  priority: priority.default(5).describe('10 first'),
  timeout_seconds: z.int().min(1).max(604_800).default(300).describe('The longest a run may take'),
  max_retries: z.int().min(0).max(100).default(3),
  retry_policy: z.enum(RETRY_POLICIES).default('exponential'),
  client_id: text(128).min(1).optional(),
  tags: tags.default([]),
  metadata: metadata.default({}),
  labels_required: labelsOfAgents.default({}).describe('What labels the agent must have'),
  labels_preferred: labelsOfAgents
    .default({})
    .describe('What labels it should have: one that waits with them is given the task before others'),
  slot_cost: z.int().min(1).max(1_000).default(1).describe('How many of its slots an agent gives it'),
  min_trust: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe('The least trust_score of an agent that is given it, in the capability it requires'),
  min_integrity: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe('What the integrity of that agent must be at least, with 95 % certainty'),
  routing: z.enum(ROUTINGS).default('trust_weighted').describe('Who of several agents that wait is given it'),
  retry_base_ms: z.int().min(1).max(3_600_000).default(BACKOFF_BASE_MS).describe('The first pause before a retry'),
  retry_cap_ms: z.int().min(1).max(86_400_000).default(BACKOFF_CAP_MS).describe('No pause is longer'),
  retry_jitter: z.boolean().default(true).describe('Spread each pause over its upper half'),
  non_retryable: z.array(text(128).min(1)).max(32).default([]).describe('Error codes that end the retries'),
  task_timeout_seconds: z
    .int()
    .min(1)
    .max(31_536_000)
    .optional()
    .describe('The longest the whole task may take from its run_at on, all tries and waits together'),
  concurrency_key: text(256)
    .min(1)
    .optional()
    .describe('Of the tasks of an owner that share one, only so many are under way at a time'),
  concurrency_limit: z.int().min(1).max(100_000).default(1).describe('How many; what was said last holds'),
  verification: verification.default('none').describe('How others check what an agent answers'),
};

/** What is of one task alone. */
const ownSettings = {
  run_at: instant.optional(),
  expires_at: instant.optional(),
  unique_key: text(256)
    .min(1)
    .optional()
    .describe('Of the tasks of an owner that share one, only one is open at a time'),
  unique_policy: z
    .enum(['reject', 'keep', 'replace'])
    .default('reject')
    .describe('Where there is one: refuse this one, keep that one and answer it, or cancel that one first'),
  depends_on: z.array(id('task')).max(100).optional().describe('It waits until all of these have ended'),
  on_dependency_failure: z
    .enum(['fail', 'skip', 'run'])
    .default('fail')
    .describe('What becomes of it when one of them ends without being COMPLETED'),
};

export const run = z.object({
  run_id: id('run'),
  fence: z.int(),
  agent_id: id('agent'),
  attempt: z.int(),
  replica: z.int().describe('0 is the task’s own; the others were asked for to check it'),
  status: z.enum(states(RUN)),
  fault: z.string().nullable(),
  error: json.nullable(),
  progress: json.nullable(),
  usage: usage.nullable(),
  cancel_requested_at: nullableTimestamp,
  assigned_at: timestamp,
  started_at: nullableTimestamp,
  finished_at: nullableTimestamp,
});
export const taskSummary = z.object({
  task_id: id('task'),
  task_type: z.string(),
  capability_required: z.string(),
  status: z.enum(states(TASK)),
  dead_letter: z.boolean(),
  priority: z.int(),
  owner: z.string(),
  client_id: z.string().nullable(),
  agent_id: z.string().nullable(),
  attempt: z.int(),
  timeout_seconds: z.int(),
  max_retries: z.int(),
  retry_policy: z.enum(RETRY_POLICIES),
  retry_base_ms: z.int(),
  retry_cap_ms: z.int(),
  retry_jitter: z.boolean(),
  non_retryable: z.array(z.string()),
  task_timeout_seconds: z.int().nullable(),
  labels_required: z.record(z.string(), z.string()),
  labels_preferred: z.record(z.string(), z.string()),
  slot_cost: z.int(),
  min_trust: z.number(),
  min_integrity: z.number(),
  routing: z.enum(ROUTINGS),
  tags: z.array(z.string()),
  metadata: json,
  unique_key: z.string().nullable(),
  concurrency_key: z.string().nullable(),
  verification: json.describe('As it was asked for'),
  finality: z
    .enum(['provisional', 'verified'])
    .nullable()
    .describe(
      'What its result rests on: its agent’s word, or that of others, too; null where nobody checks, or there is none yet',
    ),
  result_version: z.int().describe('Counts up when a result turns out wrong and is replaced'),
  verification_note: z.string().nullable().describe('Why it is not verified as it was asked for'),
  depends_on: z.array(z.string()),
  on_dependency_failure: z.string().nullable(),
  schedule_id: z.string().nullable(),
  batch_id: z.string().nullable(),
  run_at: timestamp,
  expires_at: nullableTimestamp,
  created_at: timestamp,
  started_at: nullableTimestamp,
  finished_at: nullableTimestamp,
});
export const task = taskSummary.extend({
  input_data: json,
  result_data: json.nullable(),
  error: json.nullable(),
  runs: z.array(run),
});
export type Task = z.output<typeof task>;

/** A task as somebody submits it. */
export const newTask = z.strictObject({ ...taskSettings, ...ownSettings });

const taskParams = z.object({ task_id: id('task') });

export const createTask = endpoint({
  method: 'POST',
  path: '/aitp/tasks',
  tag: 'Tasks',
  summary: 'Submit a task',
  principals: ['key'],
  scope: 'tasks:write',
  ownership: 'new',
  idempotent: true,
  status: 201,
  body: newTask,
  response: z.object({
    task_id: id('task'),
    status: z.enum(states(TASK)),
    task_type: z.string(),
    capability_required: z.string(),
    priority: z.int(),
    run_at: timestamp,
    created_at: timestamp,
  }),
  problems: ['conflict', 'idempotency-mismatch'],
});
export const listTasks = endpoint({
  method: 'GET',
  path: '/aitp/tasks',
  tag: 'Tasks',
  summary: 'List tasks, newest first',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'list',
  query: z.strictObject({
    status: z.enum(states(TASK)).optional(),
    task_type: taskType.optional(),
    agent_id: id('agent').optional(),
    client_id: text(128).optional(),
    tag: text(64).optional(),
    metadata: text(512).optional().describe('key=value, as text'),
    batch_id: id('batch').optional(),
    ...pageQuery,
  }),
  response: page(taskSummary),
});
export const getTask = endpoint({
  method: 'GET',
  path: '/aitp/tasks/{task_id}',
  tag: 'Tasks',
  summary: 'Look at a task, its result and its runs',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'path',
  params: taskParams,
  response: task,
  problems: ['not-found'],
});
export const cancelTask = endpoint({
  method: 'POST',
  path: '/aitp/tasks/{task_id}/cancel',
  tag: 'Tasks',
  summary: 'Cancel a task; a running process is killed',
  principals: ['key'],
  scope: 'tasks:write',
  ownership: 'path',
  audit: 'task.cancel',
  params: taskParams,
  body: z.strictObject({ reason: text(1_000).optional() }).default({}),
  bodyOptional: true,
  response: taskSummary,
  problems: ['not-found', 'task-terminal'],
});
export const retryTask = endpoint({
  method: 'POST',
  path: '/aitp/tasks/{task_id}/retry',
  tag: 'Tasks',
  summary: 'Queue an ended task again, attempts reset, history kept',
  principals: ['key'],
  scope: 'tasks:write',
  ownership: 'path',
  audit: 'task.retry',
  params: taskParams,
  response: taskSummary,
  problems: ['not-found', 'conflict'],
});
