import { z } from 'zod';
import { AGENT_MODE, states, TASK } from '../lifecycle.ts';
import { endpoint } from './endpoint.ts';
import {
  capability,
  id,
  instant,
  json,
  nullableTimestamp,
  page,
  pageQuery,
  priority,
  taskType,
  text,
  timestamp,
} from './fields.ts';
import { taskSummary } from './tasks.ts';

const count = z.int().min(0);
const taskParams = z.object({ task_id: id('task') });

const startsPerSecond = z.number().min(0.001).max(100_000);
const bounds = {
  max_running: z.int().min(1).max(100_000).describe('How many runs there may be at a time'),
  starts_per_second: startsPerSecond.describe('How many runs may begin in a second; those of a tenth of one at once'),
  weight: z.int().min(1).max(1_000).describe('An owner’s share beside others’; 1 unless said'),
};
const limit = z.object({
  scope: z.enum(['global', 'owner', 'capability']),
  name: z.string(),
  max_running: bounds.max_running.nullable(),
  starts_per_second: bounds.starts_per_second.nullable(),
  weight: bounds.weight.nullable(),
  running: count.describe('Runs it counts now, those that are being stopped too'),
  updated_at: timestamp,
});

const queueFigures = z.object({
  ready: count,
  delayed: count,
  blocked: count.describe('Wait for other tasks'),
  gated: count.describe('Wait for room under their concurrency key'),
  running: count.describe('Live runs, those that are being stopped too'),
  by_priority: z.record(z.string(), count).describe('Of what is ready, by priority 1 to 10'),
  oldest: nullableTimestamp.describe('The earliest run_at of what is ready'),
  age_ms: z
    .object({ p50: count, p90: count, p99: count, max: count })
    .nullable()
    .describe('How long what is ready has been so: since its run_at'),
});
export const getQueueStats = endpoint({
  method: 'GET',
  path: '/aitp/queue/stats',
  tag: 'Queue',
  summary:
    'What waits and runs, by capability, the longest queue first. Where more than 10,000 tasks are ready (`estimated`), by_priority, oldest and age_ms are read off a sample of them, taken evenly in the order they will be claimed in; the other figures are always exact',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'list',
  query: z.strictObject({ capability: capability.optional() }),
  response: z.object({
    data: z
      .array(queueFigures.extend({ capability: z.string(), paused: z.boolean().describe('Of one owner at least') }))
      .describe('At most 1,000'),
    totals: queueFigures,
    estimated: z.boolean(),
    limits: z
      .array(limit.omit({ weight: true, updated_at: true }))
      .describe('What is limited, and how much of it runs: all to an admin, to others their own; at most 1,000'),
  }),
});

const pausedCapability = z.object({
  owner: z.string().describe('Whose tasks; `*` for everybody’s'),
  capability: z.string(),
  paused: z.boolean(),
  paused_at: nullableTimestamp,
  paused_by: z.enum(['owner', 'network']).nullable(),
});
const capabilityParams = z.object({ capability });
const pausing = {
  method: 'POST',
  tag: 'Queue',
  principals: ['key'],
  scope: 'tasks:write',
  ownership: 'list',
  params: capabilityParams,
  response: pausedCapability,
} as const;
export const listQueueCapabilities = endpoint({
  method: 'GET',
  path: '/aitp/queue/capabilities',
  tag: 'Queue',
  summary: 'The capabilities tasks were submitted for, and which of them are paused: those first',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'list',
  query: z.strictObject({ capability: capability.optional() }),
  response: z.object({ data: z.array(pausedCapability).describe('At most 1,000') }),
});
export const pauseCapability = endpoint({
  ...pausing,
  path: '/aitp/queue/capabilities/{capability}/pause',
  summary:
    'Hand out no tasks that require just this capability, neither new ones nor those that wait; what runs goes on. An admin pauses everybody’s, others their own',
  audit: 'capability.pause',
  problems: ['conflict'],
});
export const resumeCapability = endpoint({
  ...pausing,
  path: '/aitp/queue/capabilities/{capability}/resume',
  summary: 'Hand them out again: an admin ends the pause for everybody, others their own',
  audit: 'capability.resume',
});

const limitParams = z.object({
  scope: z.enum(['global', 'owner', 'capability']),
  name: text(128)
    .regex(/^(\*|[A-Za-z0-9][A-Za-z0-9._:@-]*)$/, { error: 'must be an owner or a capability, or * for the network' })
    .describe('Whose or of what; `*` for the network'),
});
/** Limits are about everybody, so only an admin’s key will do. */
const limiting = { tag: 'Queue', principals: ['key'], scope: 'admin', ownership: 'none' } as const;
export const listLimits = endpoint({
  ...limiting,
  method: 'GET',
  path: '/aitp/queue/limits',
  summary: 'The limits of the network, of owners and of capabilities',
  response: z.object({ data: z.array(limit).describe('At most 10,000') }),
});
export const putLimit = endpoint({
  ...limiting,
  method: 'PUT',
  path: '/aitp/queue/limits/{scope}/{name}',
  summary:
    'Set a limit, in place of what it was. It holds within two seconds; what runs is counted and goes on. A capability is one that tasks require, to the letter',
  audit: 'limit.set',
  params: limitParams,
  body: z
    .strictObject({
      max_running: bounds.max_running.optional(),
      starts_per_second: bounds.starts_per_second.optional(),
      weight: bounds.weight.optional().describe('Of owners only'),
    })
    .refine((body) => Object.keys(body).length > 0, { error: 'must limit something' }),
  response: limit,
  problems: ['conflict'],
});
export const deleteLimit = endpoint({
  ...limiting,
  method: 'DELETE',
  path: '/aitp/queue/limits/{scope}/{name}',
  summary: 'End a limit; what it was is the answer',
  audit: 'limit.delete',
  params: limitParams,
  response: limit,
  problems: ['not-found'],
});

export const getWorkload = endpoint({
  method: 'GET',
  path: '/ains/agents/{agent_id}/workload',
  tag: 'Queue',
  summary: 'What an agent does, and what there is for it to do',
  principals: ['key'],
  scope: 'agents:read',
  ownership: 'path',
  params: z.object({ agent_id: id('agent') }),
  response: z.object({
    agent_id: id('agent'),
    mode: z.enum(states(AGENT_MODE)),
    slots: count,
    slots_used: count,
    able: z.boolean().describe('Whether it could be given anything now'),
    reason: z.string().nullable().describe('Why not'),
    runs: z.array(
      z.object({
        run_id: id('run'),
        task_id: id('task'),
        capability: z.string(),
        attempt: z.int(),
        slot_cost: z.int(),
        assigned_at: timestamp,
        started_at: nullableTimestamp,
        cancel_requested_at: nullableTimestamp,
      }),
    ),
    capabilities: z
      .array(z.object({ capability: z.string(), ready: count, paused: z.boolean() }))
      .describe('What it may be given tasks of, the longest queue first; `ready` leaves out what is paused'),
  }),
  problems: ['not-found'],
});

export const explainTask = endpoint({
  method: 'GET',
  path: '/aitp/tasks/{task_id}/explain',
  tag: 'Queue',
  summary: 'Why a task does not run, and which agents could have it',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'path',
  params: taskParams,
  response: z.object({
    task_id: id('task'),
    status: z.enum(states(TASK)),
    place: z.enum(['blocked', 'delayed', 'gated', 'ready', 'leased', 'verifying', 'ended']),
    reason: z.string(),
    paused: z.boolean(),
    until: nullableTimestamp.describe('When it becomes ready, where it is delayed'),
    agent_id: z.string().nullable().describe('Who has it, where it is leased'),
    ahead: count
      .nullable()
      .describe('How many tasks with the same requirements are claimed before it, where it is ready'),
    candidates: z
      .array(
        z.object({
          agent_id: id('agent'),
          able: z.boolean(),
          reason: z.string().nullable().describe('The first reason why it may not have it'),
        }),
      )
      .describe('Agents that serve its owner, those that may have it first; at most 200'),
  }),
  problems: ['not-found'],
});

export const prioritiseTask = endpoint({
  method: 'PUT',
  path: '/aitp/tasks/{task_id}/priority',
  tag: 'Tasks',
  summary: 'Change the priority of a task that waits',
  principals: ['key'],
  scope: 'tasks:write',
  ownership: 'path',
  audit: 'task.prioritise',
  params: taskParams,
  body: z.strictObject({ priority }),
  response: taskSummary,
  problems: ['not-found', 'conflict', 'task-terminal'],
});

const deadLetterFilter = {
  task_type: taskType.optional(),
  capability: capability.optional(),
  agent_id: id('agent').optional().describe('Whose run was the last'),
  error_code: text(128).min(1).optional(),
  from: instant.optional().describe('Ended then or later'),
  to: instant.optional().describe('Ended before'),
};
export const listDeadLetters = endpoint({
  method: 'GET',
  path: '/aitp/dead-letters',
  tag: 'Dead letters',
  summary: 'List the tasks that failed or took too long and are not tried again, the last to end first',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'list',
  query: z.strictObject({ ...deadLetterFilter, ...pageQuery }),
  response: page(taskSummary.extend({ error: json.nullable() })),
});
export const retryDeadLetters = endpoint({
  method: 'POST',
  path: '/aitp/dead-letters/retry',
  tag: 'Dead letters',
  summary: 'Queue dead letters again, the first to end first, attempts reset, history kept',
  principals: ['key'],
  scope: 'tasks:write',
  ownership: 'list',
  audit: 'task.retry',
  body: z.strictObject({
    ...deadLetterFilter,
    limit: z.int().min(1).max(1_000).default(100),
    dry_run: z.boolean().default(false).describe('Only count them'),
  }),
  response: z.object({ matched: count.describe('With those beyond the limit'), retried: count }),
});
