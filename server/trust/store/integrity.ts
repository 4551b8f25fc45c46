import type { Standing } from '@muster/shared/lifecycle';
import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvents } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { idle, newcomer, type Trust, type Verdict } from '../model.ts';
import type { Known } from '../scrutiny.ts';

/** All capabilities of an agent, those it will have too: only an admin speaks of it. */
export const EVERYTHING = '*';

export interface Pair {
  agent_id: string;
  capability: string;
}

/** What the verdicts on (agent, capability) come to, and how many rows of the ledger that is. */
export interface Ledger extends Pair {
  trust: Trust;
  fold_seq: number;
}

interface IntegrityRow extends Pair {
  right: number;
  wrong: number;
  checked_at: Date;
  streak: number;
  faults: number;
  standing: Standing;
  quarantines: number;
  quarantined_until: Date | null;
  fold_seq: number;
}

/** Who was never looked at is a newcomer since ever: nothing fades. */
const UNKNOWN: Trust = newcomer(0);

const COLUMNS = `i.right, i.wrong, i.checked_at, i.streak, i.faults, i.standing, i.quarantines, i.quarantined_until, i.fold_seq::float8 as fold_seq`;

const trustOf = (row: IntegrityRow | Record<keyof IntegrityRow, null>): Trust =>
  row.standing === null
    ? UNKNOWN
    : {
        ...UNKNOWN,
        right: row.right,
        wrong: row.wrong,
        checked_at: row.checked_at.getTime(),
        streak: row.streak,
        faults: row.faults,
        standing: row.standing,
        quarantines: row.quarantines,
        quarantined_until: row.quarantined_until?.getTime() ?? null,
      };

/** A verdict that waits to be folded. */
export interface Waiting extends Pair {
  verdict_id: number;
  kind: string;
  fence: number;
  verdict: Verdict;
  judge: string;
  at: number;
}

/** The verdicts that wait, oldest first, of some agents or of all; and how each (agent, capability) of theirs stood at the same moment. */
export async function findWaiting(
  sql: Sql,
  { agentIds, limit }: { agentIds: readonly string[] | undefined; limit: number },
): Promise<{ waiting: Waiting[]; ledgers: Map<string, Ledger> }> {
  const rows = await sql<
    (IntegrityRow & {
      verdict_id: string;
      kind: string;
      fence: string;
      found: string;
      vouched: boolean;
      judge: string;
      at: Date;
    })[]
  >`
    select v.*, ${sql.unsafe(COLUMNS)} from (
      select verdict_id, fence, kind, agent_id, capability, found, vouched, judge, at from verdicts
      where fold_seq is null ${agentIds ? sql`and agent_id = any(${agentIds as string[]}::text[])` : sql``} order by verdict_id limit ${limit}
    ) v left join integrity i on i.agent_id = v.agent_id and i.capability = v.capability order by v.verdict_id`;
  const ledgers = new Map<string, Ledger>();
  for (const row of rows)
    ledgers.set(keyOf(row), {
      agent_id: row.agent_id,
      capability: row.capability,
      trust: trustOf(row),
      fold_seq: row.fold_seq ?? 0,
    });
  const waiting = rows.map(({ agent_id, capability, kind, found, vouched, judge, ...row }) => ({
    agent_id,
    capability,
    kind,
    judge,
    verdict_id: Number(row.verdict_id),
    fence: Number(row.fence),
    verdict: { found, vouched } as Verdict,
    at: row.at.getTime(),
  }));
  return { waiting, ledgers };
}

export const keyOf = ({ agent_id, capability }: Pair): string => `${agent_id} ${capability}`;

/** Who has no quarantine any more that began with an end, though it still stands there. */
export async function findReturning(sql: Sql, limit: number): Promise<{ now: number; ledgers: Ledger[] }> {
  const rows = await sql<(IntegrityRow & { now: Date })[]>`
    select i.agent_id, i.capability, now, ${sql.unsafe(COLUMNS)} from (select muster_now() as now) clock
    join integrity i on i.quarantined_until <= now order by i.quarantined_until limit ${limit}`;
  return { now: rows[0]?.now.getTime() ?? 0, ledgers: rows.map(ledgerOf) };
}

const ledgerOf = (row: IntegrityRow): Ledger => ({
  agent_id: row.agent_id,
  capability: row.capability,
  trust: trustOf(row),
  fold_seq: row.fold_seq,
});

/** Whether a quarantine is over. */
export const TO_RETURN = 'exists (select from integrity where quarantined_until <= (select now from clock))';

/** How (agent, capability) stands now; undefined where the agent does not exist. */
export async function findLedger(
  sql: Sql,
  { agent_id, capability }: Pair,
): Promise<(Ledger & { now: number }) | undefined> {
  const [row] = await sql<(IntegrityRow & { now: Date })[]>`
    select a.agent_id, ${capability} as capability, now, ${sql.unsafe(COLUMNS)} from (select muster_now()::timestamptz(3) as now) clock, agents a
    left join integrity i on i.agent_id = a.agent_id and i.capability = ${capability} where a.agent_id = ${agent_id}`;
  return row && { ...ledgerOf(row), fold_seq: row.fold_seq ?? 0, now: row.now.getTime() };
}

/** In what an agent is out. */
export async function listOut(sql: Sql, agentId: string): Promise<Ledger[]> {
  const rows = await sql<IntegrityRow[]>`
    select i.agent_id, i.capability, ${sql.unsafe(COLUMNS)} from integrity i
    where i.agent_id = ${agentId} and i.capability <> ${EVERYTHING} and i.standing in ('QUARANTINED', 'BANNED') order by i.capability`;
  return rows.map(ledgerOf);
}

/** What becomes of (agent, capability): `was` is the `fold_seq` it follows on, `stood` the standing. */
export interface Step extends Ledger {
  was: number;
  stood: Standing;
}

/** A row of the ledger that is folded as it is written. Moments are milliseconds. */
export interface WordRow extends Pair {
  kind: string;
  judge: string;
  reason: string | null;
  at: number;
  fold_seq: number;
}

/** An event of a step, and of the audit log where somebody is to be named. */
export interface Fact extends Pair {
  kind: string;
  detail: object;
  before?: object;
  after?: object;
}

export interface Fold {
  steps: readonly Step[];
  /** The verdicts these steps fold. */
  stamps?: readonly { verdict_id: number; agent_id: string; capability: string; fold_seq: number }[];
  words?: readonly WordRow[];
  events: readonly Fact[];
}

const moment = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
const rowOf = ({ trust, ...step }: Step) => ({
  ...step,
  ...trust,
  checked_at: moment(trust.checked_at),
  quarantined_until: moment(trust.quarantined_until),
});

/**
 * Writes what verdicts and words come to, where nothing was folded meanwhile (compare-and-swap on `fold_seq`, and the standing the step is
 * allowed from), and stamps them. Answers which steps were taken; of the others nothing is written.
 */
export async function writeFold(
  sql: Sql,
  { steps, stamps = [], words = [], events }: Fold,
  by?: { actor: Actor; action: string },
): Promise<Pair[]> {
  const rows = (list: readonly object[], columns: string) =>
    sql`jsonb_to_recordset(${JSON.stringify(list)}::text::jsonb) as x(agent_id text, capability text, ${sql.unsafe(columns)})`;
  const COUNTS =
    '"right", wrong, checked_at, streak, faults, standing, quarantines, quarantined_until, fold_seq, updated_at';
  return transition<Pair>(sql, {
    before: {
      next: sql`select x.*, (select now from clock) as updated_at from ${rows(
        steps.map(rowOf),
        `"right" float8, wrong float8, checked_at timestamptz, streak float8, faults float8, standing text, quarantines int, quarantined_until timestamptz,
        fold_seq bigint, was bigint, stood text`,
      )}`,
      folded: sql`
        insert into integrity as i (agent_id, capability, ${sql.unsafe(COUNTS)})
        select agent_id, capability, ${sql.unsafe(COUNTS)} from next where agent_id in (select agent_id from agents) order by agent_id, capability
        on conflict (agent_id, capability) do update set (${sql.unsafe(COUNTS)}) = row(${sql.unsafe(COUNTS.replaceAll(/"?(\w+)"?/g, 'excluded.$1'))})
        where (i.fold_seq, i.standing) = (select n.was, n.stood from next n where n.agent_id = i.agent_id and n.capability = i.capability)
        returning i.agent_id, i.capability`,
      stamped: sql`
        update verdicts v set fold_seq = x.fold_seq from ${rows(stamps, 'verdict_id bigint, fold_seq bigint')} join folded f using (agent_id, capability)
        where v.verdict_id = x.verdict_id and v.fold_seq is null`,
      worded: sql`
        insert into verdicts (agent_id, capability, kind, judge, reason, at, fold_seq)
        select agent_id, capability, kind, judge, reason, at, fold_seq
        from ${rows(
          words.map((word) => ({ ...word, at: moment(word.at) })),
          'kind text, judge text, reason text, at timestamptz, fold_seq bigint',
        )} join folded f using (agent_id, capability)`,
    },
    change: sql`
      select agent_id as subject_id, a.owner, x.kind, x.detail, x.before, x.after
      from ${rows(events, 'kind text, detail jsonb, before jsonb, after jsonb')} join folded f using (agent_id, capability) join agents a using (agent_id)`,
    event: recordEvents(sql),
    audit: by && recordAudit(sql, by.actor, by.action),
    answer: sql`select agent_id, capability from folded`,
  });
}

/**
 * What is known now of agents in capabilities, by `keyOf`, idleness and what was said of all they can do taken into account. Who does not
 * exist is left out.
 */
export async function findKnown(sql: Sql, pairs: readonly Pair[]): Promise<Map<string, Known>> {
  const rows = await sql<(IntegrityRow & { anchor: boolean; out: Standing | null; now: Date })[]>`
    select x.agent_id, x.capability, a.anchor, now, ${sql.unsafe(COLUMNS)}, (
      select e.standing from integrity e where e.agent_id = x.agent_id and e.capability = ${EVERYTHING} and e.standing in ('QUARANTINED', 'BANNED')) as out
    from (select muster_now() as now) clock, jsonb_to_recordset(${JSON.stringify(pairs)}::text::jsonb) as x(agent_id text, capability text)
    join agents a on a.agent_id = x.agent_id left join integrity i on i.agent_id = x.agent_id and i.capability = x.capability`;
  return new Map(
    rows.map(({ anchor, out, now, ...row }) => {
      const { checked_at, right, wrong, streak, standing } = trustOf(row);
      const left = idle(now.getTime() - checked_at);
      return [keyOf(row), { right: right * left, wrong: wrong * left, streak, standing: out ?? standing, anchor }];
    }),
  );
}
