CREATE TABLE "batches" (
	"batch_id" text collate "C" PRIMARY KEY NOT NULL,
	"owner" text NOT NULL,
	"atomic" boolean NOT NULL,
	"size" integer NOT NULL,
	"others" jsonb NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "idempotency_keys" ALTER COLUMN "task_id" DROP NOT NULL;
--> statement-breakpoint
ALTER TABLE "idempotency_keys" ADD COLUMN "batch_id" text collate "C";
--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "batch_id" text collate "C";
--> statement-breakpoint
CREATE INDEX "tasks_batch_id" ON "tasks" USING btree ("batch_id") WHERE batch_id is not null;
--> statement-breakpoint
-- The view again, with the column that is new.
drop view task_state;
--> statement-breakpoint
-- A task with the status that its rows elsewhere come to (docs/lifecycle.md).
create view task_state as
select t.*,
  (select labels_required from classes where classes.class_id = t.class_id) as labels_required,
  (select labels_preferred from classes where classes.class_id = t.class_id) as labels_preferred,
  case
    when t.closed_status is not null then t.closed_status
    when l.fence is not null then case when l.started_at is null then 'ASSIGNED' else 'RUNNING' end
    when r.fence is not null then case r.status when 'LOST' then 'FAILED' else r.status end
    when b.task_id is not null then 'BLOCKED'
    else 'PENDING'
  end as status,
  coalesce(t.closed_status = 'TIMED_OUT', l.fence is null and coalesce(r.status <> 'COMPLETED', false)) as dead_letter,
  coalesce(l.agent_id, r.agent_id, case when t.closed_status is not null then q.agent_id end) as agent_id,
  coalesce(l.attempt, r.attempt, q.attempt, 0) as attempt,
  coalesce(l.started_at, r.started_at) as started_at,
  coalesce(t.closed_at, r.finished_at) as finished_at,
  r.fence as final_fence
from tasks t
left join leases l on l.task_id = t.task_id and l.replica = 0
left join blocked b on b.task_id = t.task_id
left join lateral (
  select fence, agent_id, attempt, status, started_at, finished_at from runs
  where runs.task_id = t.task_id and runs.final and runs.fence > t.reset_fence order by fence desc limit 1
) r on true
left join lateral (
  select attempt, agent_id from runs where runs.task_id = t.task_id and runs.fence > t.reset_fence order by fence desc limit 1
) q on l.fence is null and r.fence is null;
