import { sql } from 'drizzle-orm';
import { bigint, boolean, check, index, integer, pgTable, primaryKey, smallint, text } from 'drizzle-orm/pg-core';
import { idText, moment } from './columns.ts';

/**
 * How the check of a task stands: one row for each that is verified, from its first claim on. ALONE: the run of `fence` will be taken at its
 * agent's word; OPEN: others are asked, and it has no answer yet; VERIFYING: it has one; ACCEPTED, AGREED: the run of `fence` is its
 * result; REVIEWING: it has a result that is looked at again; ENDED: nobody wants to know any more.
 */
export const verifications = pgTable(
  'verifications',
  {
    task_id: idText().primaryKey(),
    state: text().notNull(),
    fence: bigint({ mode: 'number' }),
    /** Whose word was taken, and in what. */
    agent_id: idText(),
    capability: text(),
    /** Whose result it is that is looked at again: it was caught. */
    suspect: idText(),
    /** Who has had a run of it: agents, enrolments and owners. */
    parties: text().array().notNull().default([]),
    /** What of these no two may have in common: `owner`, or `enrolment` where all that could do it have one owner. */
    apart: text().notNull().default('owner'),
    /** The value of the label that is to be the same. */
    label_value: text(),
    /** Whether those who agree are judged by a third; null as long as nobody drew. */
    audited: boolean(),
    finality: text(),
    /** What a person should know of how it was decided, or why it is not. */
    note: text(),
    result_version: integer().notNull().default(1),
    /** Counts what happened to it: whoever decides says what it has seen. */
    turn: integer().notNull().default(0),
    /** When it is to be looked at. */
    check_at: moment(),
    decided_at: moment(),
  },
  (t) => [
    index('verifications_check_at').on(t.check_at).where(sql`check_at is not null`),
    index('verifications_provisional').on(t.agent_id, t.capability).where(sql`finality = 'provisional'`),
    index('verifications_accepted').on(t.agent_id, t.capability, t.decided_at).where(sql`state = 'ACCEPTED'`),
    index('verifications_known').on(t.capability, t.decided_at).where(sql`state = 'AGREED' and finality = 'verified'`),
    index('verifications_suspect').on(t.suspect, t.capability).where(sql`suspect is not null`),
    check(
      'verifications_state',
      sql`${t.state} in ('ALONE', 'OPEN', 'VERIFYING', 'ACCEPTED', 'AGREED', 'REVIEWING', 'ENDED')`,
    ),
    check('verifications_finality', sql`${t.finality} in ('provisional', 'verified')`),
  ],
);

/** Agents that were caught, whose earlier results are looked at again: how many were by now, and how many in a row were right. */
export const look_backs = pgTable(
  'look_backs',
  {
    agent_id: idText().notNull(),
    capability: text().notNull(),
    /** It was wrong in the same way as another: what others agreed with is looked at, too. */
    conspired: boolean().notNull(),
    looked: integer().notNull().default(0),
    clean: integer().notNull().default(0),
    since: moment().notNull(),
  },
  (t) => [primaryKey({ columns: [t.agent_id, t.capability] })],
);

/**
 * The runs of a task that are asked for besides its own; wanted as long as nobody has taken them. A canary is one of a task whose answer is known: no
 * part of the task's life, and nothing its owner sees.
 */
export const replicas = pgTable(
  'replicas',
  {
    task_id: idText().notNull(),
    /** From 1; the task's own is 0, its canary, of which it has one in its life, -1. */
    replica: smallint().notNull(),
    kind: text().notNull(),
    class_id: bigint({ mode: 'number' }).notNull(),
    rank: moment().notNull(),
    /** Only for an agent that is trusted, or an anchor. */
    trusted: boolean().notNull(),
    since: moment().notNull(),
    /** The run, once it was taken. */
    fence: bigint({ mode: 'number' }),
    /** The runs whose answers a checker is to compare, in the order it is given them. */
    compares: bigint({ mode: 'number' }).array(),
    /** What the agent of a canary is told instead of the id of the task. */
    alias: idText(),
  },
  (t) => [
    primaryKey({ columns: [t.task_id, t.replica] }),
    index('replicas_wanted').on(t.class_id, t.rank, t.task_id).where(sql`fence is null`),
    check(
      'replicas_canary',
      sql`(${t.kind} = 'canary') = (${t.replica} < 0) and (${t.kind} = 'canary') = (${t.alias} is not null)`,
    ),
    check('replicas_kind', sql`${t.kind} in ('replica', 'judge', 'audit', 'look_back', 'checker', 'canary')`),
    check('replicas_compares', sql`(${t.kind} = 'checker') = (${t.compares} is not null)`),
  ],
);
