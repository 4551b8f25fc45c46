import { bigint, index, integer, jsonb, pgTable, text } from 'drizzle-orm/pg-core';
import { idText, moment, xid8 } from './columns.ts';

/** Who changed what, from where: one row per change, written by the statement that made it, never changed after. */
export const audit_logs = pgTable(
  'audit_logs',
  {
    audit_id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity({ cache: 1 }),
    tx: xid8().notNull(),
    at: moment().notNull(),
    action: text().notNull(),
    actor: text().notNull(),
    address: text(),
    request_id: text().notNull(),
    /** Whose thing was changed. */
    owner: text().notNull(),
    subject_id: idText().notNull(),
    before: jsonb(),
    after: jsonb(),
  },
  (t) => [
    index('audit_logs_tx').on(t.tx, t.audit_id),
    index('audit_logs_owner').on(t.owner, t.audit_id),
    index('audit_logs_subject').on(t.subject_id, t.audit_id),
  ],
);

/** The chain over them: each seal signs the rows since the one before, and that one's hash. */
export const audit_seals = pgTable('audit_seals', {
  seal: bigint({ mode: 'number' }).primaryKey(),
  /** The last row it covers, in the order of (tx, audit_id). */
  tx: xid8().notNull(),
  audit_id: bigint({ mode: 'number' }).notNull(),
  count: integer().notNull(),
  previous_hash: text().notNull(),
  hash: text().notNull(),
  kid: text().notNull(),
  signature: text().notNull(),
  sealed_at: moment().notNull(),
});
