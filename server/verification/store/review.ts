import { recordEvents } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { retried } from '../../platform/retried.ts';
import { transition } from '../../platform/transition.ts';
import { DEFAULTS } from '../../trust/parameters.ts';
import { recordVerdicts } from '../../trust/store/verdicts.ts';
import { confirmed, foundOf, type Seen, type Settlement, still, suspected } from './decide.ts';
import { CANARY } from './due.ts';

/** How many results of one agent are looked at again at the same time. */
const AT_ONCE = 8;

/** Whether the results of anybody are to be looked at again. */
export const TO_LOOK_BACK = 'exists (select from look_backs)';

/**
 * Takes earlier results of agents that were caught to be looked at again, newest first: those that rest on their word and, where they conspired, those
 * that others agreed with. So many at a time, until enough of them in a row were right or so many were looked at (`looksFurther`), and there are no more.
 * Answers how many were taken.
 */
export async function takeResults(sql: Sql, agents: number): Promise<number> {
  const [row] = await retried(
    () => sql<[{ n: number }]>`
    with clock as materialized (select muster_now() as now),
    orders as materialized (
      select o.*, (select count(*)::int from verifications v where v.suspect = o.agent_id and v.capability = o.capability and v.state = 'REVIEWING') as under_way
      from (select * from look_backs order by since limit ${agents} for update skip locked) o
    ),
    chosen as materialized (
      select o.agent_id, c.task_id from orders o cross join lateral (
        select task_id from (
          select v.task_id, v.decided_at from verifications v where v.agent_id = o.agent_id and v.capability = o.capability and v.state = 'ACCEPTED'
          union all
          select v.task_id, v.decided_at from verdicts d join verifications v on v.task_id = d.task_id and v.state = 'AGREED'
          where o.conspired and d.agent_id = o.agent_id and d.capability = o.capability and d.found = 'RIGHT'
            and not exists (select from replicas q where q.task_id = v.task_id and q.kind = 'look_back')
        ) r order by decided_at desc
        limit case when o.looked + o.under_way < ${DEFAULTS.look_back} and o.clean < ${DEFAULTS.look_back_clean} then ${AT_ONCE} - o.under_way else 0 end
      ) c
    ),
    taken as (
      update verifications v set state = 'REVIEWING', suspect = c.agent_id, turn = v.turn + 1, check_at = (select now from clock)
      from (select distinct on (task_id) * from chosen) c where v.task_id = c.task_id and v.state in ('ACCEPTED', 'AGREED') returning v.task_id
    ),
    over as (
      delete from look_backs l using orders o where l.agent_id = o.agent_id and l.capability = o.capability
        and o.under_way = 0 and o.agent_id not in (select agent_id from chosen)
    )
    select count(*)::int as n from taken`,
  );
  return row.n;
}

/**
 * Ends a look at a task's result. Where another answer turns out to be the right one it takes its place, as a new version: who depended on it is told by the
 * event and not run again. `clean`: the answer of the agent that was caught stood. Answers whether the check was still as it was seen.
 */
export async function reviewTask(
  sql: Sql,
  seen: Seen,
  { winner, finality, note, verdicts, clean }: Omit<Settlement, 'audited'> & { clean: boolean },
): Promise<boolean> {
  const rows = await transition<{ task_id: string }>(sql, {
    before: {
      held: sql`
        select v.task_id, v.fence, v.fence <> ${winner} as revised, v.suspect, v.capability, v.result_version from verifications v
        where ${still(sql, seen)} and v.state = 'REVIEWING' for no key update`,
      found: foundOf(sql, verdicts),
      reviewed: sql`
        update verifications v set state = 'AGREED', finality = ${finality}, note = ${note}, fence = ${winner}, suspect = null, turn = v.turn + 1,
          check_at = (select now from clock where exists (select from replicas q where q.task_id = v.task_id and q.replica = ${CANARY} and q.fence is not null)),
          decided_at = (select now from clock), result_version = v.result_version + h.revised::int,
          agent_id = (select agent_id from runs where runs.fence = ${winner})
        from held h where v.task_id = h.task_id`,
      undone: sql`update runs r set final = false from held h where h.revised and r.fence = h.fence`,
      done: sql`update runs r set final = true from held h where h.revised and r.fence = ${winner}`,
    },
    change: sql`
      select t.task_id, t.task_id as subject_id, case when h.revised then 'task.result_revised' else 'task.reviewed' end as kind,
        jsonb_build_object('result_version', h.result_version + h.revised::int, 'finality', ${finality}::text, 'has_dependents', t.has_dependents) as detail
      from held h join tasks t on t.task_id = h.task_id`,
    also: {
      unwanted: sql`delete from replicas where task_id in (select task_id from changed) and fence is null`,
      recorded: sql.unsafe(recordVerdicts('found')),
      confirmed: confirmed(sql),
      suspected: suspected(sql, sql`and f.agent_id not in (select suspect from held)`),
      counted: sql`
        update look_backs l set looked = l.looked + 1, clean = case when ${clean} then l.clean + 1 else 0 end,
          conspired = l.conspired or exists (select from found f where f.agent_id = l.agent_id and f.found = 'COLLUDED')
        from held h where l.agent_id = h.suspect and l.capability = h.capability`,
    },
    event: recordEvents(sql),
    answer: sql`select task_id from changed`,
  });
  return rows.length > 0;
}
