import type { ExecutionStatus } from '@muster/shared/contract/schedules';
import type { ScheduleStatus } from '@muster/shared/lifecycle';
import { type Actor, auditedTime, recordAudit } from '../../audit/record.ts';
import { taskEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { KEPT_HOURS, type Once } from '../../platform/idempotency.ts';
import { transition } from '../../platform/transition.ts';
import { insertedTasks, queuedTasks, WAITING } from '../../tasks/store/placing.ts';
import { RANK } from '../../tasks/store/times.ts';
import { cancelling } from '../../tasks/store/transitions.ts';
import type { Gap } from '../gap.ts';

/** An execution to be made, with its task where it makes one. */
export interface NewExecution extends Gap {
  execution_id: string;
  status: ExecutionStatus;
  reason: string | null;
  jitter_ms: number;
  execution_number: number | null;
  task_id: string | null;
  /** The task it has to wait for. */
  needs: string | null;
  /** JSON text, where it is not the schedule's own. */
  input_data: string | null;
}

/** What a schedule is to do, as it was planned when it was as it was seen. */
export interface Plan {
  schedule_id: string;
  class_id: number;
  seen: { status: string; version: number; next_run_at: Date | null; total_runs: number };
  becomes: { status: ScheduleStatus; next_run_at: Date | null; jitter_ms: number };
  executions: NewExecution[];
  /** The tasks that make way. */
  cancel: readonly string[];
}

/** A schedule that did as planned, once for each of its tasks; without one where it made none. */
export interface Fired {
  schedule_id: string;
  task_id: string | null;
  class_id: number;
  /** It may be begun as it is; or it waits for another task, or for its concurrency key. */
  waits: 'task' | 'key' | null;
}

/** Runs that somebody asks for: who, and by which request if that is to count once. */
export interface Asked {
  actor: Actor | undefined;
  action: string;
  once?: (Once & { owner: string }) | undefined;
}

/**
 * Carries plans out, all in one statement: a schedule moves on by compare-and-swap on what was seen of it, and only where it did are its executions and their
 * tasks made, and others cancelled. So each due time has one execution however many coordinators see it; one that has it already is passed over. The rows are joined once: a planner that
 * takes few of them for one would join them by loops again and again.
 */
export async function carryOut(sql: Sql, plans: readonly Plan[], by?: Asked): Promise<Fired[]> {
  const remembered = rememberedOf(sql, plans, by?.once);
  const rows = await transition<Omit<Fired, 'class_id'> & { class_id: string }>(sql, {
    before: {
      ...(remembered && { remembered }),
      p: plansOf(sql, plans),
      x: executionsOf(sql, plans),
      g: countsOf(sql),
      held: heldOf(sql, plans, remembered !== undefined),
    },
    change: sql`
      update schedules s set status = p.becomes, next_run_at = p.following, jitter_ms = p.jitter_ms, total_runs = s.total_runs + coalesce(g.made, 0),
        skipped = s.skipped + coalesce(g.skipped, 0), missed = s.missed + coalesce(g.missed, 0), last_run_at = greatest(s.last_run_at, g.last), updated_at = (select now from clock)
      from p left join g on g.n = p.n
      where s.schedule_id = any(array(select schedule_id from held)) and s.schedule_id = p.schedule_id
      returning s.*, p.n, p.class_id, p.status as was, g.made, s.schedule_id as subject_id, null::jsonb as before, ${by ? auditedRuns(sql) : sql`null::jsonb`} as after`,
    also: {
      w: sql`
        select x.*, now, c.schedule_id, c.class_id, owner, client_id, task_type, capability_required, coalesce(x.json::json, c.input_data) as input_data, priority, timeout_seconds,
          max_retries, retry_policy, retry_base_ms, retry_cap_ms, retry_jitter, non_retryable, task_timeout_seconds, tags, metadata, concurrency_key, nullif(verification, '"none"'::jsonb) as verification,
          case when x.status = 'FIRED' then greatest(0, extract(epoch from now - x.scheduled_at) * 1000 - x.jitter)::bigint end as lateness_ms, late_after_seconds
        from x join changed c on c.n = x.n cross join clock
        where x.status in ('TRIGGERED', 'BACKFILLED') or (select count(*) from executions e
          where e.schedule_id = c.schedule_id and e.scheduled_at = x.scheduled_at and e.status in ('FIRED', 'SKIPPED', 'MISSED')) = 0`,
      recorded: sql`
        insert into executions (execution_id, schedule_id, status, reason, scheduled_at, until, count, fired_at, lateness_ms, execution_number, task_id)
        select execution_id, schedule_id, status, reason, scheduled_at, until, count, case when task_id is not null then now end,
          case when lateness_ms <= ${MOST_LATE_MS} then lateness_ms end, execution_number, task_id from w`,
      y: sql`
        select *, null::text as unique_key, case when waits_for is null then '{}' else array[waits_for] end as depends_on, 'run' as on_dependency_failure,
          task_id in (select waits_for from x where waits_for is not null) as has_dependents, null::text as traceparent, now as run_at, null::timestamptz as expires_at,
          ${sql.unsafe(RANK.replace('run_at', 'now'))} as rank, waits_for is null and concurrency_key is null as due, waits_for is not null as bound
        from w where task_id is not null`,
      ...unsafe(sql, MADE),
      ...(plans.some(({ cancel }) => cancel.length > 0) && {
        others: othersOf(sql, plans),
        ...cancelling(sql, 'others', MAKES_WAY),
      }),
      created: sql.unsafe(taskEvent('task.created', 'y')),
    },
    event: toldOf(sql),
    audit: by && recordAudit(sql, by.actor, by.action),
    answer: sql`
      select schedule_id, task_id, class_id, case when bound then 'task' when concurrency_key is not null then 'key' end as waits from y
      union all select schedule_id, null, class_id, null from changed where coalesce(made, 0) = 0`,
  });
  return rows.map((row) => ({ ...row, class_id: Number(row.class_id) }));
}

/** What is later than its column holds, by 24 days, is read off `fired_at`. */
const MOST_LATE_MS = 2_147_483_647;

/** Why a task is cancelled. */
export const MAKES_WAY = 'another of its schedule takes its place';

/** What is done with the tasks of `y`. */
const MADE = {
  inserted: insertedTasks({ more: [', has_dependents', ', has_dependents'] }),
  queued: queuedTasks('due'),
  ...WAITING,
};

const unsafe = (sql: Sql, parts: Record<string, string>): Record<string, Fragment> =>
  Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, sql.unsafe(part)]));

const iso = (at: Date | null) => at?.toISOString() ?? null;

const plansOf = (sql: Sql, plans: readonly Plan[]): Fragment => sql`
  select * from unnest(${plans.map((it) => it.schedule_id)}::text[], ${plans.map((it) => it.class_id)}::bigint[], ${plans.map((it) => it.seen.status)}::text[],
    ${plans.map((it) => it.seen.version)}::int[], ${plans.map((it) => iso(it.seen.next_run_at))}::timestamptz[], ${plans.map((it) => it.seen.total_runs)}::int[],
    ${plans.map((it) => it.becomes.status)}::text[], ${plans.map((it) => iso(it.becomes.next_run_at))}::timestamptz[], ${plans.map((it) => it.becomes.jitter_ms)}::int[])
  with ordinality as p(schedule_id, class_id, status, version, due, runs, becomes, following, jitter_ms, n)`;

function executionsOf(sql: Sql, plans: readonly Plan[]): Fragment {
  const all = plans.flatMap(({ executions }, n) => executions.map((it) => ({ ...it, n: n + 1 })));
  return sql`
    select * from unnest(${all.map((it) => it.n)}::bigint[], ${all.map((it) => it.execution_id)}::text[], ${all.map((it) => it.status)}::text[], ${all.map((it) => it.reason)}::text[],
      ${all.map((it) => iso(it.scheduled_at))}::timestamptz[], ${all.map((it) => iso(it.until))}::timestamptz[], ${all.map((it) => it.count)}::int[],
      ${all.map((it) => it.jitter_ms)}::int[], ${all.map((it) => it.execution_number)}::int[], ${all.map((it) => it.task_id)}::text[], ${all.map((it) => it.needs)}::text[],
      ${all.map((it) => it.input_data)}::text[])
    as x(n, execution_id, status, reason, scheduled_at, until, count, jitter, execution_number, task_id, waits_for, json)`;
}

/** The tasks that make way for those of the schedules that did as planned. */
const othersOf = (sql: Sql, plans: readonly Plan[]): Fragment => sql`
  select task_id from json_to_recordset(${JSON.stringify(plans.flatMap(({ schedule_id, cancel }) => cancel.map((task_id) => ({ schedule_id, task_id }))))}::text::json)
  as o(schedule_id text, task_id text) where schedule_id in (select schedule_id from changed)`;

/** What the executions of each plan come to. */
const countsOf = (sql: Sql): Fragment => sql`
  select n, count(task_id)::int as made, coalesce(sum(count) filter (where status = 'SKIPPED'), 0)::int as skipped, coalesce(sum(count) filter (where status = 'MISSED'), 0)::int as missed,
    min(scheduled_at) filter (where task_id is not null) as first, max(scheduled_at) filter (where task_id is not null) as last
  from x group by n`;

/** The schedules that are as they were seen. What another holds, a tick or an admin, is left to it. */
const heldOf = (sql: Sql, plans: readonly Plan[], once: boolean): Fragment => sql`
  select s.schedule_id from schedules s join p on p.schedule_id = s.schedule_id
  where s.schedule_id = any(${plans.map((it) => it.schedule_id)}::text[])
    and s.version = p.version and s.status = p.status and s.next_run_at is not distinct from p.due and s.total_runs = p.runs
    ${once ? sql`and exists (select from remembered)` : sql``}
  order by s.schedule_id for no key update of s skip locked`;

/** Remembers a request that is to count once, by the first task it makes. Nothing is made where it was there before. */
const rememberedOf = (sql: Sql, plans: readonly Plan[], once: Asked['once']): Fragment | undefined =>
  once &&
  sql`
  insert into idempotency_keys (owner, idempotency_key, request_hash, task_id, expires_at)
  select ${once.owner}, ${once.idempotency_key}, ${once.request_hash}, ${plans[0]!.executions[0]!.task_id}, now + make_interval(hours => ${KEPT_HOURS}) from clock
  on conflict do nothing returning task_id`;

/** What is audited of runs that somebody asks for. */
const auditedRuns = (sql: Sql): Fragment => sql`
  jsonb_build_object('runs', g.made, 'from', ${auditedTime(sql, 'g.first')}, 'to', ${auditedTime(sql, 'g.last')})`;

/** A row for each kind: of executions by their status, of those that are late, and of schedules that have ended. */
const toldOf = (sql: Sql): Fragment => sql`
  insert into events (tx, at, kind, subject_ids, detail)
  select pg_current_xact_id(), (select now from clock), kind, array_agg(schedule_id), jsonb_agg(detail) from (
    select 'schedule.' || lower(status) as kind, schedule_id, jsonb_strip_nulls(jsonb_build_object('execution_id', execution_id, 'scheduled_at', scheduled_at, 'task_id', task_id,
      'reason', reason, 'until', until, 'count', case when task_id is null then count end)) as detail from w
    union all
    select 'schedule.late', schedule_id, jsonb_build_object('execution_id', execution_id, 'scheduled_at', scheduled_at, 'task_id', task_id, 'lateness_ms', lateness_ms)
    from w where lateness_ms > late_after_seconds * 1000
    union all
    select 'schedule.ended', schedule_id, jsonb_build_object('from', was) from changed where status = 'ENDED' and was <> 'ENDED'
  ) told group by kind`;
