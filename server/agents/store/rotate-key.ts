import { recordEvent } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import type { PublicKey } from '../public-key.ts';

/** A change of an agent's key, with the `jti`s of the two proofs of it. */
export interface NewKey {
  agent_id: string;
  boot_id: string;
  from: { jkt: string; jti: string; exp: number };
  to: PublicKey & { jti: string; exp: number };
}

/** Changes an agent's key and ends what the old one bought; both proofs are used up. Undefined where the agent is revoked, has another key by now, or that life is over. */
export async function rotateKey(
  sql: Sql,
  { agent_id, boot_id, from, to }: NewKey,
): Promise<{ token_epoch: number } | undefined> {
  const [row] = await transition<{ token_epoch: number }>(sql, {
    change: sql`
      update agents set public_jwk = ${sql.json(to.jwk)}, jkt = ${to.jkt}, token_epoch = token_epoch + 1,
        token_epoch_at = (select now from clock), updated_at = (select now from clock)
      where agent_id = ${agent_id} and jkt = ${from.jkt} and boot_id = ${boot_id} and left_at is null and mode <> 'REVOKED'
      returning token_epoch, agent_id as subject_id, jsonb_build_object('from', ${from.jkt}::text, 'to', jkt) as detail`,
    also: {
      used: sql`
        insert into used_jtis (jkt, jti, expires_at)
        select jkt, jti, to_timestamp(exp) from (values (${from.jkt}, ${from.jti}, ${from.exp}::float8), (${to.jkt}, ${to.jti}, ${to.exp}::float8))
          as proof (jkt, jti, exp), changed`,
    },
    event: recordEvent(sql, 'agent.key_rotated'),
    answer: sql`select token_epoch from changed`,
  });
  return row;
}
