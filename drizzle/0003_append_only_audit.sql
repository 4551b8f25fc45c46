-- What was audited stays as it was, whoever is connected: no update, no truncate, and no delete before its time (server/audit/store.ts, KEPT_DAYS).
create function audit_is_append_only() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' and tg_level = 'ROW' and coalesce((to_jsonb(old) ->> 'at'), to_jsonb(old) ->> 'sealed_at')::timestamptz < (select muster_now()) - interval '365 days' then
    return old;
  end if;
  raise exception '% of % is not allowed: the audit log is append-only', lower(tg_op), tg_table_name using errcode = 'insufficient_privilege';
end $$;
--> statement-breakpoint
create trigger audit_logs_append_only before update or delete on audit_logs for each row execute function audit_is_append_only();
--> statement-breakpoint
create trigger audit_logs_no_truncate before truncate on audit_logs for each statement execute function audit_is_append_only();
--> statement-breakpoint
create trigger audit_seals_append_only before update or delete on audit_seals for each row execute function audit_is_append_only();
--> statement-breakpoint
create trigger audit_seals_no_truncate before truncate on audit_seals for each statement execute function audit_is_append_only();
--> statement-breakpoint
-- For the seal that covers a row. Not a unique one: what was tampered with is for the verifier to tell.
create index audit_seals_position on audit_seals (tx, audit_id);
--> statement-breakpoint
-- Also where a session says that it replicates.
alter table audit_logs enable always trigger audit_logs_append_only;
--> statement-breakpoint
alter table audit_logs enable always trigger audit_logs_no_truncate;
--> statement-breakpoint
alter table audit_seals enable always trigger audit_seals_append_only;
--> statement-breakpoint
alter table audit_seals enable always trigger audit_seals_no_truncate;
