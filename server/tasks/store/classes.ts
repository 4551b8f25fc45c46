import type { Routing } from '@muster/shared/contract/tasks';
import type { Sql } from '../../platform/database.ts';

/** What tasks require of an agent. */
export interface Requirements {
  owner: string;
  capability: string;
  /** What its labels must be, and what they should be. */
  labels_required: Record<string, string>;
  labels_preferred: Record<string, string>;
  /** How many of its slots a task takes. */
  slot_cost: number;
  /** Others check what a task is answered. */
  verified: boolean;
  /** The least of what it must have shown in the capability, 0..1. */
  min_trust: number;
  min_integrity: number;
  /** Who of those that wait is given a task. */
  routing: Routing;
}

/** What tasks require that say nothing of it. */
export const UNSAID: Omit<Requirements, 'owner' | 'capability'> = {
  labels_required: {},
  labels_preferred: {},
  slot_cost: 1,
  verified: false,
  min_trust: 0,
  min_integrity: 0,
  routing: 'trust_weighted',
};

/** The distinct requirements of tasks: what an agent must be and do to be given one. */
export interface TaskClass extends Requirements {
  class_id: number;
}

const COLUMNS = `class_id::int, owner, capability, ${Object.keys(UNSAID).join(', ')}`;

/**
 * Finds or makes a class; when two make it at the same moment, both get the one. `hash` stands for all that is asked besides the capability. Undefined where it
 * would be new and its owner has `most` already.
 */
export async function ensureClass(
  sql: Sql,
  it: Requirements,
  hash: string,
  most: number,
): Promise<TaskClass | undefined> {
  const [found] = await sql<TaskClass[]>`
    select ${sql.unsafe(COLUMNS)} from classes where owner = ${it.owner} and capability = ${it.capability} and labels_hash = ${hash}`;
  if (found) return found;
  const [made] = await sql<TaskClass[]>`
    insert into classes (owner, capability, labels_required, labels_preferred, slot_cost, verified, min_trust, min_integrity, routing, labels_hash)
    select ${it.owner}, ${it.capability}, ${sql.json(it.labels_required)}::jsonb, ${sql.json(it.labels_preferred)}::jsonb, ${it.slot_cost}::smallint, ${it.verified}::boolean,
      ${it.min_trust}::float8, ${it.min_integrity}::float8, ${it.routing}, ${hash}
    where (select count(*) from classes where owner = ${it.owner}) < ${most}
    on conflict (owner, capability, labels_hash) do update set capability = excluded.capability
    returning ${sql.unsafe(COLUMNS)}`;
  return made;
}

/** All classes, when there are more than `known`. */
export async function listClasses(sql: Sql, known: number): Promise<TaskClass[]> {
  return sql<TaskClass[]>`
    select ${sql.unsafe(COLUMNS)} from classes where (select count(*) from classes) <> ${known} order by class_id`;
}
