import { sql } from 'drizzle-orm';
import {
  bigint,
  bigserial,
  boolean,
  check,
  doublePrecision,
  index,
  integer,
  pgTable,
  primaryKey,
  text,
  uniqueIndex,
} from 'drizzle-orm/pg-core';
import { idText, moment } from './columns.ts';

/** What an agent's evidence comes to, per capability. `fold_seq` counts the pieces folded; each run and adjustment keeps its own number. */
export const trust = pgTable(
  'trust',
  {
    agent_id: idText().notNull(),
    capability: text().notNull(),
    dependable: doublePrecision().notNull(),
    undependable: doublePrecision().notNull(),
    completed: integer().notNull(),
    failed: integer().notNull(),
    timed_out: integer().notNull(),
    lost: integer().notNull(),
    fold_seq: bigint({ mode: 'number' }).notNull(),
    updated_at: moment().notNull(),
  },
  (t) => [primaryKey({ columns: [t.agent_id, t.capability] })],
);

/** What admins say of an agent: evidence at its place among that of the runs, never changed. */
export const trust_adjustments = pgTable(
  'trust_adjustments',
  {
    agent_id: idText().notNull(),
    capability: text().notNull(),
    fold_seq: bigint({ mode: 'number' }).notNull(),
    delta: doublePrecision().notNull(),
    dependable: doublePrecision().notNull(),
    undependable: doublePrecision().notNull(),
    reason: text().notNull(),
    actor: text().notNull(),
    at: moment().notNull(),
  },
  (t) => [primaryKey({ columns: [t.agent_id, t.capability, t.fold_seq] })],
);

/**
 * What the verdicts on an agent's work come to, and where it stands, per capability; `*` is all of them, of which only an admin speaks.
 * Who has no row is a NEWCOMER. Counts are as they stood at `checked_at`; `fold_seq` counts the rows of `verdicts` folded.
 */
export const integrity = pgTable(
  'integrity',
  {
    agent_id: idText().notNull(),
    capability: text().notNull(),
    right: doublePrecision().notNull(),
    wrong: doublePrecision().notNull(),
    checked_at: moment().notNull(),
    streak: doublePrecision().notNull(),
    faults: doublePrecision().notNull(),
    standing: text().notNull(),
    quarantines: integer().notNull(),
    quarantined_until: moment(),
    fold_seq: bigint({ mode: 'number' }).notNull(),
    updated_at: moment().notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.agent_id, t.capability] }),
    check('integrity_standing', sql`${t.standing} in ('NEWCOMER', 'TRUSTED', 'PROBATION', 'QUARANTINED', 'BANNED')`),
    check('integrity_quarantined', sql`(${t.standing} = 'QUARANTINED') = (${t.quarantined_until} is not null)`),
    // Who is given nothing: looked at by every loop that asks, and nearly always empty.
    index('integrity_out').on(t.agent_id, t.capability).where(sql`standing in ('QUARANTINED', 'BANNED')`),
    index('integrity_quarantined_until').on(t.quarantined_until).where(sql`quarantined_until is not null`),
  ],
);

/**
 * What others found of an agent's runs, and what admins and time say of its standing (no `fence`; `kind` is the event of its
 * lifecycle). Never changed but once: `fold_seq` says which piece of evidence it was for (agent, capability) when it is folded.
 */
export const verdicts = pgTable(
  'verdicts',
  {
    verdict_id: bigserial({ mode: 'number' }).primaryKey(),
    fence: bigint({ mode: 'number' }),
    /** What found it: `quorum`, `judge`, `audit`, `canary`, `look_back` … Once per run. */
    kind: text().notNull(),
    task_id: idText(),
    agent_id: idText().notNull(),
    capability: text().notNull(),
    found: text(),
    /** Someone trusted says so. */
    vouched: boolean(),
    weight: doublePrecision(),
    /** Who says so: agents, by id and comma, or an admin's key, or what did (`canary`, `time`). */
    judge: text().notNull(),
    reason: text(),
    at: moment().notNull(),
    fold_seq: bigint({ mode: 'number' }),
  },
  (t) => [
    uniqueIndex('verdicts_once').on(t.fence, t.kind),
    index('verdicts_unfolded').on(t.verdict_id).where(sql`fold_seq is null`),
    uniqueIndex('verdicts_folded').on(t.agent_id, t.capability, t.fold_seq).where(sql`fold_seq is not null`),
    index('verdicts_agent').on(t.agent_id, t.at),
    check('verdicts_found', sql`${t.found} in ('RIGHT', 'WRONG', 'COLLUDED')`),
    check(
      'verdicts_of_runs',
      sql`(${t.fence} is null) = (${t.found} is null) and (${t.found} is null) = (${t.vouched} is null) and (${t.found} is null) = (${t.weight} is null)`,
    ),
  ],
);
