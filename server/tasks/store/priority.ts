import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';

/**
 * Moves a task that waits to the rank of another priority. Its row in `ready` goes and another comes, so that a claim which
 * looks at that moment finds neither and leaves it to the next. False where it waits nowhere in this instant.
 */
export async function moveRank(sql: Sql, taskId: string, priority: number, by?: Actor): Promise<boolean> {
  // As submit has it: run_at moved earlier by five minutes per priority step.
  const rank = sql`run_at - ${priority}::int * interval '5 minutes'`;
  const rows = await transition(sql, {
    before: {
      was: sql`select priority from tasks where task_id = ${taskId}`,
      unqueued: sql`
        delete from ready where task_id = ${taskId} and (class_id, rank) = (select class_id, rank from tasks where task_id = ${taskId})
        returning replica, attempt, failures`,
      moved: sql`
        update delayed d set rank = t.rank from (select task_id, ${rank} as rank from tasks where task_id = ${taskId}) t
        where d.task_id = t.task_id returning d.task_id`,
      regated: sql`
        update gated g set rank = t.rank from (select task_id, ${rank} as rank from tasks where task_id = ${taskId}) t
        where g.task_id = t.task_id returning g.task_id`,
      // One that waits for nothing any more is on its way to `ready` with the rank it had.
      held: sql`select task_id from blocked where task_id = ${taskId} and open > 0 for update`,
    },
    change: sql`
      update tasks set priority = ${priority}, rank = ${rank}
      where task_id = ${taskId} and (exists (select from unqueued) or exists (select from moved) or exists (select from regated) or exists (select from held))
      returning task_id, class_id, rank, task_id as subject_id, owner, jsonb_build_object('priority', priority) as detail,
        jsonb_build_object('priority', (select priority from was)) as before, jsonb_build_object('priority', priority) as after`,
    also: {
      queued: sql`
        insert into ready (class_id, rank, task_id, replica, attempt, failures)
        select c.class_id, c.rank, c.task_id, u.replica, u.attempt, u.failures from changed c cross join unqueued u`,
    },
    event: recordEvent(sql, 'task.prioritised'),
    audit: recordAudit(sql, by, 'task.prioritise'),
    answer: sql`select task_id from changed`,
  });
  return rows.length > 0;
}
