import { sql } from 'drizzle-orm';
import { bigint, check, index, integer, pgTable, text } from 'drizzle-orm/pg-core';
import { idText, moment } from './columns.ts';

/** Keys of people and programs. Of the key itself only a hash is kept: 256 random bits need no slow one. */
export const api_keys = pgTable(
  'api_keys',
  {
    api_key_id: idText().primaryKey(),
    name: text().notNull(),
    owner: text().notNull(),
    scopes: text().array().notNull(),
    /** CIDR ranges it may be used from; none given: from anywhere. */
    allowed_addresses: text().array(),
    requests_per_minute: integer().notNull(),
    secret_hash: text().notNull(),
    /** The key before the last rotation, which may hold on for a while. */
    former_hash: text(),
    former_expires_at: moment(),
    expires_at: moment(),
    revoked_at: moment(),
    uses: bigint({ mode: 'number' }).notNull().default(0),
    last_used_at: moment(),
    created_at: moment().notNull(),
    updated_at: moment().notNull(),
  },
  (t) => [
    index('api_keys_owner').on(t.owner, t.api_key_id),
    check('api_keys_former', sql`(${t.former_hash} is null) = (${t.former_expires_at} is null)`),
  ],
);
