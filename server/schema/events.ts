import { bigint, index, jsonb, pgTable, text } from 'drizzle-orm/pg-core';
import { moment, xid8 } from './columns.ts';

/** The outbox: one row per statement and kind, whatever the number of things it happened to. */
export const events = pgTable(
  'events',
  {
    event_id: bigint({ mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity({ cache: 1 }),
    tx: xid8().notNull(),
    at: moment().notNull(),
    kind: text().notNull(),
    subject_ids: text().array(),
    fences: bigint({ mode: 'bigint' }).array(),
    detail: jsonb(),
  },
  (t) => [index('events_tx').on(t.tx, t.event_id)],
);

/** How far each reader of the outbox has come. */
export const event_cursors = pgTable('event_cursors', {
  reader: text().primaryKey(),
  tx: xid8().notNull(),
  event_id: bigint({ mode: 'bigint' }).notNull(),
});
