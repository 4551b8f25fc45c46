import { z } from 'zod';
import { RUN, states } from '../lifecycle.ts';
import { endpoint } from './endpoint.ts';
import { capability, id, instant, json, page, pageQuery, taskType } from './fields.ts';
import { run } from './tasks.ts';

const ofTask = {
  task_id: id('task'),
  task_type: z.string(),
  capability: z.string(),
  owner: z.string().describe("The task's"),
};
/** A run in a list; what may be large is only in the record. */
const runSummary = run.omit({ progress: true }).extend(ofTask);
export const runRecord = run.extend({ ...ofTask, result_data: json.nullable() });
export type RunRecord = z.output<typeof runRecord>;

const runParams = z.object({ run_id: id('run') });
const runFilter = {
  task_id: id('task').optional(),
  agent_id: id('agent').optional(),
  status: z.enum(states(RUN)).optional(),
  capability: capability.optional(),
  task_type: taskType.optional(),
  from: instant.optional().describe('Finished at this time or later'),
  to: instant.optional().describe('Finished before this time'),
};

export const listRuns = endpoint({
  method: 'GET',
  path: '/aitp/runs',
  tag: 'Runs',
  summary: 'List runs, live ones too, newest first',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'list',
  query: z.strictObject({ ...runFilter, ...pageQuery }),
  response: page(runSummary),
});
export const exportRuns = endpoint({
  method: 'GET',
  path: '/aitp/runs/export',
  tag: 'Runs',
  summary: 'All runs with their results, newest first: one JSON document a line',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'list',
  query: z.strictObject(runFilter),
  lines: true,
  response: z.array(runRecord),
});
export const getRun = endpoint({
  method: 'GET',
  path: '/aitp/runs/{run_id}',
  tag: 'Runs',
  summary: 'Look at a run and its result',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'path',
  params: runParams,
  response: runRecord,
  problems: ['not-found'],
});
export const deleteRun = endpoint({
  method: 'DELETE',
  path: '/aitp/runs/{run_id}',
  tag: 'Runs',
  summary: 'Forget an earlier run of a task that has ended',
  principals: ['key'],
  scope: 'tasks:write',
  ownership: 'path',
  audit: 'run.delete',
  params: runParams,
  response: runRecord,
  problems: ['not-found', 'conflict'],
});
export const cleanupRuns = endpoint({
  method: 'POST',
  path: '/aitp/runs/cleanup',
  tag: 'Runs',
  summary: 'Forget tasks that ended long ago, with their runs',
  principals: ['key'],
  // Of every owner's tasks at once, so only an admin's key will do.
  scope: 'admin',
  ownership: 'none',
  audit: 'runs.cleanup',
  // Much to forget takes its time.
  waits: true,
  body: z.strictObject({
    older_than_days: z.int().min(1).max(36_500).describe('Since when they have ended, at least'),
    dry_run: z.boolean().default(false).describe('Count them only'),
  }),
  response: z.object({ tasks: z.int(), runs: z.int(), dry_run: z.boolean() }),
});
