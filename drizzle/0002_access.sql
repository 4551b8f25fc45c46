CREATE TABLE "api_keys" (
	"api_key_id" text collate "C" PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"owner" text NOT NULL,
	"scopes" text[] NOT NULL,
	"allowed_addresses" text[],
	"requests_per_minute" integer NOT NULL,
	"secret_hash" text NOT NULL,
	"former_hash" text,
	"former_expires_at" timestamp (3) with time zone,
	"expires_at" timestamp (3) with time zone,
	"revoked_at" timestamp (3) with time zone,
	"uses" bigint DEFAULT 0 NOT NULL,
	"last_used_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "api_keys_former" CHECK (("api_keys"."former_hash" is null) = ("api_keys"."former_expires_at" is null))
);
--> statement-breakpoint
CREATE TABLE "audit_logs" (
	"audit_id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "audit_logs_audit_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"tx" "xid8" NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"action" text NOT NULL,
	"actor" text NOT NULL,
	"address" text,
	"request_id" text NOT NULL,
	"owner" text NOT NULL,
	"subject_id" text collate "C" NOT NULL,
	"before" jsonb,
	"after" jsonb
);
--> statement-breakpoint
CREATE TABLE "audit_seals" (
	"seal" bigint PRIMARY KEY NOT NULL,
	"tx" "xid8" NOT NULL,
	"audit_id" bigint NOT NULL,
	"count" integer NOT NULL,
	"previous_hash" text NOT NULL,
	"hash" text NOT NULL,
	"kid" text NOT NULL,
	"signature" text NOT NULL,
	"sealed_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "agents" ADD COLUMN "enrolled_name_pattern" text;--> statement-breakpoint
ALTER TABLE "agents" ADD COLUMN "token_epoch" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "agents" ADD COLUMN "token_epoch_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "enrollment_tokens" ADD COLUMN "name_pattern" text;--> statement-breakpoint
ALTER TABLE "enrollment_tokens" ADD COLUMN "key_thumbprint" text;--> statement-breakpoint
CREATE INDEX "api_keys_owner" ON "api_keys" USING btree ("owner","api_key_id");--> statement-breakpoint
CREATE INDEX "audit_logs_tx" ON "audit_logs" USING btree ("tx","audit_id");--> statement-breakpoint
CREATE INDEX "audit_logs_owner" ON "audit_logs" USING btree ("owner","audit_id");--> statement-breakpoint
CREATE INDEX "audit_logs_subject" ON "audit_logs" USING btree ("subject_id","audit_id");--> statement-breakpoint
CREATE INDEX "agents_owner" ON "agents" USING btree ("owner","agent_id");--> statement-breakpoint
CREATE INDEX "agents_token_epoch_at" ON "agents" USING btree ("token_epoch_at") WHERE token_epoch_at is not null;--> statement-breakpoint
CREATE INDEX "schedules_owner" ON "schedules" USING btree ("owner","schedule_id");--> statement-breakpoint
CREATE INDEX "tasks_owner" ON "tasks" USING btree ("owner","task_id") WHERE owner <> 'admin';