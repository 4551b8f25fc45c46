import { bigint, doublePrecision, integer, pgTable, primaryKey, text } from 'drizzle-orm/pg-core';
import { idText, moment } from './columns.ts';

/** What an agent's evidence comes to, per capability. `fold_seq` counts the runs folded; each run keeps its own number. */
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
