CREATE TABLE "integrity" (
	"agent_id" text collate "C" NOT NULL,
	"capability" text NOT NULL,
	"right" double precision NOT NULL,
	"wrong" double precision NOT NULL,
	"checked_at" timestamp (3) with time zone NOT NULL,
	"streak" double precision NOT NULL,
	"faults" double precision NOT NULL,
	"standing" text NOT NULL,
	"quarantines" integer NOT NULL,
	"quarantined_until" timestamp (3) with time zone,
	"fold_seq" bigint NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "integrity_agent_id_capability_pk" PRIMARY KEY("agent_id","capability"),
	CONSTRAINT "integrity_standing" CHECK ("integrity"."standing" in ('NEWCOMER', 'TRUSTED', 'PROBATION', 'QUARANTINED', 'BANNED')),
	CONSTRAINT "integrity_quarantined" CHECK (("integrity"."standing" = 'QUARANTINED') = ("integrity"."quarantined_until" is not null))
);
--> statement-breakpoint
CREATE TABLE "verdicts" (
	"verdict_id" bigserial PRIMARY KEY NOT NULL,
	"fence" bigint,
	"kind" text NOT NULL,
	"task_id" text collate "C",
	"agent_id" text collate "C" NOT NULL,
	"capability" text NOT NULL,
	"found" text,
	"vouched" boolean,
	"weight" double precision,
	"judge" text NOT NULL,
	"reason" text,
	"at" timestamp (3) with time zone NOT NULL,
	"fold_seq" bigint,
	CONSTRAINT "verdicts_found" CHECK ("verdicts"."found" in ('RIGHT', 'WRONG', 'COLLUDED')),
	CONSTRAINT "verdicts_of_runs" CHECK (("verdicts"."fence" is null) = ("verdicts"."found" is null) and ("verdicts"."found" is null) = ("verdicts"."vouched" is null) and ("verdicts"."found" is null) = ("verdicts"."weight" is null))
);
--> statement-breakpoint
ALTER TABLE "agents" ADD COLUMN "anchor" boolean DEFAULT false NOT NULL;--> statement-breakpoint
CREATE INDEX "integrity_out" ON "integrity" USING btree ("agent_id","capability") WHERE standing in ('QUARANTINED', 'BANNED');--> statement-breakpoint
CREATE INDEX "integrity_quarantined_until" ON "integrity" USING btree ("quarantined_until") WHERE quarantined_until is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "verdicts_once" ON "verdicts" USING btree ("fence","kind");--> statement-breakpoint
CREATE INDEX "verdicts_unfolded" ON "verdicts" USING btree ("verdict_id") WHERE fold_seq is null;--> statement-breakpoint
CREATE UNIQUE INDEX "verdicts_folded" ON "verdicts" USING btree ("agent_id","capability","fold_seq") WHERE fold_seq is not null;--> statement-breakpoint
CREATE INDEX "verdicts_agent" ON "verdicts" USING btree ("agent_id","at");--> statement-breakpoint
-- A verdict stays as it was found: all that is ever written to it is where it was folded, once.
create function verdicts_are_append_only() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.fold_seq is null and to_jsonb(new) - 'fold_seq' = to_jsonb(old) - 'fold_seq' then
    return new;
  end if;
  raise exception '% of % is not allowed: evidence is append-only', lower(tg_op), tg_table_name using errcode = 'insufficient_privilege';
end $$;
--> statement-breakpoint
create trigger verdicts_append_only before update on verdicts for each row execute function verdicts_are_append_only();
--> statement-breakpoint
create trigger verdicts_no_truncate before truncate on verdicts for each statement execute function verdicts_are_append_only();
--> statement-breakpoint
-- It goes with the run it is about, whichever of the two is deleted first; what was said of an agent's standing goes with the agent.
create function verdicts_go_with_runs() returns trigger language plpgsql as $$
begin
  if exists (select from runs where fence = old.fence) or (old.fence is null and exists (select from agents where agent_id = old.agent_id)) then
    raise exception 'delete of verdicts is not allowed: evidence is append-only' using errcode = 'insufficient_privilege';
  end if;
  return null;
end $$;
--> statement-breakpoint
create constraint trigger verdicts_kept after delete on verdicts deferrable initially deferred for each row execute function verdicts_go_with_runs();
--> statement-breakpoint
alter table verdicts enable always trigger verdicts_append_only;
--> statement-breakpoint
alter table verdicts enable always trigger verdicts_no_truncate;
--> statement-breakpoint
alter table verdicts enable always trigger verdicts_kept;
