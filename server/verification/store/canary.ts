import type { Sql } from '../../platform/database.ts';
import { retried } from '../../platform/retried.ts';
import { type NewVerdict, recordVerdicts } from '../../trust/store/verdicts.ts';
import { confirmed, foundOf, type Seen, still, suspected } from './decide.ts';
import { CANARY } from './due.ts';

/** One of so many tasks of a capability that were verified last is given out again. */
const AMONG = 100;

/** The row that is locked is asked in other words than the index of `newest` is for: it would be walked to the one row. */
const WANT = `
with clock as materialized (select muster_now() as now),
newest as materialized (
  select task_id from verifications where capability = $1 and state = 'AGREED' and finality = 'verified' order by decided_at desc limit ${AMONG}
),
drawn as materialized (
  select task_id from newest n
  where (select count(*) from replicas q where q.task_id = n.task_id and q.replica = ${CANARY}) = 0
    and (select verification #>> '{comparator,kind}' from tasks where tasks.task_id = n.task_id) <> 'checker'
    and (select count(*) from runs r cross join lateral (
      select 1 from verdicts d where d.fence = r.fence and d.found = 'RIGHT' and d.vouched offset 0) d where r.task_id = n.task_id) > 0
  order by random() limit 1
),
chosen as materialized (
  select v.task_id, t.* from drawn d cross join lateral (
    select task_id from verifications v where v.task_id = d.task_id and case state when 'AGREED' then finality end = 'verified' for no key update skip locked
  ) v cross join lateral (
    select class_id, rank, (verification ->> 'deadline_seconds')::float8 as deadline_seconds from tasks where tasks.task_id = v.task_id offset 0
  ) t
),
held as (
  update verifications v set turn = v.turn + 1, check_at = (select now from clock) + (select deadline_seconds from chosen) * interval '1 second'
  where v.task_id = (select task_id from chosen) returning v.task_id
)
insert into replicas (task_id, replica, kind, class_id, rank, trusted, since, alias)
select task_id, ${CANARY}, 'canary', class_id, rank, false, (select now from clock), $2 from chosen join held using (task_id)
on conflict do nothing returning class_id`;

/**
 * Wants a run of a task whose answer is known, of somebody who has nothing to do with those that had it: verified, with the agreement of someone trusted,
 * so that those who agree on a lie make no canaries of it, not given out again before, and compared without a checker, whom it would tell of. Answers the classes.
 */
export async function wantCanary(
  hot: Sql,
  { capability, alias }: { capability: string; alias: string },
): Promise<number[]> {
  const rows = await hot.unsafe<{ class_id: string }[]>(WANT, [capability, alias], { prepare: true });
  return rows.map((row) => Number(row.class_id));
}

/** Wants it no more: nobody took it. */
export async function withdrawCanary(sql: Sql, seen: Seen): Promise<boolean> {
  const { count } = await retried(
    () => sql`
      with held as (update verifications v set turn = turn + 1, check_at = null where ${still(sql, seen)} returning v.task_id)
      delete from replicas where task_id in (select task_id from held) and replica = ${CANARY} and fence is null`,
  );
  return count > 0;
}

/** Records what an answer to a canary says of who gave it; of its task nothing changes. Answers whether the check was still as it was seen. */
export async function recordCanary(sql: Sql, seen: Seen, verdict: NewVerdict): Promise<boolean> {
  const rows = await retried(
    () => sql`
      with clock as materialized (select muster_now() as now),
      held as (update verifications v set turn = turn + 1, check_at = null where ${still(sql, seen)} and v.state = 'AGREED' returning v.task_id),
      found as (${foundOf(sql, [verdict])}),
      recorded as (${sql.unsafe(recordVerdicts('found'))}),
      confirmed as (${confirmed(sql)}),
      suspected as (${suspected(sql)})
      select task_id from held`,
  );
  return rows.length > 0;
}
