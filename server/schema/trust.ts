import { bigint, doublePrecision, integer, pgTable, primaryKey, text } from 'drizzle-orm/pg-core';
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
