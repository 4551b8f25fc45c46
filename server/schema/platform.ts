import { sql } from 'drizzle-orm';
import { boolean, check, jsonb, pgTable, text } from 'drizzle-orm/pg-core';
import { idText, moment } from './columns.ts';

/** One row: when the network last had a beating coordinator, and since when it has had one without a gap. */
export const cluster = pgTable(
  'cluster',
  {
    one: boolean().primaryKey().default(true),
    beat_at: moment().notNull(),
    steady_since: moment().notNull(),
  },
  (t) => [check('cluster_one', sql`${t.one}`)],
);

/** Coordinators that beat lately: whether anybody else needs to hear of new work. */
export const coordinators = pgTable('coordinators', {
  coordinator_id: idText().primaryKey(),
  url: text().notNull(),
  beat_at: moment().notNull(),
});

/** Public halves of the keys coordinators sign tokens with; every coordinator verifies with all of them. */
export const signing_keys = pgTable('signing_keys', {
  kid: text().primaryKey(),
  public_jwk: jsonb().notNull(),
  created_at: moment().notNull(),
});
