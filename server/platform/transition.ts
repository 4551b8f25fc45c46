import type { Fragment, Sql } from './database.ts';
import { retried } from './retried.ts';

/** The parts of one transition. Every part may read `clock.now` and the rows of `changed`. */
export interface Transition {
  /** What has to be known or moved first, by name; `change` reads their RETURNING. */
  before?: Record<string, Fragment>;
  /** The guarded change: `update … where <allowed from> returning subject_id, …`. */
  change: Fragment;
  /** The outbox row, from `events/record.ts`. */
  event: Fragment;
  /** The audit row, from `audit/record.ts`, where somebody is to be named. */
  audit?: Fragment | undefined;
  /** What else moves in the same instant, by name. */
  also?: Record<string, Fragment>;
  /** What the caller gets; the changed rows unless said. */
  answer?: Fragment;
}

/**
 * Composes a transition into one statement, and so one transaction: the change, its event and whatever moves with it happen
 * together or not at all. Siblings share one snapshot: a part that must see another's rows reads them from its RETURNING.
 */
export function transition<R extends object>(
  sql: Sql,
  { before = {}, change, event, audit, also = {}, answer }: Transition,
): Promise<R[]> {
  const named = (parts: Record<string, Fragment>) => {
    const all = Object.entries(parts).map(([name, part]) => sql`${sql(name)} as (${part}),`);
    // An empty list would be taken for a parameter.
    return all.length ? all : sql``;
  };
  return retried(
    () =>
      sql<R[]>`
    with clock as materialized (select muster_now() as now),
    ${named(before)} changed as (${change}),
    ${named(also)} ${named(audit ? { audit } : {})} event as (${event})
    ${answer ?? sql`select * from changed`}` as unknown as PromiseLike<R[]>,
  );
}
