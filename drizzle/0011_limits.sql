CREATE TABLE "limit_holds" (
	"scope" text NOT NULL,
	"name" text NOT NULL,
	"fence" bigint NOT NULL,
	CONSTRAINT "limit_holds_scope_name_fence_pk" PRIMARY KEY("scope","name","fence")
);
--> statement-breakpoint
CREATE TABLE "limits" (
	"scope" text NOT NULL,
	"name" text NOT NULL,
	"max_running" integer,
	"starts_per_second" real,
	"weight" integer,
	"tokens" double precision DEFAULT 0 NOT NULL,
	"refilled_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "limits_scope_name_pk" PRIMARY KEY("scope","name"),
	CONSTRAINT "limits_scope" CHECK ("limits"."scope" in ('global', 'owner', 'capability'))
);
--> statement-breakpoint
CREATE TABLE "slot_savers" (
	"task_id" text collate "C" NOT NULL,
	"agent_id" text collate "C" NOT NULL,
	"since" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "slot_savers_task_id_agent_id_pk" PRIMARY KEY("task_id","agent_id")
);
--> statement-breakpoint
CREATE INDEX "slot_savers_since" ON "slot_savers" USING btree ("since");
--> statement-breakpoint
-- How many runs a limit counts. Whoever asks has locked its row, so nobody else counts or adds. VOLATILE: each query in it sees what was committed
-- up to now, where the statement that calls it sees only what was when it began, before it waited for the lock. What has no lease any more is
-- forgotten only where the room is needed.
create function limit_held(of_scope text, of_name text, most int, wanted bigint) returns int language plpgsql volatile as $$
declare
  held int;
begin
  select count(*) into held from limit_holds h where h.scope = of_scope and h.name = of_name;
  if held + wanted > most then
    with gone as (
      delete from limit_holds h where h.scope = of_scope and h.name = of_name and not exists (select from leases l where l.fence = h.fence) returning 1
    )
    select held - count(*) into held from gone;
  end if;
  return held;
end $$;
