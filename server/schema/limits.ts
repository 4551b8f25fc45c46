import { sql } from 'drizzle-orm';
import { bigint, check, doublePrecision, index, integer, pgTable, primaryKey, text } from 'drizzle-orm/pg-core';
import { idText, moment } from './columns.ts';

/** How much may run at a time, how many runs may start in a second, and what an owner's share is: of the network (`*`), of an owner, of a capability. */
export const limits = pgTable(
  'limits',
  {
    scope: text().notNull(),
    name: text().notNull(),
    max_running: integer(),
    starts_per_second: doublePrecision(),
    weight: integer(),
    /** Starts saved up for, at `refilled_at`. */
    tokens: doublePrecision().notNull().default(0),
    refilled_at: moment().notNull(),
    updated_at: moment().notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.scope, t.name] }),
    check('limits_scope', sql`${t.scope} in ('global', 'owner', 'capability')`),
  ],
);

/** Runs that were counted towards a `max_running`. Ending a run writes nothing here: what has no lease any more is forgotten by who needs the room. */
export const limit_holds = pgTable(
  'limit_holds',
  { scope: text().notNull(), name: text().notNull(), fence: bigint({ mode: 'number' }).notNull() },
  (t) => [primaryKey({ columns: [t.scope, t.name, t.fence] })],
);

/** Agents that keep their free slots for a task that takes many and has waited long. */
export const slot_savers = pgTable(
  'slot_savers',
  { task_id: idText().notNull(), agent_id: idText().notNull(), since: moment().notNull() },
  (t) => [primaryKey({ columns: [t.task_id, t.agent_id] }), index('slot_savers_since').on(t.since)],
);
