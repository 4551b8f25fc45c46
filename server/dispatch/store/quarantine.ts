import type { Sql } from '../../platform/database.ts';
import { type Reaped, reap, reaping } from './reap.ts';

const IS_OUT = `i.standing in ('QUARANTINED', 'BANNED')`;

/** Whether somebody who is out holds anything, be it of what it may still do. */
export const TO_TAKE_BACK = `exists (
  select from integrity i where ${IS_OUT} and (select slots_used from agents a where a.agent_id = i.agent_id) > 0)`;

const HELD = (lease: string) =>
  `i.agent_id = ${lease}.agent_id and i.capability in (${lease}.capability, '*') and ${IS_OUT}`;

const TAKE_BACK = reaping(
  `locked as materialized (
    select agent_id from agents where agent_id in (
      select agent_id from leases l where exists (select from integrity i where ${HELD('l')}) order by 1 limit $1)
    order by agent_id for no key update skip locked
  ),
  gone as (
    delete from leases l where agent_id in (select agent_id from locked) and exists (select from integrity i where ${HELD('l')}) returning *
  )`,
  {
    status: 'RETURNED',
    fault: `'system'`,
    error: `jsonb_build_object('code', 'quarantined', 'message', 'its agent is given no such work any more')`,
  },
);

/**
 * Takes back what agents hold of work they are not given any more: nobody is blamed, and what they say of it later is stale. What a claim has
 * in hand meanwhile is left to the next time.
 */
export const takeBackQuarantined = (sql: Sql, limit: number): Promise<Reaped> => reap(sql, TAKE_BACK, limit);
