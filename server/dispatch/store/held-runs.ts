import { arrayLiteral, type Sql } from '../../platform/database.ts';
import type { NewTask } from '../../tasks/store/submit.ts';

/** A run as it is handed out; `input_data` is JSON text. */
export interface ClaimedRun {
  fence: number;
  task_id: string;
  task_type: string;
  capability_required: string;
  input_data: string;
  attempt: number;
  timeout_seconds: number;
  slot_cost: number;
  traceparent: string | null;
  /** JSON text: what an earlier attempt kept. */
  checkpoint?: string | null;
}

/** The first run of a task that is handed off as it comes. */
export const firstRunOf = (task: NewTask, fence: number): ClaimedRun => ({
  fence,
  task_id: task.task_id,
  task_type: task.task_type,
  capability_required: task.capability_required,
  input_data: task.input_data,
  attempt: 1,
  timeout_seconds: task.timeout_seconds,
  slot_cost: 1,
  traceparent: task.traceparent,
});

/** What a run that is handed out tells of its task. */
export const RUN = `task_id, task_type, capability_required, input_data::text as input_data, traceparent`;

const SAID = `verification -> 'comparator'`;
/** The same where it may be a checker's: `compares` are the runs whose answers it is given, null where it is none. What it is for, its task's comparator says. */
export const runOf = (compares: string): string => `
  task_id, traceparent, case when ${compares} is null then task_type else ${SAID} ->> 'task_type' end as task_type,
  case when ${compares} is null then capability_required else coalesce(${SAID} ->> 'capability_required', ${SAID} ->> 'task_type') end as capability_required,
  case when ${compares} is null then input_data::text else json_build_object('task_type', task_type, 'input_data', input_data, 'answers', (
    select json_agg(r.result_data order by c.ord) from unnest(${compares}) with ordinality c(fence, ord)
    cross join lateral (select result_data from runs where runs.fence = c.fence offset 0) r), 'settings', ${SAID} -> 'settings')::text end as input_data`;

/** What the agent of a run with an alias is told instead of its task's id and trace: neither says that anybody had it before. */
export const TOLD = {
  task_id: 'coalesce(alias, task_id)',
  traceparent: `case when alias is null then traceparent else '00-' || md5(task_id || alias) || '-' || left(md5(alias || task_id), 16) || right(traceparent, 3) end`,
};
/** What else is known of a run its task goes without: what it compares. */
const comparesOf = (lease: string): string =>
  `(select compares from replicas where ${lease}.replica > 0 and replicas.task_id = ${lease}.task_id and replicas.replica = ${lease}.replica)`;
export const aliasOf = (lease: string): string =>
  `(select alias from replicas where ${lease}.replica < 0 and replicas.task_id = ${lease}.task_id and replicas.replica = ${lease}.replica)`;

/** What an attempt hands to the next: the last checkpoint of the task's own runs since somebody began it anew. A first attempt costs no look. */
export const checkpointOf = (run: string): string => `
  case when ${run}.attempt > 1 then (
    select (progress -> 'checkpoint')::text from runs
    where runs.task_id = ${run}.task_id and runs.replica = ${run}.replica and runs.fence > (select reset_fence from tasks where tasks.task_id = ${run}.task_id) and runs.progress ? 'checkpoint'
    order by fence desc limit 1
  ) end as checkpoint`;

/** A run an agent is leased, and whether it is to be stopped. */
export interface HeldRun extends ClaimedRun {
  cancel: boolean;
}

/** All that an agent is leased, for a poll that does not name all of it: the reply that told of it was lost. */
export async function listHeldRuns(hot: Sql, agentId: string): Promise<HeldRun[]> {
  const rows = await hot.unsafe<(Omit<HeldRun, 'fence'> & { fence: string })[]>(
    `select fence, ${TOLD.task_id} as task_id, task_type, capability_required, input_data, ${TOLD.traceparent} as traceparent, attempt, timeout_seconds, slot_cost, cancel,
       ${checkpointOf('h')} from (
       select l.fence, l.replica, ${aliasOf('l')} as alias, l.attempt, l.timeout_seconds, l.slot_cost, l.cancel_requested_at is not null as cancel, t.*
       from leases l cross join lateral (select ${comparesOf('l')} as compares offset 0) q
       cross join lateral (select ${runOf('q.compares')} from tasks where tasks.task_id = l.task_id offset 0) t where l.agent_id = $1
     ) h order by h.fence`,
    [agentId],
    { prepare: true },
  );
  return rows.map((row) => ({ ...row, fence: Number(row.fence) }));
}

/** Which of these runs the agent does hold, and which of them are to be stopped. */
export async function findHeldRuns(
  hot: Sql,
  agentId: string,
  fences: readonly number[],
): Promise<{ fence: number; cancel: boolean; slot_cost: number }[]> {
  const rows = await hot.unsafe<{ fence: string; cancel: boolean; slot_cost: number }[]>(
    `select fence, slot_cost, cancel_requested_at is not null as cancel from leases
     where fence = any($1::text::bigint[]) and agent_id = $2 order by fence`,
    [arrayLiteral(fences), agentId],
    { prepare: true },
  );
  return rows.map((row) => ({ ...row, fence: Number(row.fence) }));
}
