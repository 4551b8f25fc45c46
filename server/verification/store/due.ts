import type { Verified } from '@muster/shared/contract/verification';
import type { Sql } from '../../platform/database.ts';
import type { Apart } from '../parties.ts';

/** Whether a verification is to be looked at. */
export const TO_CHECK = 'exists (select from verifications where check_at <= (select now from clock))';

export type Kind = 'replica' | 'judge' | 'audit' | 'look_back' | 'checker';

/** An answer that is in. `kind`: what its run was asked for; null where it is the task's own. */
export interface Answered {
  fence: number;
  agent_id: string;
  kind: Kind | null;
}

/** A checker's run that has ended. `compares`: whose answers it was given. */
export interface Compared {
  fence: number;
  compares: number[];
  status: string;
}

/** The replica of a task's canary. */
export const CANARY = -1;

/** A run that is asked for and has not ended. `trusted`: only of somebody who is; `since`: from when on. Milliseconds. */
export interface Asked {
  replica: number;
  trusted: boolean;
  since: number;
  live: boolean;
}

/** A task's canary: since when it is wanted, in milliseconds, who took it, and how that ended; null what has not come to pass. */
export interface Canary {
  since: number;
  fence: number | null;
  agent_id: string | null;
  status: string | null;
}

/** How the check of a task stands. */
export interface Checking {
  task_id: string;
  state: 'ALONE' | 'OPEN' | 'VERIFYING' | 'ACCEPTED' | 'AGREED' | 'REVIEWING' | 'ENDED';
  turn: number;
  owner: string;
  class_id: number;
  capability: string;
  verification: Verified;
  /** The run that is its result. */
  fence: number | null;
  /** Who was caught, where its result is looked at again. */
  suspect: string | null;
  audited: boolean | null;
  note: string | null;
  finality: 'provisional' | 'verified' | null;
  parties: string[];
  apart: Apart;
  /** One of each agent, the first. */
  answers: Answered[];
  open: Asked[];
  compared: Compared[];
  /** How many runs were asked for. */
  asked: number;
  canary: Canary | null;
  /** Its task has ended, by a run or a word. */
  ended: boolean;
  now: number;
}

/** The verifications that are due, longest first. Of answers of one agent, or of two that were to be apart, the first counts. */
export async function listDue(sql: Sql, limit: number): Promise<Checking[]> {
  const rows = await sql<(Omit<Checking, 'now'> & { now: Date })[]>`
    with clock as materialized (select muster_now() as now),
    due as materialized (select * from verifications where check_at <= (select now from clock) order by check_at limit ${limit})
    select d.task_id, d.state, d.turn, t.owner, t.class_id::int, t.capability_required as capability, t.verification, d.fence::float8 as fence, d.suspect, d.audited, d.note, d.finality, d.parties, d.apart,
      coalesce(y.answers, '[]') as answers, coalesce(c.compared, '[]') as compared, coalesce(w.open, '[]') as open, coalesce(w.asked, 0) as asked, k.canary, now,
      t.closed_status is not null or exists (select from runs r where r.task_id = d.task_id and r.final and r.fence > t.reset_fence) as ended
    from clock, due d cross join lateral (
      select owner, class_id, capability_required, verification, reset_fence, closed_status from tasks where tasks.task_id = d.task_id offset 0) t
    left join lateral (
      select jsonb_agg(jsonb_build_object('fence', fence, 'agent_id', agent_id, 'kind', kind) order by fence) as answers from (
        select distinct on (case d.apart when 'owner' then a.owner else a.enrollment_token_id end) r.fence, r.agent_id, q.kind from runs r
        cross join lateral (select owner, enrollment_token_id from agents where agents.agent_id = r.agent_id offset 0) a left join replicas q on q.task_id = r.task_id and q.replica = r.replica
        where r.task_id = d.task_id and r.replica >= 0 and r.status = 'COMPLETED' and r.fence > t.reset_fence and q.kind is distinct from 'checker'
        order by case d.apart when 'owner' then a.owner else a.enrollment_token_id end, r.fence
      ) o
    ) y on true
    left join lateral (
      select jsonb_agg(jsonb_build_object('fence', r.fence, 'compares', q.compares, 'status', r.status) order by r.fence) as compared
      from replicas q cross join lateral (select fence, status from runs where runs.fence = q.fence offset 0) r
      where q.task_id = d.task_id and q.kind = 'checker' and q.fence > t.reset_fence
    ) c on true
    left join lateral (
      select jsonb_agg(jsonb_build_object('replica', q.replica, 'trusted', q.trusted, 'since', extract(epoch from q.since) * 1000, 'live', l.fence is not null))
        filter (where q.fence is null or l.fence is not null) as open, count(*)::int as asked
      from replicas q left join leases l on l.fence = q.fence where q.task_id = d.task_id and q.replica > 0 and (q.fence is null or q.fence > t.reset_fence) having count(*) > 0
    ) w on true
    left join lateral (
      select jsonb_build_object('since', extract(epoch from q.since) * 1000, 'fence', q.fence, 'agent_id', r.agent_id, 'status', r.status) as canary
      from replicas q left join runs r on r.fence = q.fence where q.task_id = d.task_id and q.replica = ${CANARY}
    ) k on true
    order by d.check_at`;
  return rows.map((row) => ({ ...row, now: row.now.getTime() }));
}

/** What was answered, as JSON text, in the order of the runs. */
export async function findAnswers(sql: Sql, fences: readonly number[]): Promise<(string | null)[]> {
  const rows = await sql<{ fence: string; result_data: string | null }[]>`
    select fence, result_data::text from runs where fence = any(${fences as number[]}::bigint[])`;
  const byFence = new Map(rows.map((row) => [Number(row.fence), row.result_data]));
  return fences.map((fence) => byFence.get(fence) ?? null);
}
