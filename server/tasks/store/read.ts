import type { Json, Usage } from '@muster/shared/contract/fields';
import type { Routing } from '@muster/shared/contract/tasks';
import type { Verified } from '@muster/shared/contract/verification';
import type { TaskStatus } from '@muster/shared/lifecycle';
import type { Sql } from '../../platform/database.ts';
import { inBatch } from './batches.ts';

/** A row of the view `task_state`: a task with the status its rows elsewhere come to. */
export interface TaskRow {
  task_id: string;
  task_type: string;
  capability_required: string;
  status: TaskStatus;
  dead_letter: boolean;
  priority: number;
  owner: string;
  client_id: string | null;
  agent_id: string | null;
  attempt: number;
  timeout_seconds: number;
  max_retries: number;
  retry_policy: 'none' | 'fixed' | 'linear' | 'exponential';
  retry_base_ms: number;
  retry_cap_ms: number;
  retry_jitter: boolean;
  non_retryable: string[];
  task_timeout_seconds: number | null;
  labels_required: Record<string, string>;
  labels_preferred: Record<string, string>;
  slot_cost: number;
  min_trust: number;
  min_integrity: number;
  routing: Routing;
  tags: string[];
  metadata: Json;
  unique_key: string | null;
  concurrency_key: string | null;
  verification: Verified | null;
  finality: 'provisional' | 'verified' | null;
  result_version: number;
  verification_note: string | null;
  depends_on: string[] | null;
  on_dependency_failure: string | null;
  schedule_id: string | null;
  batch_id: string | null;
  run_at: Date;
  expires_at: Date | null;
  created_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
  closed_reason: string | null;
  closed_code: string | null;
  final_fence: string | null;
}

export interface RunRow {
  fence: string;
  agent_id: string;
  attempt: number;
  replica: number;
  status: 'ASSIGNED' | 'RUNNING' | 'COMPLETED' | 'FAILED' | 'TIMED_OUT' | 'CANCELLED' | 'RETURNED' | 'LOST';
  fault: string | null;
  error: Json;
  progress: Json;
  usage: Usage | null;
  cancel_requested_at: Date | null;
  assigned_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
}

export interface TaskFilter {
  /** Whose; everybody's unless said. */
  owner?: string | undefined;
  status?: TaskStatus | undefined;
  task_type?: string | undefined;
  agent_id?: string | undefined;
  client_id?: string | undefined;
  tag?: string | undefined;
  metadata?: { key: string; value: string } | undefined;
  batch_id?: string | undefined;
  after?: string | undefined;
  limit: number;
}

/** What a list shows of a task: columns of `task_state`. */
export const SUMMARY = [
  'task_id',
  'task_type',
  'capability_required',
  'status',
  'dead_letter',
  'priority',
  'owner',
  'client_id',
  'agent_id',
  'attempt',
  'timeout_seconds',
  'max_retries',
  'retry_policy',
  'retry_base_ms',
  'retry_cap_ms',
  'retry_jitter',
  'non_retryable',
  'task_timeout_seconds',
  'labels_required',
  'labels_preferred',
  'slot_cost',
  'min_trust',
  'min_integrity',
  'routing',
  'tags',
  'metadata',
  'unique_key',
  'concurrency_key',
  'verification',
  'finality',
  'result_version',
  'verification_note',
  'depends_on',
  'on_dependency_failure',
  'schedule_id',
  'batch_id',
  'run_at',
  'expires_at',
  'created_at',
  'started_at',
  'finished_at',
  'closed_reason',
  'closed_code',
  'final_fence',
];

export async function findTask(sql: Sql, taskId: string): Promise<TaskRow | undefined> {
  const [row] = await sql<TaskRow[]>`select ${sql(SUMMARY)} from task_state where task_id = ${taskId}`;
  return row;
}

export async function ownerOfTask(sql: Sql, taskId: string): Promise<string | undefined> {
  const [row] = await sql<{ owner: string }[]>`select owner from tasks where task_id = ${taskId}`;
  return row?.owner;
}

/** A task's input and, where it ended by a run, that run's result and error: JSON text. */
export async function findTaskData(sql: Sql, taskId: string, fence: string | null) {
  const [row] = await sql<{ input_data: string; result_data: string | null; error: string | null }[]>`
    select t.input_data::text, r.result_data::text, r.error::text
    from tasks t left join runs r on r.fence = ${fence}::bigint where t.task_id = ${taskId}`;
  return row;
}

/** Every run of a task, the live one last. Canaries are no part of it, here and wherever runs are shown. */
export async function listTaskRuns(sql: Sql, taskId: string): Promise<RunRow[]> {
  return sql<RunRow[]>`
    select fence, agent_id, attempt, replica, status, fault, error, progress, usage, null::timestamptz as cancel_requested_at, assigned_at, started_at, finished_at
    from runs where task_id = ${taskId} and replica >= 0
    union all
    select fence, agent_id, attempt, replica, case when started_at is null then 'ASSIGNED' else 'RUNNING' end, null, null, progress, null, cancel_requested_at,
      assigned_at, started_at, null
    from leases where task_id = ${taskId} and replica >= 0
    order by fence`;
}

/**
 * Tasks, newest first. A filter on a rare status starts from the rows that make the status, not from all tasks.
 * COMPLETED and no status at all walk down the primary key, or the index of owners, which leaves out the network's own.
 */
export async function listTasks(sql: Sql, filter: TaskFilter): Promise<TaskRow[]> {
  const { owner, status, task_type, agent_id, client_id, tag, metadata, batch_id, after, limit } = filter;
  const narrowed = {
    ASSIGNED: sql`and task_id in (select task_id from leases)`,
    RUNNING: sql`and task_id in (select task_id from leases)`,
    FAILED: sql`and (closed_status = 'FAILED' or task_id in (select task_id from runs where final and status <> 'COMPLETED'))`,
    TIMED_OUT: sql`and (closed_status = 'TIMED_OUT' or task_id in (select task_id from runs where final and status <> 'COMPLETED'))`,
    VERIFYING: sql`and task_id in (select task_id from verifications where state = 'VERIFYING')`,
    BLOCKED: sql`and task_id in (select task_id from blocked)`,
    SKIPPED: sql`and closed_status = 'SKIPPED'`,
    CANCELLED: sql`and closed_status = 'CANCELLED'`,
    EXPIRED: sql`and closed_status = 'EXPIRED'`,
    PENDING: sql`and task_id in (select task_id from ready union all select task_id from delayed union all select task_id from gated)`,
    COMPLETED: sql`and closed_status is null`,
  };
  return sql<TaskRow[]>`
    select ${sql(SUMMARY)} from task_state where true
      ${status ? narrowed[status] : sql``} ${status ? sql`and status = ${status}` : sql``}
      ${task_type ? sql`and task_type = ${task_type}` : sql``} ${
        agent_id
          ? sql`
          and agent_id = ${agent_id}
          and task_id in (select task_id from leases where agent_id = ${agent_id} union all select task_id from runs where agent_id = ${agent_id})`
          : sql``
      }
      ${owner === undefined ? sql`` : sql`and owner = ${owner}`} ${owner === undefined || owner === 'admin' ? sql`` : sql`and owner <> 'admin'`}
      ${client_id ? sql`and client_id = ${client_id}` : sql``} ${tag ? sql`and ${tag} = any(tags)` : sql``}
      ${metadata ? sql`and metadata ->> ${metadata.key} = ${metadata.value}` : sql``}
      ${batch_id ? sql`and ${inBatch(sql, batch_id, sql`task_state`)}` : sql``} ${after ? sql`and task_id < ${after}` : sql``}
    order by task_id desc limit ${limit}`;
}
