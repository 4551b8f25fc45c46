CREATE TABLE "replicas" (
	"task_id" text collate "C" NOT NULL,
	"replica" smallint NOT NULL,
	"kind" text NOT NULL,
	"class_id" bigint NOT NULL,
	"rank" timestamp (3) with time zone NOT NULL,
	"trusted" boolean NOT NULL,
	"since" timestamp (3) with time zone NOT NULL,
	"fence" bigint,
	CONSTRAINT "replicas_task_id_replica_pk" PRIMARY KEY("task_id","replica"),
	CONSTRAINT "replicas_kind" CHECK ("replicas"."kind" in ('replica', 'judge', 'audit', 'look_back', 'canary'))
);
--> statement-breakpoint
CREATE TABLE "verifications" (
	"task_id" text collate "C" PRIMARY KEY NOT NULL,
	"state" text NOT NULL,
	"fence" bigint,
	"agent_id" text collate "C",
	"capability" text,
	"parties" text[] DEFAULT '{}' NOT NULL,
	"apart" text DEFAULT 'owner' NOT NULL,
	"label_value" text,
	"audited" boolean,
	"finality" text,
	"note" text,
	"result_version" integer DEFAULT 1 NOT NULL,
	"turn" integer DEFAULT 0 NOT NULL,
	"check_at" timestamp (3) with time zone,
	"decided_at" timestamp (3) with time zone,
	CONSTRAINT "verifications_state" CHECK ("verifications"."state" in ('ALONE', 'OPEN', 'VERIFYING', 'ACCEPTED', 'AGREED', 'REVIEWING', 'ENDED')),
	CONSTRAINT "verifications_finality" CHECK ("verifications"."finality" in ('provisional', 'verified'))
);
--> statement-breakpoint
DROP INDEX "tasks_timed_out";--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "verification" jsonb DEFAULT '"none"'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "classes" ADD COLUMN "verified" boolean DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "verification" jsonb;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "closed_code" text;--> statement-breakpoint
CREATE INDEX "replicas_wanted" ON "replicas" USING btree ("class_id","rank","task_id") WHERE fence is null;--> statement-breakpoint
CREATE INDEX "verifications_check_at" ON "verifications" USING btree ("check_at") WHERE check_at is not null;--> statement-breakpoint
CREATE INDEX "verifications_provisional" ON "verifications" USING btree ("agent_id","capability") WHERE finality = 'provisional';--> statement-breakpoint
CREATE INDEX "verifications_accepted" ON "verifications" USING btree ("agent_id","capability","decided_at") WHERE state = 'ACCEPTED';--> statement-breakpoint
CREATE INDEX "tasks_timed_out" ON "tasks" USING btree ("closed_at","task_id") WHERE closed_status = 'TIMED_OUT' or closed_code is not null;--> statement-breakpoint
-- The view again, with the columns that are new.
drop view task_state;
--> statement-breakpoint
-- A task with the status that its rows elsewhere come to (docs/lifecycle.md).
create view task_state as
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
  v.note as verification_note
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
