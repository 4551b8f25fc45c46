import { arrayLiteral, type Sql } from '../../platform/database.ts';

/** Uses up proofs' `jti`s, once each in the whole network. Answers, in their order, which had not been used before. */
export async function insertJtis(
  hot: Sql,
  jtis: readonly { jkt: string; jti: string; exp: number }[],
): Promise<boolean[]> {
  const key = ({ jkt, jti }: { jkt: string; jti: string }) => `${jkt} ${jti}`;
  // In one order everywhere: two statements that insert the same ones do not wait for each other in a circle.
  const sorted = [...jtis].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  const rows = await hot.unsafe<{ jkt: string; jti: string }[]>(
    `insert into used_jtis (jkt, jti, expires_at)
    select jkt, jti, to_timestamp(exp) from unnest($1::text::text[], $2::text::text[], $3::text::float8[]) as used (jkt, jti, exp)
    on conflict do nothing returning jkt, jti`,
    [
      arrayLiteral(sorted.map((it) => it.jkt)),
      arrayLiteral(sorted.map((it) => it.jti)),
      arrayLiteral(sorted.map((it) => it.exp)),
    ],
    { prepare: true },
  );
  const fresh = new Set(rows.map(key));
  // Of two that came together with the same one, the first has it.
  return jtis.map((it) => fresh.delete(key(it)));
}

/** Forgets `jti`s whose tokens have expired by themselves, so many at a time. */
export async function forgetJtis(sql: Sql, limit: number): Promise<number> {
  const forgotten = await sql`
    with cutoff as materialized (select muster_now() - interval '2 minutes' as at)
    delete from used_jtis where ctid = any(array(
      select ctid from used_jtis where expires_at < (select at from cutoff) order by expires_at limit ${limit} for update skip locked))`;
  return forgotten.count;
}
