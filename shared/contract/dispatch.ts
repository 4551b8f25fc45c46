import { z } from 'zod';
import { OUTCOMES, states, TASK } from '../lifecycle.ts';
import { endpoint } from './endpoint.ts';
import { fence, id, json, runError, slots, text, timestamp, usage } from './fields.ts';

const agentParams = z.object({ agent_id: id('agent') });
const runParams = z.object({ run_id: id('run') });

/** What an agent says of how far it is; `checkpoint` is kept with the run. */
export const progress = z.strictObject({
  percent: z.number().min(0).max(100).optional(),
  message: text(1_000).optional(),
  checkpoint: json.optional(),
});
const outcome = {
  outcome: z.enum(OUTCOMES),
  result_data: json.optional(),
  error: runError.optional(),
  usage: usage.optional(),
};
/** A result as a poll carries it. */
export const result = z.strictObject({ run_id: id('run'), fence, ...outcome });
export type Result = z.output<typeof result>;

/** A run as a poll hands it out. */
export const assignedRun = z.object({
  run_id: id('run'),
  fence,
  task_id: id('task'),
  task_type: z.string(),
  capability_required: z.string(),
  input_data: json,
  attempt: z.int(),
  timeout_seconds: z.int(),
  slot_cost: z.int().optional().describe('How many slots it takes, where it is more than one'),
  checkpoint: json.optional(),
  traceparent: z.string().optional(),
});
export type AssignedRun = z.output<typeof assignedRun>;

export const heartbeat = endpoint({
  method: 'POST',
  path: '/ains/agents/{agent_id}/heartbeat',
  tag: 'Agent protocol',
  summary: 'Say that this agent lives, and what it holds',
  principals: ['agent'],
  vital: true,
  params: agentParams,
  body: z.strictObject({
    boot_id: id('boot'),
    status: z.enum(['ACTIVE', 'DEGRADED']),
    slots_free: z.int().min(0).max(10_000),
    runs: z
      .array(
        z.strictObject({ run_id: id('run'), fence, started: z.boolean().optional(), progress: progress.optional() }),
      )
      .max(10_000),
    uptime_ms: z.int().min(0).optional(),
    metrics: z.record(z.string().max(64), z.number()).optional(),
  }),
  response: z.object({
    acknowledged: z.literal(true),
    server_time: timestamp,
    heartbeat_interval_ms: z.int(),
    lease_expires_at: timestamp,
    lost: z.array(id('run')),
    cancel: z.array(id('run')),
    drain: z.boolean(),
  }),
  problems: ['insufficient-scope', 'stale-lease', 'token-revoked'],
});
export const poll = endpoint({
  method: 'POST',
  path: '/ains/agents/{agent_id}/poll',
  tag: 'Agent protocol',
  summary: 'Report results and ask for work in one round trip',
  principals: ['agent'],
  vital: true,
  waits: true,
  params: agentParams,
  body: z.strictObject({
    boot_id: id('boot'),
    slots: slots.or(z.literal(0)).describe('How many runs are wanted now'),
    wait_ms: z.int().min(0).max(60_000),
    holding: z
      .array(id('run'))
      .max(10_000)
      .optional()
      .describe('What this agent has; what it was leased but does not name is handed out again'),
    results: z.array(result).max(1_000).optional(),
  }),
  response: z.object({
    runs: z.array(assignedRun),
    results: z.array(z.object({ run_id: id('run'), applied: z.boolean(), code: z.string().optional() })),
    lease_expires_at: timestamp,
    cancel: z.array(id('run')).optional().describe('Runs to stop: a poll that waits is answered at once'),
  }),
  problems: ['insufficient-scope', 'stale-lease', 'token-revoked', 'rate-limited'],
});
export const leave = endpoint({
  method: 'POST',
  path: '/ains/agents/{agent_id}/leave',
  tag: 'Agent protocol',
  summary: 'Go: what this agent holds is re-queued at once',
  principals: ['agent'],
  vital: true,
  params: agentParams,
  body: z.strictObject({ boot_id: id('boot') }),
  response: z.object({ requeued: z.int() }),
  problems: ['insufficient-scope', 'stale-lease'],
});
export const startRun = endpoint({
  method: 'POST',
  path: '/aitp/runs/{run_id}/start',
  tag: 'Agent protocol',
  summary: 'Say that a run has started (may be left out)',
  principals: ['agent'],
  vital: true,
  params: runParams,
  body: z.strictObject({ fence }),
  response: z.object({ applied: z.boolean() }),
  problems: ['stale-lease'],
});
export const progressRun = endpoint({
  method: 'POST',
  path: '/aitp/runs/{run_id}/progress',
  tag: 'Agent protocol',
  summary: 'Say how far a run is',
  principals: ['agent'],
  vital: true,
  params: runParams,
  body: progress.extend({ fence }),
  response: z.object({ applied: z.boolean(), cancel: z.boolean() }),
  problems: ['stale-lease'],
});
export const reportResult = endpoint({
  method: 'POST',
  path: '/aitp/runs/{run_id}/result',
  tag: 'Agent protocol',
  summary: 'Report how a run ended',
  principals: ['agent'],
  vital: true,
  params: runParams,
  body: z.strictObject({ fence, ...outcome }),
  response: z.object({ applied: z.boolean(), task_status: z.enum(states(TASK)) }),
  problems: ['stale-lease', 'task-terminal'],
});
