ALTER TABLE "schedules" ADD COLUMN "min_trust" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "min_integrity" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "routing" text DEFAULT 'trust_weighted' NOT NULL;--> statement-breakpoint
ALTER TABLE "classes" ADD COLUMN "min_trust" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "classes" ADD COLUMN "min_integrity" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "classes" ADD COLUMN "routing" text DEFAULT 'trust_weighted' NOT NULL;
--> statement-breakpoint
-- A task with the status that its rows elsewhere come to (docs/lifecycle.md); with what is new of its class.
create or replace view task_state as
select t.*,
  (select labels_required from classes where classes.class_id = t.class_id) as labels_required,
  (select labels_preferred from classes where classes.class_id = t.class_id) as labels_preferred,
  (select slot_cost from classes where classes.class_id = t.class_id) as slot_cost,
  case
    when t.closed_status is not null then t.closed_status
    when l.fence is not null then case when l.started_at is null then 'ASSIGNED' else 'RUNNING' end
    when r.fence is not null then case r.status when 'LOST' then 'FAILED' else r.status end
    when v.state = 'VERIFYING' then 'VERIFYING'
    when b.task_id is not null then 'BLOCKED'
    else 'PENDING'
  end as status,
  coalesce(t.closed_status = 'TIMED_OUT' or t.closed_code is not null, false)
    or t.closed_status is null and l.fence is null and coalesce(r.status <> 'COMPLETED', false) as dead_letter,
  coalesce(l.agent_id, r.agent_id, case when t.closed_status is not null or v.state = 'VERIFYING' then q.agent_id end) as agent_id,
  coalesce(l.attempt, r.attempt, q.attempt, 0) as attempt,
  coalesce(l.started_at, r.started_at) as started_at,
  coalesce(t.closed_at, r.finished_at) as finished_at,
  r.fence as final_fence,
  v.finality,
  coalesce(v.result_version, 1) as result_version,
  v.note as verification_note,
  (select min_trust from classes where classes.class_id = t.class_id) as min_trust,
  (select min_integrity from classes where classes.class_id = t.class_id) as min_integrity,
  (select routing from classes where classes.class_id = t.class_id) as routing
from tasks t
left join leases l on l.task_id = t.task_id and l.replica = 0
left join blocked b on b.task_id = t.task_id
left join verifications v on t.verification is not null and v.task_id = t.task_id
left join lateral (
  select fence, agent_id, attempt, status, started_at, finished_at from runs
  where runs.task_id = t.task_id and runs.final and runs.fence > t.reset_fence order by fence desc limit 1
) r on true
left join lateral (
  select attempt, agent_id from runs where runs.task_id = t.task_id and runs.replica = 0 and runs.fence > t.reset_fence order by fence desc limit 1
) q on l.fence is null and r.fence is null;
