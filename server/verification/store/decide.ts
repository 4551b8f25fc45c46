import { recordEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { retried } from '../../platform/retried.ts';
import { transition } from '../../platform/transition.ts';
import { releasing } from '../../tasks/store/concurrency.ts';
import { closing, freeKeys } from '../../tasks/store/dependencies.ts';
import { type NewVerdict, recordVerdicts } from '../../trust/store/verdicts.ts';
import { type Apart, NAMES } from '../parties.ts';
import type { Checking, Kind } from './due.ts';

/** A check as it was seen: whatever happened to it since lets nothing be done about it. */
export type Seen = Pick<Checking, 'task_id' | 'turn'>;

const moment = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
/** It is as it was seen; `v` is its row. */
export const still = (sql: Sql, { task_id, turn }: Seen): Fragment => sql`v.task_id = ${task_id} and v.turn = ${turn}`;

/** Looks at a check again later, or when something happens to it. */
export async function postpone(
  sql: Sql,
  seen: Seen,
  { until, note }: { until: number | null; note: string | null },
): Promise<boolean> {
  const { count } = await retried(
    () =>
      sql`update verifications v set check_at = ${moment(until)}::timestamptz, note = ${note} where ${still(sql, seen)}`,
  );
  return count > 0;
}

/** Lets anybody have what was wanted of somebody trusted. Answers the classes it is of. */
export async function relaxWanted(sql: Sql, seen: Seen, until: number): Promise<number[]> {
  const rows = await retried(
    () => sql<{ class_id: string }[]>`
      with held as (
        update verifications v set check_at = ${moment(until)}::timestamptz, turn = turn + 1 where ${still(sql, seen)} returning task_id)
      update replicas set trusted = false where task_id in (select task_id from held) and fence is null and trusted returning class_id`,
  );
  return rows.map((row) => Number(row.class_id));
}

/**
 * Lets those have what is wanted who have had the task and gave no answer: where there are few, one that was restarted may be the only one that can check it.
 * Not before the deadline, for who is given it again knows that it checks. Waits on, and answers the classes it is of.
 */
export async function readmitParties(sql: Sql, seen: Seen, note: string): Promise<number[]> {
  const rows = await retried(
    () => sql<{ class_id: string }[]>`
      update verifications v set check_at = null, note = ${note}, turn = v.turn + 1, parties = array(
        select distinct unnest(${sql.unsafe(NAMES('a'))}) from (
          select agent_id from runs r where r.task_id = v.task_id and r.fence > t.reset_fence and r.replica >= 0 and r.status = 'COMPLETED'
          union all select agent_id from leases l where l.task_id = v.task_id
        ) had join agents a using (agent_id))
      from tasks t where ${still(sql, seen)} and t.task_id = v.task_id and v.state = 'VERIFYING'
      returning (select class_id from replicas q where q.task_id = v.task_id and q.fence is null limit 1) as class_id`,
  );
  return rows.map((row) => Number(row.class_id));
}

/** What more is asked. `audited`: whether those who agree are judged by a third, where that is known. */
export interface More {
  kind: Kind;
  /** Of whom: of those that do the tasks of this class. */
  class_id: number;
  /** The answers a checker is given. */
  compares: readonly number[] | null;
  count: number;
  trusted: boolean;
  apart: Apart;
  audited: boolean | null;
  until: number;
}

/** Asks for more runs of a task that has an answer, of agents that have nothing to do with those that had it. */
export async function askMore(
  sql: Sql,
  seen: Seen,
  { kind, class_id, compares, count, trusted, apart, audited, until }: More,
): Promise<number[]> {
  const rows = await transition<{ class_id: string }>(sql, {
    before: {
      held: sql`
        update verifications v set turn = v.turn + 1, check_at = ${moment(until)}::timestamptz, note = null, apart = ${apart}, audited = ${audited}, parties = array(
            select unnest(v.parties) union select unnest(${sql.unsafe(NAMES('a'))}) from runs r join agents a on a.agent_id = r.agent_id
            where r.task_id = v.task_id and r.fence > t.reset_fence),
          label_value = coalesce(v.label_value, (select a.labels ->> (t.verification ->> 'label') from runs r join agents a on a.agent_id = r.agent_id where r.fence = v.fence))
        from tasks t where ${still(sql, seen)} and t.task_id = v.task_id and v.state in ('VERIFYING', 'REVIEWING') returning v.task_id, t.rank`,
    },
    change: sql`
      insert into replicas (task_id, replica, kind, class_id, compares, rank, trusted, since)
      select h.task_id, (select coalesce(max(replica), 0) from replicas r where r.task_id = h.task_id and r.replica > 0) + n, ${kind}, ${class_id}::bigint, ${compares as number[] | null}::bigint[], h.rank, ${trusted}, (select now from clock)
      from held h cross join generate_series(1, ${count}::int) n
      returning class_id, task_id as subject_id, jsonb_build_object('replica', replica, 'kind', kind) as detail`,
    event: recordEvent(sql, 'task.replicated'),
    answer: sql`select distinct class_id from changed`,
  });
  return rows.map((row) => Number(row.class_id));
}

/** What a task's answer is taken to be, and what that says of those who gave theirs. */
export interface Settlement {
  winner: number;
  finality: 'provisional' | 'verified';
  note: string | null;
  audited: boolean | null;
  verdicts: readonly NewVerdict[];
}

const ENDED = (sql: Sql): Record<string, Fragment> => ({
  unwanted: sql`delete from replicas where task_id in (select task_id from changed) and fence is null`,
  ...closing(sql, 'changed'),
  unkeyed: sql.unsafe(freeKeys('changed')),
  ...releasing(sql, 'changed'),
});

/** What was found of the answers of a check that is `held`. */
export const foundOf = (sql: Sql, verdicts: readonly NewVerdict[]): Fragment => sql`
  select x.* from held join jsonb_to_recordset(${JSON.stringify(verdicts)}::text::jsonb)
    as x(fence bigint, kind text, task_id text, agent_id text, capability text, found text, vouched boolean, judge text) using (task_id)`;

/** What rests on the word of agents that were found right since is verified; not while they are looked back at, for that is whether it was right. */
export const confirmed = (sql: Sql): Fragment => sql`
  update verifications set finality = 'verified' where task_id = any(array(
    select v.task_id from (select distinct agent_id, capability from found where found = 'RIGHT') f join verifications v
      on v.agent_id = f.agent_id and v.capability = f.capability and v.finality = 'provisional' and v.state = 'ACCEPTED'
    where not exists (select from look_backs l where l.agent_id = f.agent_id and l.capability = f.capability)
    for update of v skip locked))`;

/** The earlier results of whoever was found wrong are looked at again. `but`: of `found f`, whose are not. */
export const suspected = (sql: Sql, but: Fragment = sql``): Fragment => sql`
  insert into look_backs as l (agent_id, capability, conspired, since)
  select f.agent_id, f.capability, bool_or(f.found = 'COLLUDED'), (select now from clock) from found f where f.found <> 'RIGHT' ${but} group by 1, 2 order by 1, 2
  on conflict (agent_id, capability) do update set conspired = l.conspired or excluded.conspired, looked = 0, clean = 0`;

/** What is told of a task that ends by what was found of its answers. */
const ended = (sql: Sql): Fragment =>
  sql`t.task_id, t.task_id as subject_id, t.owner, t.concurrency_key, t.has_dependents`;

/** Completes a task with one of its answers, and records what was found. Answers whether others waited for it; undefined where it has moved. */
export async function settleTask(
  sql: Sql,
  seen: Seen,
  { winner, finality, note, audited, verdicts }: Settlement,
): Promise<{ awaited: boolean } | undefined> {
  const rows = await transition<{ awaited: boolean }>(sql, {
    before: {
      held: sql`
        update verifications v set state = ${finality === 'verified' ? 'AGREED' : 'ACCEPTED'}, finality = ${finality}, note = ${note}, audited = ${audited}, turn = v.turn + 1,
          fence = ${winner}, agent_id = (select agent_id from runs where runs.fence = ${winner}), check_at = null, decided_at = (select now from clock)
        where ${still(sql, seen)} and v.state = 'VERIFYING' returning v.task_id`,
      found: foundOf(sql, verdicts),
    },
    change: sql`
      update runs r set final = true from held h join tasks t on t.task_id = h.task_id where r.fence = ${winner} and r.task_id = h.task_id
      returning ${ended(sql)}, true as completed, jsonb_strip_nulls(jsonb_build_object('finality', ${finality}::text, 'note', ${note}::text)) as detail`,
    also: {
      ...ENDED(sql),
      recorded: sql.unsafe(recordVerdicts('found')),
      confirmed: confirmed(sql),
      suspected: suspected(sql),
    },
    event: recordEvent(sql, finality === 'verified' ? 'task.verified' : 'task.accepted'),
    answer: sql`select has_dependents or concurrency_key is not null as awaited from changed`,
  });
  return rows[0];
}

/** Fails a task whose answers nobody could decide between, or check. */
export async function disputeTask(
  sql: Sql,
  seen: Seen,
  { code, reason }: { code: string; reason: string },
): Promise<{ awaited: boolean } | undefined> {
  const rows = await transition<{ awaited: boolean }>(sql, {
    before: {
      held: sql`delete from verifications v where ${still(sql, seen)} and v.state = 'VERIFYING' returning v.task_id`,
    },
    change: sql`
      update tasks t set closed_status = 'FAILED', closed_at = (select now from clock), closed_reason = ${reason}, closed_code = ${code}
      from held h where t.task_id = h.task_id and t.closed_status is null
      returning ${ended(sql)}, false as completed, jsonb_build_object('status', t.closed_status, 'code', t.closed_code) as detail`,
    also: ENDED(sql),
    event: recordEvent(sql, 'task.disputed'),
    answer: sql`select has_dependents or concurrency_key is not null as awaited from changed`,
  });
  return rows[0];
}

/** Asks for nothing more of a task that has ended. */
export async function forgetCheck(sql: Sql, seen: Seen): Promise<boolean> {
  const { count } = await retried(
    () => sql`
      with gone as (delete from verifications v where ${still(sql, seen)} and v.state in ('ALONE', 'OPEN', 'VERIFYING', 'ENDED') returning v.task_id),
      unwanted as (delete from replicas where task_id in (select task_id from gone) and fence is null)
      select from gone`,
  );
  return count > 0;
}
