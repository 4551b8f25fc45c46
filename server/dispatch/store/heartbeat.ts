import { arrayLiteral, type Sql } from '../../platform/database.ts';

/** How long after a beat an agent's lease ends, in milliseconds: three missed beats. */
export const LEASE_TTL_MS = 30_000;
/** How often agents are told to beat, in milliseconds. */
export const HEARTBEAT_INTERVAL_MS = 10_000;

export interface Beat {
  agent_id: string;
  boot_id: string;
  health: 'OK' | 'DEGRADED';
  slots_free: number;
  uptime_ms: number | null;
  metrics: string | null;
  fences: readonly number[];
}

/** How an agent stands after its beat; times as an answer writes them. `held` are the fences it named that it does hold. */
export interface BeatAnswer {
  mode: string;
  server_time: string;
  lease_expires_at: string;
  held: ReadonlyMap<number, Held>;
}

interface Held {
  cancel: boolean;
  started: boolean;
}

/** What nearly every agent holds. */
const NOTHING: ReadonlyMap<number, Held> = new Map();

/** Moves the lease of every agent that beat, once however many runs it has, and looks which of them are still its own. */
const BEAT = `
with clock as materialized (select muster_now() as now),
x as materialized (
  select * from unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::int[], $5::text::bigint[], $6::text::text[])
  as x(agent_id, boot_id, health, slots_free, uptime_ms, metrics)
),
alive as materialized (
  select x.*, a.mode from x cross join lateral (
    select mode from agents where agents.agent_id = x.agent_id and agents.boot_id = x.boot_id and agents.left_at is null and agents.mode <> 'REVOKED' offset 0) a
),
beaten as (
  insert into presence (agent_id, last_seen_at, lease_expires_at, health, slots_free, uptime_ms, metrics)
  select agent_id, now, now + interval '${LEASE_TTL_MS} milliseconds', health, slots_free, uptime_ms, metrics::jsonb from alive, clock order by agent_id
  on conflict (agent_id) do update set last_seen_at = excluded.last_seen_at, lease_expires_at = excluded.lease_expires_at,
    health = excluded.health, slots_free = excluded.slots_free, uptime_ms = excluded.uptime_ms, metrics = excluded.metrics
  returning agent_id
),
named as materialized (select * from unnest($7::text::bigint[], $8::text::text[]) as n(fence, agent_id)),
held as (
  select l.fence, l.agent_id, l.cancel_requested_at is not null as cancel, l.started_at is not null as started
  from leases l where l.fence = any($7::text::bigint[]) and ((l.fence, l.agent_id) in (select fence, agent_id from named)) is true
)
select a.agent_id, a.mode, (select extract(epoch from now::timestamptz(3)) * 1000 from clock)::float8 as now_ms, h.fence, h.cancel, h.started
from alive a join beaten b on b.agent_id = a.agent_id left join held h on h.agent_id = a.agent_id`;

interface BeatRow {
  agent_id: string;
  mode: string;
  /** The same in all rows. */
  now_ms: number;
  fence: string | null;
  cancel: boolean;
  started: boolean;
}

/** By agent. One that is missing in the answer is revoked, unknown, or superseded by a newer boot. */
export async function beatAgents(hot: Sql, beats: readonly Beat[]): Promise<Map<string, BeatAnswer>> {
  const column = (name: Exclude<keyof Beat, 'fences'>) => arrayLiteral(beats.map((beat) => beat[name]));
  const rows = await hot.unsafe<BeatRow[]>(
    BEAT,
    [
      column('agent_id'),
      column('boot_id'),
      column('health'),
      column('slots_free'),
      column('uptime_ms'),
      column('metrics'),
      arrayLiteral(beats.flatMap((beat) => beat.fences)),
      arrayLiteral(beats.flatMap((beat) => beat.fences.map(() => beat.agent_id))),
    ],
    { prepare: true },
  );
  const nowMs = rows[0]?.now_ms ?? 0;
  const server_time = new Date(nowMs).toISOString();
  const lease_expires_at = new Date(nowMs + LEASE_TTL_MS).toISOString();
  const held = heldIn(rows);
  const answers = new Map<string, BeatAnswer>();
  for (const { agent_id, mode } of rows)
    answers.set(agent_id, { mode, server_time, lease_expires_at, held: held.get(agent_id) ?? NOTHING });
  return answers;
}

function heldIn(rows: readonly BeatRow[]): Map<string, Map<number, Held>> {
  const held = new Map<string, Map<number, Held>>();
  for (const { agent_id, fence, cancel, started } of rows) {
    if (fence === null) continue;
    const own = held.get(agent_id) ?? new Map<number, Held>();
    held.set(agent_id, own.set(Number(fence), { cancel, started }));
  }
  return held;
}

/** What an agent says of a live run. `started`: it has begun; `progress`: JSON text, merged over what was said before. */
export interface RunNote {
  agent_id: string;
  boot_id: string;
  fence: number;
  started: boolean;
  progress: string | null;
}

/** Notes starts and progress on the leases their agents hold in this life. Answers those it found, and whether each was asked to be cancelled. */
export async function noteRuns(
  hot: Sql,
  notes: readonly RunNote[],
): Promise<Map<number, { agent_id: string; boot_id: string; cancel: boolean }>> {
  const column = (name: keyof RunNote) => arrayLiteral(notes.map((note) => note[name]));
  const rows = await hot.unsafe<{ fence: string; agent_id: string; boot_id: string; cancel: boolean }[]>(
    `with clock as materialized (select muster_now() as now),
     x as materialized (
       select x.* from unnest($1::text::text[], $2::text::bigint[], $3::text::boolean[], $4::text::text[], $5::text::text[])
         as x(agent_id, fence, started, progress, boot_id)
       cross join lateral (select from agents where agents.agent_id = x.agent_id and agents.boot_id = x.boot_id offset 0) a
     )
     update leases l set
       started_at = coalesce(l.started_at, case when (select started from x where x.fence = l.fence and x.agent_id = l.agent_id) then (select now from clock) end),
       progress = coalesce(l.progress, '{}') || coalesce((select progress from x where x.fence = l.fence and x.agent_id = l.agent_id)::jsonb, '{}')
     where l.fence = any($2::text::bigint[]) and ((l.fence, l.agent_id) in (select fence, agent_id from x)) is true
     returning l.fence, l.agent_id, (select boot_id from x where x.fence = l.fence and x.agent_id = l.agent_id) as boot_id,
       l.cancel_requested_at is not null as cancel`,
    [column('agent_id'), column('fence'), column('started'), column('progress'), column('boot_id')],
    { prepare: true },
  );
  return new Map(rows.map(({ fence, ...row }) => [Number(fence), row]));
}
