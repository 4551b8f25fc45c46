CREATE SEQUENCE "public"."fence_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1;--> statement-breakpoint
CREATE TABLE "agents" (
	"agent_id" text collate "C" PRIMARY KEY NOT NULL,
	"display_name" text NOT NULL,
	"owner" text NOT NULL,
	"serves" text NOT NULL,
	"public_jwk" jsonb NOT NULL,
	"jkt" text NOT NULL,
	"capabilities" text[] NOT NULL,
	"enrolled_capabilities" text[],
	"enrolled_slots" integer,
	"labels" jsonb NOT NULL,
	"slots" integer NOT NULL,
	"slots_used" integer DEFAULT 0 NOT NULL,
	"mode" text DEFAULT 'OPEN' NOT NULL,
	"boot_id" text collate "C" NOT NULL,
	"left_at" timestamp (3) with time zone,
	"enrollment_token_id" text collate "C" NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "agents_mode" CHECK ("agents"."mode" in ('OPEN', 'CORDONED', 'DRAINING', 'REVOKED')),
	CONSTRAINT "agents_slots_used" CHECK ("agents"."slots_used" >= 0)
);
--> statement-breakpoint
CREATE TABLE "boots" (
	"agent_id" text collate "C" NOT NULL,
	"boot_id" text collate "C" NOT NULL,
	"started_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "boots_agent_id_boot_id_pk" PRIMARY KEY("agent_id","boot_id")
);
--> statement-breakpoint
CREATE TABLE "enrollment_tokens" (
	"enrollment_token_id" text collate "C" PRIMARY KEY NOT NULL,
	"owner" text NOT NULL,
	"serves" text NOT NULL,
	"capabilities" text[],
	"max_slots" integer,
	"max_uses" integer NOT NULL,
	"uses" integer DEFAULT 0 NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	"revoked_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "presence" (
	"agent_id" text collate "C" PRIMARY KEY NOT NULL,
	"last_seen_at" timestamp (3) with time zone NOT NULL,
	"lease_expires_at" timestamp (3) with time zone NOT NULL,
	"health" text DEFAULT 'OK' NOT NULL,
	"slots_free" integer,
	"uptime_ms" bigint,
	"metrics" jsonb,
	CONSTRAINT "presence_health" CHECK ("presence"."health" in ('OK', 'DEGRADED'))
);
--> statement-breakpoint
CREATE TABLE "used_jtis" (
	"jkt" text NOT NULL,
	"jti" text NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "event_cursors" (
	"reader" text PRIMARY KEY NOT NULL,
	"tx" "xid8" NOT NULL,
	"event_id" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "events" (
	"event_id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "events_event_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"tx" "xid8" NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"kind" text NOT NULL,
	"subject_ids" text[],
	"fences" bigint[],
	"detail" jsonb
);
--> statement-breakpoint
CREATE TABLE "cluster" (
	"one" boolean PRIMARY KEY DEFAULT true NOT NULL,
	"beat_at" timestamp (3) with time zone NOT NULL,
	"steady_since" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "cluster_one" CHECK ("cluster"."one")
);
--> statement-breakpoint
CREATE TABLE "coordinators" (
	"coordinator_id" text collate "C" PRIMARY KEY NOT NULL,
	"url" text NOT NULL,
	"beat_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "signing_keys" (
	"kid" text PRIMARY KEY NOT NULL,
	"public_jwk" jsonb NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "executions" (
	"execution_id" text collate "C" PRIMARY KEY NOT NULL,
	"schedule_id" text collate "C" NOT NULL,
	"status" text NOT NULL,
	"scheduled_at" timestamp (3) with time zone NOT NULL,
	"fired_at" timestamp (3) with time zone,
	"task_id" text collate "C",
	"task_status" text,
	CONSTRAINT "executions_status" CHECK ("executions"."status" in ('FIRED', 'SKIPPED', 'MISSED', 'TRIGGERED', 'BACKFILLED'))
);
--> statement-breakpoint
CREATE TABLE "schedules" (
	"schedule_id" text collate "C" PRIMARY KEY NOT NULL,
	"owner" text NOT NULL,
	"client_id" text,
	"status" text NOT NULL,
	"cron_expression" text NOT NULL,
	"timezone" text NOT NULL,
	"description" text,
	"pause_note" text,
	"task_type" text NOT NULL,
	"capability_required" text NOT NULL,
	"input_data" json NOT NULL,
	"priority" smallint NOT NULL,
	"timeout_seconds" integer NOT NULL,
	"max_retries" smallint NOT NULL,
	"retry_policy" text NOT NULL,
	"tags" text[] NOT NULL,
	"metadata" jsonb NOT NULL,
	"next_run_at" timestamp (3) with time zone,
	"last_run_at" timestamp (3) with time zone,
	"total_runs" integer DEFAULT 0 NOT NULL,
	"failed_runs" integer DEFAULT 0 NOT NULL,
	"version" integer DEFAULT 0 NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "schedules_status" CHECK ("schedules"."status" in ('ACTIVE', 'PAUSED', 'ENDED', 'DELETED')),
	CONSTRAINT "schedules_next_run_at" CHECK (("schedules"."status" = 'ACTIVE') = ("schedules"."next_run_at" is not null))
);
--> statement-breakpoint
CREATE TABLE "classes" (
	"class_id" bigserial PRIMARY KEY NOT NULL,
	"owner" text NOT NULL,
	"capability" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "delayed" (
	"run_at" timestamp (3) with time zone NOT NULL,
	"task_id" text collate "C" NOT NULL,
	"replica" smallint NOT NULL,
	"class_id" bigint NOT NULL,
	"rank" timestamp (3) with time zone NOT NULL,
	"attempt" integer NOT NULL,
	"failures" integer NOT NULL,
	CONSTRAINT "delayed_run_at_task_id_replica_pk" PRIMARY KEY("run_at","task_id","replica")
);
--> statement-breakpoint
CREATE TABLE "expiring" (
	"expires_at" timestamp (3) with time zone NOT NULL,
	"task_id" text collate "C" NOT NULL,
	CONSTRAINT "expiring_expires_at_task_id_pk" PRIMARY KEY("expires_at","task_id")
);
--> statement-breakpoint
CREATE TABLE "leases" (
	"fence" bigint PRIMARY KEY NOT NULL,
	"task_id" text collate "C" NOT NULL,
	"replica" smallint NOT NULL,
	"agent_id" text collate "C" NOT NULL,
	"class_id" bigint NOT NULL,
	"capability" text NOT NULL,
	"attempt" integer NOT NULL,
	"failures" integer NOT NULL,
	"assigned_at" timestamp (3) with time zone NOT NULL,
	"started_at" timestamp (3) with time zone,
	"timeout_seconds" integer NOT NULL,
	"cancel_requested_at" timestamp (3) with time zone,
	"progress" jsonb
);
--> statement-breakpoint
CREATE TABLE "ready" (
	"class_id" bigint NOT NULL,
	"rank" timestamp (3) with time zone NOT NULL,
	"task_id" text collate "C" NOT NULL,
	"replica" smallint NOT NULL,
	"attempt" integer NOT NULL,
	"failures" integer NOT NULL,
	CONSTRAINT "ready_class_id_rank_task_id_replica_pk" PRIMARY KEY("class_id","rank","task_id","replica")
);
--> statement-breakpoint
CREATE TABLE "runs" (
	"fence" bigint PRIMARY KEY NOT NULL,
	"task_id" text collate "C" NOT NULL,
	"replica" smallint NOT NULL,
	"agent_id" text collate "C" NOT NULL,
	"capability" text NOT NULL,
	"attempt" integer NOT NULL,
	"status" text NOT NULL,
	"final" boolean NOT NULL,
	"fault" text,
	"assigned_at" timestamp (3) with time zone NOT NULL,
	"started_at" timestamp (3) with time zone,
	"finished_at" timestamp (3) with time zone NOT NULL,
	"result_data" json,
	"error" jsonb,
	"progress" jsonb,
	"fold_seq" bigint,
	CONSTRAINT "runs_status" CHECK ("runs"."status" in ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'RETURNED', 'LOST')),
	CONSTRAINT "runs_fault" CHECK ("runs"."fault" in ('agent', 'task', 'system', 'client'))
);
--> statement-breakpoint
CREATE TABLE "tasks" (
	"task_id" text collate "C" PRIMARY KEY NOT NULL,
	"class_id" bigint NOT NULL,
	"owner" text NOT NULL,
	"client_id" text,
	"task_type" text NOT NULL,
	"capability_required" text NOT NULL,
	"input_data" json NOT NULL,
	"priority" smallint NOT NULL,
	"rank" timestamp (3) with time zone NOT NULL,
	"timeout_seconds" integer NOT NULL,
	"max_retries" smallint NOT NULL,
	"retry_policy" text NOT NULL,
	"tags" text[] NOT NULL,
	"metadata" jsonb NOT NULL,
	"schedule_id" text collate "C",
	"traceparent" text,
	"run_at" timestamp (3) with time zone NOT NULL,
	"expires_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone NOT NULL,
	"closed_status" text,
	"closed_at" timestamp (3) with time zone,
	"closed_reason" text,
	"reset_fence" bigint DEFAULT 0 NOT NULL,
	CONSTRAINT "tasks_closed_status" CHECK ("tasks"."closed_status" in ('CANCELLED', 'EXPIRED')),
	CONSTRAINT "tasks_closed_at" CHECK (("tasks"."closed_status" is null) = ("tasks"."closed_at" is null))
);
--> statement-breakpoint
CREATE TABLE "trust" (
	"agent_id" text collate "C" NOT NULL,
	"capability" text NOT NULL,
	"dependable" double precision NOT NULL,
	"undependable" double precision NOT NULL,
	"completed" integer NOT NULL,
	"failed" integer NOT NULL,
	"timed_out" integer NOT NULL,
	"lost" integer NOT NULL,
	"fold_seq" bigint NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "trust_agent_id_capability_pk" PRIMARY KEY("agent_id","capability")
);
--> statement-breakpoint
CREATE UNIQUE INDEX "agents_jkt" ON "agents" USING btree ("jkt");--> statement-breakpoint
CREATE INDEX "agents_capabilities" ON "agents" USING gin ("capabilities");--> statement-breakpoint
CREATE UNIQUE INDEX "used_jtis_once" ON "used_jtis" USING btree ("jkt","jti");--> statement-breakpoint
CREATE INDEX "used_jtis_expires_at" ON "used_jtis" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "events_tx" ON "events" USING btree ("tx","event_id");--> statement-breakpoint
CREATE UNIQUE INDEX "executions_tick" ON "executions" USING btree ("schedule_id","scheduled_at") WHERE status in ('FIRED', 'SKIPPED', 'MISSED');--> statement-breakpoint
CREATE INDEX "executions_newest" ON "executions" USING btree ("schedule_id","execution_id");--> statement-breakpoint
CREATE INDEX "executions_task_id" ON "executions" USING btree ("task_id");--> statement-breakpoint
CREATE INDEX "schedules_due" ON "schedules" USING btree ("next_run_at") WHERE status = 'ACTIVE';--> statement-breakpoint
CREATE UNIQUE INDEX "classes_requirements" ON "classes" USING btree ("owner","capability");--> statement-breakpoint
CREATE INDEX "delayed_task_id" ON "delayed" USING btree ("task_id");--> statement-breakpoint
CREATE UNIQUE INDEX "leases_task" ON "leases" USING btree ("task_id","replica");--> statement-breakpoint
CREATE INDEX "runs_task_id" ON "runs" USING btree ("task_id");--> statement-breakpoint
CREATE INDEX "runs_agent" ON "runs" USING btree ("agent_id","finished_at");--> statement-breakpoint
CREATE INDEX "runs_dead" ON "runs" USING btree ("task_id") WHERE final and status <> 'COMPLETED';--> statement-breakpoint
CREATE INDEX "tasks_schedule_id" ON "tasks" USING btree ("schedule_id") WHERE schedule_id is not null;