import type { JWK } from 'jose';
import type { Sql } from '../../platform/database.ts';

/** Makes a coordinator's public key known; it stays known after the coordinator is gone, its tokens may live on. */
export async function insertSigningKey(sql: Sql, kid: string, jwk: JWK): Promise<void> {
  await sql`
    insert into signing_keys (kid, public_jwk, created_at) values (${kid}, ${sql.json(jwk as never)}, (select muster_now()))
    on conflict (kid) do nothing`;
}

export async function listSigningKeys(sql: Sql): Promise<Record<string, string>[]> {
  const rows = await sql<
    { public_jwk: Record<string, string> }[]
  >`select public_jwk from signing_keys order by created_at desc, kid`;
  return rows.map((row) => row.public_jwk);
}
