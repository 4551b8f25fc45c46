CREATE TABLE "blocked" (
	"task_id" text collate "C" PRIMARY KEY NOT NULL,
	"class_id" bigint NOT NULL,
	"open" integer NOT NULL,
	"failed" boolean DEFAULT false NOT NULL,
	"on_failure" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "blocked_on_failure" CHECK ("blocked"."on_failure" in ('fail', 'skip', 'run'))
);
--> statement-breakpoint
CREATE TABLE "dependencies" (
	"needs_task_id" text collate "C" NOT NULL,
	"task_id" text collate "C" NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "dependencies_needs_task_id_task_id_pk" PRIMARY KEY("needs_task_id","task_id")
);
--> statement-breakpoint
CREATE TABLE "idempotency_keys" (
	"owner" text NOT NULL,
	"idempotency_key" text NOT NULL,
	"request_hash" text NOT NULL,
	"task_id" text collate "C" NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "idempotency_keys_owner_idempotency_key_pk" PRIMARY KEY("owner","idempotency_key")
);
--> statement-breakpoint
CREATE TABLE "unique_keys" (
	"owner" text NOT NULL,
	"unique_key" text NOT NULL,
	"task_id" text collate "C" NOT NULL,
	CONSTRAINT "unique_keys_owner_unique_key_pk" PRIMARY KEY("owner","unique_key")
);
--> statement-breakpoint
ALTER TABLE "tasks" DROP CONSTRAINT "tasks_closed_status";
--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "unique_key" text;
--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "depends_on" text[];
--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "on_dependency_failure" text;
--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "has_dependents" boolean DEFAULT false NOT NULL;
--> statement-breakpoint
CREATE INDEX "blocked_released" ON "blocked" USING btree ("task_id") WHERE open = 0 or failed and on_failure <> 'run';
--> statement-breakpoint
CREATE INDEX "dependencies_task_id" ON "dependencies" USING btree ("task_id");
--> statement-breakpoint
CREATE INDEX "dependencies_created_at" ON "dependencies" USING btree ("created_at");
--> statement-breakpoint
CREATE INDEX "idempotency_keys_expires_at" ON "idempotency_keys" USING btree ("expires_at");
--> statement-breakpoint
CREATE UNIQUE INDEX "unique_keys_task_id" ON "unique_keys" USING btree ("task_id");
--> statement-breakpoint
ALTER TABLE "tasks" ADD CONSTRAINT "tasks_closed_status" CHECK ("tasks"."closed_status" in ('CANCELLED', 'EXPIRED', 'TIMED_OUT', 'FAILED', 'SKIPPED'));
--> statement-breakpoint
-- The view again, with the columns that are new.
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
