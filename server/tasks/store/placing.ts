/** The columns of a task that is out of the ordinary, beside those of a plain one. */
const SPECIAL =
  ', retry_base_ms, retry_cap_ms, retry_jitter, task_timeout_seconds, unique_key, concurrency_key, schedule_id, expires_at';

/** CTEs by name, as a statement has them. */
export const parts = (named: Record<string, string>): string =>
  Object.entries(named)
    .map(([name, part]) => `${name} as (${part})`)
    .join(',\n');

/**
 * Inserts the tasks of `y`, which gives their columns, what JSON and lists are being text or not, with `now` and `rank`; and says whether they may be begun as they come
 * (`due`) or wait for others (`bound`). `from`: where else some of the columns are; `more`: further columns, and what they hold.
 */
export const insertedTasks = ({
  plain = false,
  from = 'y',
  more = ['', ''],
}: {
  plain?: boolean;
  from?: string;
  more?: [string, string];
} = {}) => `
  insert into tasks (task_id, class_id, owner, client_id, task_type, capability_required, input_data, priority, rank, timeout_seconds,
    max_retries, retry_policy, tags, metadata, traceparent, run_at, created_at${plain ? '' : `${SPECIAL}, verification, non_retryable, depends_on, on_dependency_failure`}${more[0]})
  select task_id, class_id, owner, client_id, task_type, capability_required, input_data::json, priority, rank, timeout_seconds,
    max_retries, retry_policy, tags::text[], metadata::jsonb, traceparent, run_at, now
    ${plain ? '' : `${SPECIAL}, verification::jsonb, non_retryable::text[], nullif(depends_on::text[], '{}'), case when bound then on_dependency_failure end`}${more[1]} from ${from}`;

/** Puts those that may be begun into `ready`. */
export const queuedTasks = (which: string, from = 'y'): string => `
  insert into ready (class_id, rank, task_id, replica, attempt, failures)
  select class_id, rank, task_id, 0, 0, 0 from ${from} where ${which}`;

/** Those that wait: for their time, for room at their key, for others. And what watches over the time of any. */
export const WAITING: Record<string, string> = {
  later: `
    insert into delayed (run_at, task_id, replica, class_id, rank, attempt, failures)
    select run_at, task_id, 0, class_id, rank, 0, 0 from y where not due and not bound and concurrency_key is null`,
  gate: `
    insert into gated (owner, concurrency_key, rank, task_id, class_id, run_at)
    select owner, concurrency_key, rank, task_id, class_id, run_at from y where concurrency_key is not null and not bound`,
  edges: `
    insert into dependencies (needs_task_id, task_id, created_at)
    select needs, task_id, now from y cross join lateral (select distinct unnest(depends_on::text[]) as needs) d where bound
    returning needs_task_id, task_id`,
  waiting: `
    insert into blocked (task_id, class_id, open, on_failure, created_at)
    select y.task_id, y.class_id, e.open, y.on_dependency_failure, y.now from y
    join (select task_id, count(*)::int as open from edges group by 1) e on e.task_id = y.task_id`,
  needed: `
    update tasks set has_dependents = true where task_id = any(array(select distinct needs_task_id from edges)) and not has_dependents`,
  limited: `
    insert into expiring (expires_at, task_id, started)
    select expires_at, task_id, false from y where expires_at is not null
    union all select run_at + make_interval(secs => task_timeout_seconds), task_id, true from y where task_timeout_seconds is not null`,
};
