CREATE TABLE "look_backs" (
	"agent_id" text collate "C" NOT NULL,
	"capability" text NOT NULL,
	"conspired" boolean NOT NULL,
	"looked" integer DEFAULT 0 NOT NULL,
	"clean" integer DEFAULT 0 NOT NULL,
	"since" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "look_backs_agent_id_capability_pk" PRIMARY KEY("agent_id","capability")
);
--> statement-breakpoint
ALTER TABLE "verifications" ADD COLUMN "suspect" text collate "C";--> statement-breakpoint
CREATE INDEX "verifications_suspect" ON "verifications" USING btree ("suspect","capability") WHERE suspect is not null;