import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { unqueue } from './transitions.ts';

/**
 * Moves tasks that wait to the rank of another priority. Their rows in `ready` go and others come, so that a claim which
 * looks at that moment finds neither and leaves them to the next. Answers those that waited somewhere in this instant.
 */
export async function moveRanks(
  sql: Sql,
  taskIds: readonly string[],
  priority: number,
  audit?: Fragment,
): Promise<string[]> {
  const ids = sql`any(${taskIds as string[]}::text[])`;
  // As submit has it: run_at moved earlier by five minutes per priority step.
  const rank = sql`run_at - ${priority}::int * interval '5 minutes'`;
  const ranks = sql`(select task_id, ${rank} as rank from tasks where task_id = ${ids})`;
  const rows = await transition<{ task_id: string }>(sql, {
    before: {
      was: sql`select task_id, priority from tasks where task_id = ${ids}`,
      unqueued: unqueue(sql, ids),
      moved: sql`update delayed d set rank = t.rank from ${ranks} t where d.task_id = ${ids} and d.task_id = t.task_id returning d.task_id`,
      regated: sql`update gated g set rank = t.rank from ${ranks} t where g.task_id = ${ids} and g.task_id = t.task_id returning g.task_id`,
      // One that waits for nothing any more is on its way to `ready` with the rank it had.
      held: sql`select task_id from blocked where task_id = ${ids} and open > 0 order by task_id for update`,
      found: sql`select task_id from unqueued union select task_id from moved union select task_id from regated union select task_id from held`,
    },
    change: sql`
      update tasks t set priority = ${priority}, rank = ${rank} from was
      where t.task_id = any(array(select task_id from found)) and was.task_id = t.task_id
      returning t.task_id, t.class_id, t.rank, t.task_id as subject_id, t.owner, jsonb_build_object('priority', t.priority) as detail,
        jsonb_build_object('priority', was.priority) as before, jsonb_build_object('priority', t.priority) as after`,
    also: {
      queued: sql`
        insert into ready (class_id, rank, task_id, replica, attempt, failures)
        select c.class_id, c.rank, c.task_id, u.replica, u.attempt, u.failures from changed c join unqueued u on u.task_id = c.task_id`,
    },
    event: recordEvent(sql, 'task.prioritised'),
    audit,
    answer: sql`select task_id from changed`,
  });
  return rows.map((row) => row.task_id);
}

/** Moves one task. False where it waits nowhere in this instant. */
export async function moveRank(sql: Sql, taskId: string, priority: number, by?: Actor): Promise<boolean> {
  return (await moveRanks(sql, [taskId], priority, recordAudit(sql, by, 'task.prioritise'))).length > 0;
}
