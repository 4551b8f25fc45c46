import type { Verified } from '@muster/shared/contract/verification';
import { recordEvent } from '../../events/record.ts';
import { arrayLiteral, type Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { type Apart, NAMES, type Party } from '../parties.ts';

/** A run that was just claimed of a task that others check. */
export interface Claimed extends Party {
  fence: number;
  class_id: number;
  capability: string;
  verification: Verified;
}

/** Of these runs those of tasks that others check, and whose they are. */
export async function findClaimed(hot: Sql, fences: readonly number[]): Promise<Claimed[]> {
  const rows = await hot.unsafe<(Omit<Claimed, 'fence' | 'class_id'> & { fence: string; class_id: string })[]>(
    `select l.fence, l.class_id, l.capability, l.agent_id, a.enrollment_token_id, a.owner, t.verification
     from (select * from leases where fence = any($1::text::bigint[])) l
     cross join lateral (select verification from tasks where tasks.task_id = l.task_id and tasks.verification is not null offset 0) t
     cross join lateral (select enrollment_token_id, owner from agents where agents.agent_id = l.agent_id offset 0) a`,
    [arrayLiteral(fences)],
    { prepare: true },
  );
  return rows.map((row) => ({ ...row, fence: Number(row.fence), class_id: Number(row.class_id) }));
}

/** What is to become of the answer of a run: it is taken at its agent's word (`wanted` 0), or so many others are asked, too. */
export interface Opening {
  fence: number;
  wanted: number;
  trusted: boolean;
  apart: Apart;
}

/**
 * Begins the checks of tasks that were just claimed. One that has begun goes on: of a task that is claimed again only who has it is noted, and one whose
 * answer was to be taken at another's word is drawn for anew. Nothing is done where the run is over. Answers the classes runs are wanted of.
 */
export async function openVerifications(sql: Sql, openings: readonly Opening[]): Promise<number[]> {
  const rows = await transition<{ class_id: string }>(sql, {
    before: {
      x: sql`select * from jsonb_to_recordset(${JSON.stringify(openings)}::text::jsonb) as x(fence bigint, wanted int, trusted boolean, apart text)`,
      live: sql`
        select x.*, l.task_id, l.class_id, l.capability, t.rank, t.verification, ${sql.unsafe(NAMES('a'))} as parties, a.labels ->> (t.verification ->> 'label') as label_value,
          (t.verification ->> 'deadline_seconds')::float8 as deadline_seconds
        from x cross join lateral (select task_id, class_id, capability, agent_id from leases where leases.fence = x.fence and cancel_requested_at is null offset 0) l
        cross join lateral (select rank, verification from tasks where tasks.task_id = l.task_id offset 0) t
        cross join lateral (select agent_id, enrollment_token_id, owner, labels from agents where agents.agent_id = l.agent_id offset 0) a`,
      opened: sql`
        insert into verifications as v (task_id, state, fence, parties, apart, label_value, check_at)
        select task_id, case wanted when 0 then 'ALONE' else 'OPEN' end, fence, parties, apart, label_value,
          case when wanted > 0 then (select now from clock) + deadline_seconds / 2 * interval '1 second' end from live order by task_id
        on conflict (task_id) do update set parties = v.parties || excluded.parties, turn = v.turn + 1,
          state = case v.state when 'ALONE' then excluded.state else v.state end, fence = case v.state when 'ALONE' then excluded.fence else v.fence end,
          check_at = case v.state when 'ALONE' then excluded.check_at else v.check_at end
        where v.state in ('ALONE', 'OPEN') and (not v.parties @> excluded.parties or v.state = 'ALONE' and v.fence <> excluded.fence)
        returning task_id, state`,
    },
    change: sql`
      insert into replicas (task_id, replica, kind, class_id, rank, trusted, since)
      select l.task_id, (select coalesce(max(replica), 0) from replicas r where r.task_id = l.task_id) + n, 'replica', l.class_id, l.rank, l.trusted, (select now from clock)
      from live l join opened o on o.task_id = l.task_id and o.state = 'OPEN' cross join lateral generate_series(1, l.wanted) n
      where (
        select count(*) from replicas r where r.task_id = l.task_id and (r.fence is null or r.fence > (select reset_fence from tasks where tasks.task_id = l.task_id))) = 0
      returning class_id, task_id as subject_id, jsonb_build_object('replica', replica, 'kind', kind) as detail`,
    event: recordEvent(sql, 'task.replicated'),
    answer: sql`select distinct class_id from changed`,
  });
  return rows.map((row) => Number(row.class_id));
}
