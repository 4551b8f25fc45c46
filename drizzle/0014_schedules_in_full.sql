-- Coordinators that are older read the whole table for what is due, until they are gone.
DROP INDEX "schedules_due";--> statement-breakpoint
ALTER TABLE "schedules" ALTER COLUMN "cron_expression" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "executions" ADD COLUMN "reason" text;--> statement-breakpoint
ALTER TABLE "executions" ADD COLUMN "until" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "executions" ADD COLUMN "count" integer DEFAULT 1 NOT NULL;--> statement-breakpoint
ALTER TABLE "executions" ADD COLUMN "lateness_ms" integer;--> statement-breakpoint
ALTER TABLE "executions" ADD COLUMN "execution_number" integer;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "name" text;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "interval_seconds" integer;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "phase_seconds" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "dst" jsonb DEFAULT '"vixie"'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "exclude" jsonb DEFAULT '[]'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "starts_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "ends_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "max_runs" integer;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "jitter_seconds" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "overlap" text DEFAULT 'ALLOW_ALL' NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "catch_up_seconds" integer DEFAULT 60 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "misfire" jsonb DEFAULT '{"policy":"FIRE_ALL"}'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "pause_on_failure" integer;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "late_after_seconds" integer;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "target" jsonb DEFAULT '{"kind":"task"}'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "retry_base_ms" integer DEFAULT 1000 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "retry_cap_ms" integer DEFAULT 300000 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "retry_jitter" boolean DEFAULT true NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "non_retryable" text[] DEFAULT '{}' NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "task_timeout_seconds" integer;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "labels_required" jsonb DEFAULT '{}'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "labels_preferred" jsonb DEFAULT '{}'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "slot_cost" smallint DEFAULT 1 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "concurrency_key" text;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "concurrency_limit" integer DEFAULT 1 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "jitter_ms" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
-- The one column that rewrites the table, which is small. What older coordinators move on has it as well.
ALTER TABLE "schedules" ADD COLUMN "fire_at" timestamp (3) with time zone GENERATED ALWAYS AS (((next_run_at at time zone 'UTC') + jitter_ms * interval '1 millisecond') at time zone 'UTC') STORED;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "paused_from" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "skipped" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "missed" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "consecutive_failures" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD COLUMN "last_completed_task_id" text collate "C";--> statement-breakpoint
CREATE INDEX "executions_open" ON "executions" USING btree ("schedule_id","execution_id") WHERE task_id is not null and task_status is null;--> statement-breakpoint
CREATE UNIQUE INDEX "schedules_name" ON "schedules" USING btree ("owner","name") WHERE status <> 'DELETED';--> statement-breakpoint
CREATE INDEX "schedules_due" ON "schedules" USING btree ("fire_at") WHERE status = 'ACTIVE';--> statement-breakpoint
ALTER TABLE "schedules" ADD CONSTRAINT "schedules_when" CHECK (num_nonnulls("schedules"."cron_expression", "schedules"."interval_seconds", "schedules"."at") = 1);--> statement-breakpoint
ALTER TABLE "schedules" ADD CONSTRAINT "schedules_overlap" CHECK ("schedules"."overlap" in ('SKIP', 'BUFFER_ONE', 'BUFFER_ALL', 'CANCEL_OTHER', 'ALLOW_ALL'));