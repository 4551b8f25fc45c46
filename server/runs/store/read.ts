import type { RunStatus } from '@muster/shared/lifecycle';
import type { Fragment, Sql } from '../../platform/database.ts';
import type { RunRow } from '../../tasks/store/read.ts';

export interface RunSummaryRow extends Omit<RunRow, 'progress'> {
  task_id: string;
  task_type: string;
  capability: string;
  owner: string;
}

/** A run with its data; `result_data` is JSON text. */
export interface RunRecordRow extends RunSummaryRow, Pick<RunRow, 'progress'> {
  result_data: string | null;
}

export interface RunFilter {
  /** Whose; everybody's unless said. */
  owner?: string | undefined;
  task_id?: string | undefined;
  agent_id?: string | undefined;
  status?: RunStatus | undefined;
  capability?: string | undefined;
  task_type?: string | undefined;
  /** Of those that finished. */
  from?: string | undefined;
  to?: string | undefined;
  /** The run with this fence. */
  fence?: number;
  /** Older than this one. */
  after?: string | undefined;
  limit: number;
}

const SHARED =
  'x.fence, x.task_id, t.task_type, x.capability, t.owner, x.agent_id, x.attempt, x.replica, x.assigned_at, x.started_at';
const FINISHED = `${SHARED}, x.finished_at, x.status, x.fault, x.error, x.usage, null::timestamptz as cancel_requested_at`;
const LIVE = `${SHARED}, null::timestamptz as finished_at, case when x.started_at is null then 'ASSIGNED' else 'RUNNING' end as status,
  null::text as fault, null::jsonb as error, null::jsonb as usage, x.cancel_requested_at`;

const RECORD = [
  'fence',
  'task_id',
  'task_type',
  'capability',
  'owner',
  'agent_id',
  'attempt',
  'replica',
  'assigned_at',
  'started_at',
  'finished_at',
  'status',
  'fault',
  'error',
  'usage',
  'cancel_requested_at',
  'progress',
  'result_data',
];

/** The runs that pass the filter, live ones among them, newest first. `full`: with their data. */
function runsOf(sql: Sql, filter: RunFilter, full: boolean): Fragment {
  const { owner, status, task_id, agent_id, capability, task_type, from, to, fence, after, limit } = filter;
  const where = sql`
    where x.replica >= 0 ${owner === undefined ? sql`` : sql`and t.owner = ${owner}`} ${owner === undefined || owner === 'admin' ? sql`` : sql`and t.owner <> 'admin'`}
      ${task_id ? sql`and x.task_id = ${task_id}` : sql``} ${agent_id ? sql`and x.agent_id = ${agent_id}` : sql``}
      ${capability ? sql`and x.capability = ${capability}` : sql``} ${task_type ? sql`and t.task_type = ${task_type}` : sql``}
      ${fence === undefined ? sql`` : sql`and x.fence = ${fence}`} ${after ? sql`and x.fence < ${after}::bigint` : sql``}`;
  const finished = sql`
    select ${sql.unsafe(FINISHED)} ${full ? sql`, x.progress, x.result_data::text` : sql``} from runs x join tasks t on t.task_id = x.task_id ${where}
      ${status ? sql`and x.status = ${status}` : sql``} ${from ? sql`and x.finished_at >= ${from}::timestamptz` : sql``}
      ${to ? sql`and x.finished_at < ${to}::timestamptz` : sql``}
    order by x.fence desc limit ${limit}`;
  const live = sql`
    select ${sql.unsafe(LIVE)} ${full ? sql`, x.progress, null::text as result_data` : sql``} from leases x join tasks t on t.task_id = x.task_id ${where}
      ${status ? sql`and (x.started_at is null) = ${status === 'ASSIGNED'}` : sql``} ${from || to ? sql`and false` : sql``}
    order by x.fence desc limit ${limit}`;
  if (status === 'ASSIGNED' || status === 'RUNNING') return live;
  if (status || from || to) return finished;
  return sql`(${finished}) union all (${live}) order by fence desc limit ${limit}`;
}

export async function listRuns(sql: Sql, filter: RunFilter): Promise<RunSummaryRow[]> {
  return sql<RunSummaryRow[]>`${runsOf(sql, filter, false)}`;
}

/** The same with their data: no more at a time than so many bytes of it, but one at least. */
export async function listRecords(sql: Sql, filter: RunFilter, bytes: number): Promise<RunRecordRow[]> {
  return sql<RunRecordRow[]>`
    select ${sql(RECORD)} from (
      select *, sum(coalesce(octet_length(result_data), 0) + coalesce(octet_length(progress::text), 0)) over newest as size, row_number() over newest as n
      from (${runsOf(sql, filter, true)}) r window newest as (order by fence desc rows unbounded preceding)
    ) sized where n = 1 or size <= ${bytes} order by fence desc`;
}

export async function findRun(sql: Sql, fence: number): Promise<RunRecordRow | undefined> {
  if (!Number.isSafeInteger(fence)) return undefined;
  const [row] = await sql<RunRecordRow[]>`${runsOf(sql, { fence, limit: 1 }, true)}`;
  return row;
}

/** Whose a run is: its task's owner. A canary's is nobody's. */
export async function ownerOfRun(sql: Sql, fence: number): Promise<string | undefined> {
  if (!Number.isSafeInteger(fence)) return undefined;
  const [row] = await sql<{ owner: string }[]>`
    select owner from tasks where task_id = coalesce(
      (select task_id from runs where fence = ${fence} and replica >= 0), (select task_id from leases where fence = ${fence} and replica >= 0))`;
  return row?.owner;
}
