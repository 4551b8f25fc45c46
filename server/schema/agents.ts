import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  uniqueIndex,
} from 'drizzle-orm/pg-core';
import { idText, moment } from './columns.ts';

/** Who may register: each token's limits and uses. The token itself is a signed JWT and is not kept. */
export const enrollment_tokens = pgTable('enrollment_tokens', {
  enrollment_token_id: idText().primaryKey(),
  owner: text().notNull(),
  serves: text().notNull(),
  capabilities: text().array(),
  /** What agents may be named, `*` for any characters. */
  name_pattern: text(),
  max_slots: integer(),
  /** The one key that may register with it (RFC 7638). */
  key_thumbprint: text(),
  max_uses: integer().notNull(),
  uses: integer().notNull().default(0),
  expires_at: moment().notNull(),
  revoked_at: moment(),
  created_at: moment().notNull(),
});

/** An agent's identity, what it may do and how much it holds. Its pulse is in `presence`: beats must not wait for claims. */
export const agents = pgTable(
  'agents',
  {
    agent_id: idText().primaryKey(),
    display_name: text().notNull(),
    owner: text().notNull(),
    serves: text().notNull(),
    public_jwk: jsonb().notNull(),
    jkt: text().notNull(),
    capabilities: text().array().notNull(),
    enrolled_capabilities: text().array(),
    enrolled_slots: integer(),
    enrolled_name_pattern: text(),
    labels: jsonb().notNull(),
    slots: integer().notNull(),
    slots_used: integer().notNull().default(0),
    mode: text().notNull().default('OPEN'),
    /** An admin vouches for it: what it says is taken for right. */
    anchor: boolean().notNull().default(false),
    /** Access tokens of an earlier epoch are over. When it last moved says how long that still matters. */
    token_epoch: integer().notNull().default(0),
    token_epoch_at: moment(),
    boot_id: idText().notNull(),
    /** This life said goodbye: nothing is given to it any more. */
    left_at: moment(),
    enrollment_token_id: idText().notNull(),
    created_at: moment().notNull(),
    updated_at: moment().notNull(),
  },
  (t) => [
    uniqueIndex('agents_jkt').on(t.jkt),
    index('agents_owner').on(t.owner, t.agent_id),
    index('agents_token_epoch_at').on(t.token_epoch_at).where(sql`token_epoch_at is not null`),
    index('agents_capabilities').using('gin', t.capabilities),
    check('agents_mode', sql`${t.mode} in ('OPEN', 'CORDONED', 'DRAINING', 'REVOKED')`),
    check('agents_slots_used', sql`${t.slots_used} >= 0`),
  ],
);

/** An agent's pulse: moved by every beat, apart from `agents` so that beats and claims never wait for each other. */
export const presence = pgTable(
  'presence',
  {
    agent_id: idText().primaryKey(),
    last_seen_at: moment().notNull(),
    lease_expires_at: moment().notNull(),
    health: text().notNull().default('OK'),
    slots_free: integer(),
    uptime_ms: bigint({ mode: 'number' }),
    metrics: jsonb(),
  },
  (t) => [check('presence_health', sql`${t.health} in ('OK', 'DEGRADED')`)],
);

/** Every life an agent has had: one that is over does not begin again, however its token is renewed. */
export const boots = pgTable(
  'boots',
  { agent_id: idText().notNull(), boot_id: idText().notNull(), started_at: moment().notNull() },
  (t) => [primaryKey({ columns: [t.agent_id, t.boot_id] })],
);

/** Every `jti` an agent has used, until its token would have expired anyway. */
export const used_jtis = pgTable(
  'used_jtis',
  { jkt: text().notNull(), jti: text().notNull(), expires_at: moment().notNull() },
  (t) => [uniqueIndex('used_jtis_once').on(t.jkt, t.jti), index('used_jtis_expires_at').on(t.expires_at)],
);
