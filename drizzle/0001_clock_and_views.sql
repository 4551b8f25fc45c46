-- The one clock, in milliseconds as on the wire. The test kit replaces it by one that can be moved; STABLE, so that an index can be used.
create function muster_now() returns timestamptz language sql stable parallel safe as $$ select date_trunc('milliseconds', statement_timestamp()) $$;
--> statement-breakpoint
-- Hot tables are updated in place where there is room, and keep their pages when drained.
alter table agents set (fillfactor = 50);
--> statement-breakpoint
alter table presence set (fillfactor = 50);
--> statement-breakpoint
alter table trust set (fillfactor = 50);
--> statement-breakpoint
alter table leases set (fillfactor = 50, vacuum_truncate = off);
--> statement-breakpoint
alter table ready set (vacuum_truncate = off);
--> statement-breakpoint
alter table delayed set (vacuum_truncate = off);
--> statement-breakpoint
-- A task with the status that its rows elsewhere come to (docs/lifecycle.md).
create view task_state as
select t.*,
  case
    when t.closed_status is not null then t.closed_status
    when l.fence is not null then case when l.started_at is null then 'ASSIGNED' else 'RUNNING' end
    when r.fence is not null then case r.status when 'LOST' then 'FAILED' else r.status end
    else 'PENDING'
  end as status,
  t.closed_status is null and l.fence is null and coalesce(r.status <> 'COMPLETED', false) as dead_letter,
  coalesce(l.agent_id, r.agent_id, case when t.closed_status is not null then q.agent_id end) as agent_id,
  coalesce(l.attempt, r.attempt, q.attempt, 0) as attempt,
  coalesce(l.started_at, r.started_at) as started_at,
  coalesce(t.closed_at, r.finished_at) as finished_at,
  r.fence as final_fence
from tasks t
left join leases l on l.task_id = t.task_id and l.replica = 0
left join lateral (
  select fence, agent_id, attempt, status, started_at, finished_at from runs
  where runs.task_id = t.task_id and runs.final and runs.fence > t.reset_fence order by fence desc limit 1
) r on true
left join lateral (
  select attempt, agent_id from runs where runs.task_id = t.task_id and runs.fence > t.reset_fence order by fence desc limit 1
) q on l.fence is null and r.fence is null;
