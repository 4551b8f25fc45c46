import { type Actor, auditText } from '../../audit/record.ts';
import type { Sql } from '../../platform/database.ts';
import { retried } from '../../platform/retried.ts';
import { END_RUNS, endedBy } from './end-runs.ts';
import { LEASE_TTL_MS } from './heartbeat.ts';

/** What a statement that ends everything an agent holds changes in the agent itself. */
interface Departure {
  /** `$1` is the agent, `$2` the boot, `$3` whatever the change needs. */
  guard: string;
  /** Whether it loses its runs, by what it was. */
  loses: string;
  set: string;
  status: 'LOST' | 'RETURNED';
  fault: string;
  code: string;
  message: string;
  /** More CTEs, e.g. what happens to the presence. */
  also: string[];
  /** Of the agent's leases, those that go; all unless said. */
  leases?: string;
}

/**
 * Ends all runs of one agent and changes the agent, in one statement: the row of `agents` changes once, slots and all.
 * Answers no row when the guard did not hold. `missed`: slots still used though all was to go, by runs up to `fence`.
 */
const departure = ({ guard, loses, set, status, fault, code, message, also, leases = 'true' }: Departure): string => `
with clock as materialized (select muster_now() as now),
locked as materialized (select agent_id, boot_id, mode from agents where agent_id = $1 and ${guard} for no key update),
gone as (delete from leases where agent_id in (select agent_id from locked where ${loses}) and ${leases} returning *),
${endedBy({ status, fault, error: `jsonb_build_object('code', '${code}', 'message', '${message}')` })},
${END_RUNS},
changed as (
  update agents set slots_used = slots_used - (select coalesce(sum(slot_cost), 0) from judged), updated_at = (select now from clock), ${set}
  where agent_id in (select agent_id from locked)
  returning agent_id as subject_id, owner, null::jsonb as detail, jsonb_build_object('mode', (select mode from locked)) as before,
    jsonb_build_object('mode', mode) as after, slots_used, token_epoch, (select last_value from fence_seq) as fence
)${also.map((part) => `, ${part}`).join('')}
select case when (select ${loses} from locked) then c.slots_used else 0 end as missed, c.fence, c.token_epoch, j.class_id, j.next
from changed c left join judged j on true`;

/**
 * The same for what a claim gave the agent while the statement waited for the agent's row: such leases are not in its
 * snapshot. `$2` is the last fence drawn before it had the row.
 */
const rest = (it: Departure): string =>
  departure({ ...it, guard: 'true', loses: 'true', set: 'boot_id = boot_id', also: [], leases: 'fence <= $2::bigint' });

/** What happened, unless nothing did: a token bought by the life that already is. */
const event = (kind: string, loses = 'true') => `event as (
  insert into events (tx, at, kind, subject_ids, detail)
  select pg_current_xact_id(), (select now from clock), '${kind}', array_agg(subject_id), jsonb_agg(detail) from changed where (select ${loses} from locked) having count(*) > 0)`;

const presence = (lease: string) => `pulse as (
  insert into presence (agent_id, last_seen_at, lease_expires_at) select subject_id, now, now + interval '${lease}' from changed, clock
  on conflict (agent_id) do update set last_seen_at = excluded.last_seen_at, lease_expires_at = excluded.lease_expires_at)`;

const REBOOT: Departure = {
  guard: `mode <> 'REVOKED' and jkt = $6 and (boot_id = $2 and left_at is null or not exists (select from boots b where b.agent_id = agents.agent_id and b.boot_id = $2))`,
  loses: 'boot_id <> $2',
  set: `boot_id = $2, left_at = null,
    display_name = coalesce($3::text::jsonb ->> 'display_name', display_name), slots = coalesce(($3::text::jsonb ->> 'slots')::int, slots),
    labels = coalesce($3::text::jsonb -> 'labels', labels),
    capabilities = case when $3::text::jsonb ? 'capabilities' then array(select jsonb_array_elements_text($3::text::jsonb -> 'capabilities')) else capabilities end`,
  status: 'LOST',
  fault: `'agent'`,
  code: 'superseded',
  message: 'the agent started again',
  also: [
    presence(`${LEASE_TTL_MS} milliseconds`),
    event('agent.booted', 'boot_id <> $2'),
    'life as (insert into boots (agent_id, boot_id, started_at) select subject_id, $2, now from changed, clock on conflict do nothing)',
    'used as (insert into used_jtis (jkt, jti, expires_at) select $6, $4, to_timestamp($5::float8) from changed)',
  ],
};

const LEAVE: Departure = {
  guard: 'boot_id = $2 and left_at is null',
  loses: 'true',
  set: 'left_at = (select now from clock)',
  status: 'RETURNED',
  fault: 'null::text',
  code: 'left',
  message: 'the agent left',
  also: [presence('0'), event('agent.left')],
};

const REVOKE: Departure = {
  guard: `mode <> 'REVOKED' and $2::text is null`,
  loses: 'true',
  set: `mode = 'REVOKED', token_epoch = token_epoch + 1, token_epoch_at = (select now from clock)`,
  status: 'LOST',
  fault: `'system'`,
  code: 'revoked',
  message: 'the agent was revoked',
  also: [presence('0'), event('agent.revoked'), auditText('agent.revoke', 3)],
};

export interface Departed {
  /** Runs that were taken back, and the classes there is now work of. */
  requeued: number;
  ready: number[];
  /** Access tokens of an earlier one are over. */
  token_epoch: number;
}

interface DepartedRow {
  missed: number;
  fence: string;
  token_epoch: number;
  class_id: string | null;
  next: string | null;
}

async function depart(
  admin: Sql,
  departing: Departure,
  parameters: [agentId: string, ...(string | number | null)[]],
): Promise<Departed | undefined> {
  const rows = await retried(() => admin.unsafe<DepartedRow[]>(departure(departing), parameters, { prepare: true }));
  const [first] = rows;
  if (!first) return undefined;
  if (first.missed > 0)
    rows.push(
      ...(await retried(() =>
        admin.unsafe<DepartedRow[]>(rest(departing), [parameters[0], first.fence], { prepare: true }),
      )),
    );
  const runs = rows.filter((row) => row.class_id !== null);
  return {
    requeued: runs.length,
    ready: runs.filter((row) => row.next === 'ready').map((row) => Number(row.class_id)),
    token_epoch: first.token_epoch,
  };
}

/** What a registration says anew of an agent that is known. */
export interface Announcement {
  display_name: string;
  capabilities: readonly string[];
  slots: number;
  labels: Record<string, string>;
}

/** A life of an agent, begun by a proof that its key made. */
export interface Life {
  agentId: string;
  bootId: string;
  jkt: string;
  jti: string;
  exp: number;
  announcement?: Announcement;
}

/** Begins a life of an agent: a boot that is new fences the old one at once. The proof's `jti` is used up. Undefined where the agent is revoked or unknown, has another key by now, or that life is over. */
export const bootAgent = (
  admin: Sql,
  { agentId, bootId, announcement, jti, exp, jkt }: Life,
): Promise<Departed | undefined> =>
  depart(admin, REBOOT, [agentId, bootId, JSON.stringify(announcement ?? {}), jti, exp, jkt]);

/** An agent goes: what it holds is queued again at once, and nobody is blamed. */
export const leaveAgent = (admin: Sql, agentId: string, bootId: string): Promise<Departed | undefined> =>
  depart(admin, LEAVE, [agentId, bootId]);

/** An agent is sent away for good. */
export const revokeAgent = (admin: Sql, agentId: string, by?: Actor): Promise<Departed | undefined> =>
  depart(admin, REVOKE, [agentId, null, by?.actor ?? null, by?.address ?? null, by?.request_id ?? null]);
