CREATE TABLE "pauses" (
	"owner" text NOT NULL,
	"capability" text NOT NULL,
	"paused_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "pauses_owner_capability_pk" PRIMARY KEY("owner","capability")
);
--> statement-breakpoint
CREATE INDEX "runs_dead_newest" ON "runs" USING btree ("finished_at","task_id") WHERE final and status <> 'COMPLETED';
--> statement-breakpoint
CREATE INDEX "tasks_timed_out" ON "tasks" USING btree ("closed_at","task_id") WHERE closed_status = 'TIMED_OUT';