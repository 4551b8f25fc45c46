import { DEFAULTS } from './parameters.ts';

const DECAY = DEFAULTS.dependability_decay;
/** What a second without evidence takes from the logarithm of a count. */
const FADING = Math.LN2 / (DEFAULTS.half_life_ms / 1_000);
/** Less of a count than anybody can see, and the logarithm of as much: Postgres refuses a product that is too small to be told from zero. */
const NOTHING = 1e-100;
const ALL_BUT_NOTHING = -300;

/** What is left of a count, and of its moment, where `more` is taken from its logarithm besides: an expression of SQL. */
const left = (count: string, at: string, now: string, more = '') =>
  `case when ${count} > ${NOTHING} then ${count} * exp(greatest(${ALL_BUT_NOTHING}, ${more} - greatest(date_part('epoch', ${now} - ${at}), 0) * ${FADING})) else 0 end`;

/** What is left of a count that was right `at` a moment: half of it after each half-life (`idle`, in SQL). */
export const faded = (count: string, at: string, now: string): string => left(count, at, now);

/** What is in the batch comes after what was there before, which has faded since. */
const kept = (count: string) =>
  left(`t.${count}`, 't.updated_at', 'excluded.updated_at', `excluded.fold_seq * ${Math.log(DECAY)}`);
export const ADDED = `
  on conflict (agent_id, capability) do update set
    dependable = ${kept('dependable')} + excluded.dependable,
    undependable = ${kept('undependable')} + excluded.undependable,
    completed = t.completed + excluded.completed, failed = t.failed + excluded.failed,
    timed_out = t.timed_out + excluded.timed_out, lost = t.lost + excluded.lost,
    fold_seq = t.fold_seq + excluded.fold_seq, updated_at = greatest(t.updated_at, excluded.updated_at)`;

/**
 * Folds finished runs into the trust of (agent, capability), inside the statement that finishes them. With n pieces of
 * evidence in the batch, d <- d * 2^(-idle / half-life) * 0.97^n + sum of w_k * 0.97^(n-k): exactly what folding them one by one gives
 * (Josang & Ismail 2002, forgetting), by the moments that are kept, which have milliseconds. A completed run counts for the agent; a failure by its fault, a timeout and a lost lease against it; a
 * task's or the system's fault, a return and a cancel move nothing.
 *
 * `from` names rows of `fence, agent_id, capability, run_status, fault, ord`. Leaves `folded_runs(fence, fold_seq)`: materialized,
 * for the planner takes a batch for one row and would look at all of it again for each run.
 */
export const foldTrust = (from: string): string => `
weighed as materialized (
  select fence, agent_id, capability, run_status,
    row_number() over (partition by agent_id, capability order by ord, fence) as k, count(*) over (partition by agent_id, capability) as n
  from ${from} where run_status = 'COMPLETED' or (run_status in ('FAILED', 'TIMED_OUT', 'LOST') and fault = 'agent')
),
folded as (
  insert into trust as t (agent_id, capability, dependable, undependable, completed, failed, timed_out, lost, fold_seq, updated_at)
  select agent_id, capability,
    coalesce(sum(power(${DECAY}::float8, n - k)) filter (where run_status = 'COMPLETED'), 0),
    coalesce(sum(power(${DECAY}::float8, n - k)) filter (where run_status <> 'COMPLETED'), 0),
    count(*) filter (where run_status = 'COMPLETED'), count(*) filter (where run_status = 'FAILED'),
    count(*) filter (where run_status = 'TIMED_OUT'), count(*) filter (where run_status = 'LOST'), n, (select now from clock)
  from weighed group by agent_id, capability, n order by agent_id, capability
  ${ADDED}
  returning agent_id, capability, fold_seq
),
folded_runs as materialized (
  select w.fence, f.fold_seq - w.n + w.k as fold_seq from weighed w join folded f on f.agent_id = w.agent_id and f.capability = w.capability
)`;

/**
 * The same for completed runs, which weigh alike in whatever order: their sum of 0.97^k is that of a geometric series. `from` gives the `n` of each
 * `agent_id`, `capability` and whatever else. Leaves `folded(agent_id, capability, before)`, what was folded before them.
 */
export const foldCompleted = (from: string): string => `
sums as materialized (select agent_id, capability, sum(n)::int as n from ${from} group by 1, 2),
upserted as (
  insert into trust as t (agent_id, capability, dependable, undependable, completed, failed, timed_out, lost, fold_seq, updated_at)
  select agent_id, capability, (1 - power(${DECAY}::float8, n)) / (1 - ${DECAY}::float8), 0, n, 0, 0, 0, n, (select now from clock) from sums order by 1, 2
  ${ADDED}
  returning agent_id, capability, fold_seq
),
folded as materialized (
  select s.agent_id, s.capability, u.fold_seq - s.n as before from upserted u join sums s on s.agent_id = u.agent_id and s.capability = u.capability
)`;

/** The same for one completed run: `from` gives its `agent_id`, `capability` and the `now`. Answers its `fold_seq`. */
export const foldOne = (from: string): string => `
  insert into trust as t (agent_id, capability, dependable, undependable, completed, failed, timed_out, lost, fold_seq, updated_at)
  select agent_id, capability, 1, 0, 1, 0, 0, 0, 1, now from ${from}
  ${ADDED}
  returning fold_seq`;
