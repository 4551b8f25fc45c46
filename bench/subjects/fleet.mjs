// Agents made in bulk: their rows by SQL, their access tokens signed here with the coordinator's own key. Enrolling them one
// by one is not what is measured.
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { newId } from '@muster/shared/ids';
import { calculateJwkThumbprint } from 'jose';

const TOKEN_SECONDS = 3_600;
const text = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A signing key for a coordinator, as MUSTER_SIGNING_KEY has it. */
export const makeSigningKey = () => generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });

async function tokensWith(jwk) {
  const { d: _, ...publicJwk } = jwk;
  const header = text({ alg: 'EdDSA', typ: 'at+jwt', kid: await calculateJwkThumbprint(publicJwk) });
  const key = createPrivateKey({ key: jwk, format: 'jwk' });
  return (agent_id, boot_id) => {
    const iat = Math.floor(Date.now() / 1_000);
    const times = { iat, exp: iat + TOKEN_SECONDS };
    const claims = { jti: newId('req'), sub: agent_id, boot_id, epoch: 0, iss: 'muster', aud: 'muster', ...times };
    const signed = `${header}.${text(claims)}`;
    return `${signed}.${sign(null, Buffer.from(signed), key).toString('base64url')}`;
  };
}

/** Makes `count` agents that can do one thing. */
export async function makeFleet(sql, signingKey, { count, slots, capability = 'noop' }) {
  const tokenOf = await tokensWith(signingKey);
  const fleet = Array.from({ length: count }, () => {
    const [agent_id, boot_id] = [newId('agent'), newId('boot')];
    return { agent_id, boot_id, slots, token: tokenOf(agent_id, boot_id) };
  });
  const columns = [fleet.map((it) => it.agent_id), fleet.map((it) => it.boot_id)];
  await sql`
    with clock as materialized (select muster_now() as now),
    x as materialized (select * from unnest(${columns[0]}::text[], ${columns[1]}::text[]) as x(agent_id, boot_id)),
    pulse as (
      insert into presence (agent_id, last_seen_at, lease_expires_at) select agent_id, now, now + interval '30 seconds' from x, clock order by 1
    ),
    life as (insert into boots (agent_id, boot_id, started_at) select agent_id, boot_id, now from x, clock order by 1)
    insert into agents (agent_id, display_name, owner, serves, public_jwk, jkt, capabilities, labels, slots, boot_id, enrollment_token_id, created_at, updated_at)
    select agent_id, 'bench', 'admin', 'all', '{}', agent_id, array[${capability}], '{}', ${slots}, boot_id, 'enroll_bench', now, now from x, clock order by 1`;
  return fleet;
}
