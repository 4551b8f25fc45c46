ALTER TABLE "tasks" DROP CONSTRAINT "tasks_closed_status";
--> statement-breakpoint
DROP INDEX "classes_requirements";
--> statement-breakpoint
ALTER TABLE "expiring" DROP CONSTRAINT "expiring_expires_at_task_id_pk";
--> statement-breakpoint
ALTER TABLE "classes" ADD COLUMN "labels_required" jsonb DEFAULT '{}'::jsonb NOT NULL;
--> statement-breakpoint
ALTER TABLE "classes" ADD COLUMN "labels_preferred" jsonb DEFAULT '{}'::jsonb NOT NULL;
--> statement-breakpoint
ALTER TABLE "classes" ADD COLUMN "labels_hash" text DEFAULT '' NOT NULL;
--> statement-breakpoint
ALTER TABLE "expiring" ADD COLUMN "started" boolean DEFAULT false NOT NULL;
--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "retry_base_ms" integer DEFAULT 1000 NOT NULL;
--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "retry_cap_ms" integer DEFAULT 300000 NOT NULL;
--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "retry_jitter" boolean DEFAULT true NOT NULL;
--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "non_retryable" text[] DEFAULT '{}' NOT NULL;
--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "task_timeout_seconds" integer;
--> statement-breakpoint
ALTER TABLE "expiring" ADD CONSTRAINT "expiring_expires_at_task_id_started_pk" PRIMARY KEY("expires_at","task_id","started");
--> statement-breakpoint
CREATE UNIQUE INDEX "classes_requirements" ON "classes" USING btree ("owner","capability","labels_hash");
--> statement-breakpoint
ALTER TABLE "tasks" ADD CONSTRAINT "tasks_closed_status" CHECK ("tasks"."closed_status" in ('CANCELLED', 'EXPIRED', 'TIMED_OUT'));
