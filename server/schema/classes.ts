import type { Routing } from '@muster/shared/contract/tasks';
import { bigserial, boolean, doublePrecision, jsonb, pgTable, smallint, text, uniqueIndex } from 'drizzle-orm/pg-core';

/** The distinct requirements of tasks. Matching decides agent x class; claims take the heads of each class. */
export const classes = pgTable(
  'classes',
  {
    class_id: bigserial({ mode: 'number' }).primaryKey(),
    owner: text().notNull(),
    capability: text().notNull(),
    /** What an agent's labels must be, and what they should be where such an agent waits. */
    labels_required: jsonb().notNull().default({}),
    labels_preferred: jsonb().notNull().default({}),
    /** How many of an agent's slots such a task takes. */
    slot_cost: smallint().notNull().default(1),
    /** Others check what such a task is answered. */
    verified: boolean().notNull().default(false),
    /** What an agent must have shown, and who of those that wait is given such a task. */
    min_trust: doublePrecision().notNull().default(0),
    min_integrity: doublePrecision().notNull().default(0),
    routing: text().$type<Routing>().notNull().default('trust_weighted'),
    /** A hash of all that is asked besides the capability, for labels may be longer than an index takes; empty where that is nothing. */
    labels_hash: text().notNull().default(''),
  },
  (t) => [uniqueIndex('classes_requirements').on(t.owner, t.capability, t.labels_hash)],
);
