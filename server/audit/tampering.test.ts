import { generateKeyPairSync, sign } from 'node:crypto';
import { eventually } from '@muster/testing/eventually';
import { openRows, type Rows } from '@muster/testing/rows';
import { scratchFolder } from '@muster/testing/scratch';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openSigningKeys } from '../access/signing-keys.ts';
import { createClock } from '../platform/clock.ts';
import { parseConfig } from '../platform/config.ts';
import type { Ctx } from '../platform/ctx.ts';
import type { Database, Sql } from '../platform/database.ts';
import { createLog } from '../platform/log.ts';
import { type Heads, openHeads } from './heads.ts';
import { sealLoop } from './loops.ts';
import { verifyAuditLogs } from './read.ts';
import { type Signer, sealRows } from './seal.ts';
import * as store from './store.ts';

const SEED = Number(process.env.MUSTER_TEST_SEED ?? 20_261_120);
const TAMPERINGS = Number(process.env.TAMPERINGS ?? 300);
const ROWS = 120;

const folder = scratchFolder('tampering');
let it: Rows;
/** One connection: whatever is tampered with is rolled back on it. */
let sql: Sql;
let signer: Signer;
let heads: Heads;
/** The chain as it was, to draw from. */
let seals: { seal: string; tx: string; audit_id: string }[];
let rows: { tx: string; audit_id: string }[];

beforeAll(async () => {
  it = await openRows();
  sql = it.openMore({ adminConnections: 1 }).admin;
  const config = parseConfig({ MUSTER_DATA_DIR: folder.path });
  signer = remembering((await openSigningKeys(it.sql, config, createClock(it.sql))).seal);
  await it.sql.unsafe(`
    alter table audit_logs disable trigger all; alter table audit_seals disable trigger all;
    alter table audit_logs alter audit_id drop identity`);
  for (let n = 1; n <= ROWS; n += 1) await insertRow(n);
  const sealable = await eventually(async () => {
    const all = await store.listSealable(it.sql, { tx: 0n, audit_id: 0n }, ROWS);
    return all.length === ROWS && all;
  });
  let last = await store.lastSeal(it.sql);
  for (let from = 0; from < ROWS; from += last!.count) {
    const some = sealable.slice(from, from + 1 + int(6));
    last = await sealRows(last, some, new Date(), signer);
    await store.insertSeal(it.sql, last);
  }
  heads = openHeads(folder.path);
  await seal(it.sql, heads);
  seals = await it.sql`select seal::text, tx::text, audit_id::text from audit_seals order by audit_seals.seal`;
  rows = await it.sql`select tx::text, audit_id::text from audit_logs order by audit_logs.tx, audit_logs.audit_id`;
});
afterAll(async () => {
  await it.close();
  folder.remove();
});

test(`${TAMPERINGS} tamperings are all detected, and nothing else is`, { timeout: 120_000 }, async () => {
  const undetected: string[] = [];
  const done = new Map<string, number>();
  for (let n = 0; n < TAMPERINGS; ) {
    const [name, tamper] = pick(Object.entries(TAMPER));
    await sql`begin`;
    const before = await fingerprint();
    const told = await tamper();
    // Some change nothing, such as a swap of two that are alike.
    if ((await fingerprint()) !== before) {
      n += 1;
      done.set(name, (done.get(name) ?? 0) + 1);
      if ((await verdict()).valid) undetected.push(`${name}: ${told}`);
    }
    await sql`rollback`;
    if (n % 50 === 0) expect(await verdict()).toMatchObject({ valid: true, problems: [], rows: ROWS, unsealed: 0 });
  }
  expect(undetected, `with MUSTER_TEST_SEED=${SEED}`).toEqual([]);
  expect([...done.keys()].sort(), 'every kind had its turn').toEqual(Object.keys(TAMPER).sort());
});

/** What is done to the rows and seals; each says what it did. */
const TAMPER: Record<string, () => Promise<string>> = {
  'a column of a row': async () => {
    const row = pick(rows);
    return edit('audit_logs', pick(Object.keys(ROW_EDITS)), ROW_EDITS, sql`audit_id = ${row.audit_id}`, row.audit_id);
  },
  'a column of a seal': async () => {
    const { seal } = pick(seals);
    return edit('audit_seals', pick(Object.keys(SEAL_EDITS)), SEAL_EDITS, sql`seal = ${seal}`, seal);
  },
  'rows deleted': async () => {
    const gone = some(rows).map((row) => row.audit_id);
    await sql`delete from audit_logs where audit_id = any(${gone}::bigint[])`;
    return gone.join();
  },
  'seals deleted': async () => {
    const gone = some(seals).map((it) => it.seal);
    await sql`delete from audit_seals where seal = any(${gone}::bigint[])`;
    return gone.join();
  },
  'rows and their seals deleted': async () => {
    const gone = some(seals).map((it) => it.seal);
    for (const seal of gone) {
      await sql`delete from audit_logs where ${covered(seal)}`;
    }
    await sql`delete from audit_seals where seal = any(${gone}::bigint[])`;
    return gone.join();
  },
  'the end cut off': async () => `from ${await cutFrom(pick(seals).seal)}`,
  'the end cut off, a bit of it sealed again': async () => {
    const { seal: from } = pick(seals);
    const kept = await sql`select * from audit_logs where ${covered(from)} order by audit_id limit 1`;
    await cutFrom(from);
    await sql`insert into audit_logs ${sql({ ...kept[0], actor: 'key_other' } as never)}`;
    await seal(sql, openHeads(`${folder.path}/none`));
    return from;
  },
  'the seals cut off, the rows sealed again another way': async () => {
    const from = pick(seals).seal;
    await sql`delete from audit_seals where seal >= ${from}`;
    await sql`update audit_logs set action = 'other' where audit_id = ${seals.at(-1)!.audit_id}`;
    await seal(sql, openHeads(`${folder.path}/none`));
    return from;
  },
  'the beginning cut off': async () => {
    const { seal, tx, audit_id } = pick(seals);
    await sql`delete from audit_seals where seal < ${String(Number(seal) + int(2))}`;
    await sql`delete from audit_logs where (tx, audit_id) <= (${tx}::xid8, ${audit_id}::bigint)`;
    return `to ${seal}`;
  },
  'the beginning cut off, and the first seal that is left made old by the right key': async () => {
    const { seal, tx, audit_id } = pick(seals);
    const [row] = await store.listSeals(sql, BigInt(seal) - 1n, 1);
    const [rowOfIt] = await store.listRows(sql, { after: undefined }, 1);
    const old = await sealRows(undefined, [rowOfIt!], new Date(Date.now() - 2 * 365 * 86_400_000), {
      ...signer,
      // Signs what is claimed of that seal, with another time.
      sign: (text) =>
        signer.sign(
          text.replace(
            /\n.*/,
            `\n${JSON.stringify([seal, tx, audit_id, row!.count, row!.previous_hash, row!.hash, row!.kid, JSON.parse(text.split('\n')[1]!)[7]])}`,
          ),
        ),
    });
    await sql`delete from audit_logs where (tx, audit_id) <= (${tx}::xid8, ${audit_id}::bigint)`;
    await sql`delete from audit_seals where seal < ${seal}`;
    await sql`update audit_seals set sealed_at = ${old.sealed_at}, signature = ${old.signature} where seal = ${seal}`;
    return `to ${seal}`;
  },
  'two rows swapped': async () => {
    const [a, b] = two(rows);
    const what = pick([
      ['before', 'after'],
      ['actor'],
      ['at', 'action', 'actor', 'address', 'request_id', 'owner', 'subject_id', 'before', 'after'],
    ]);
    const columns = what.map((name) => `"${name}" = other."${name}"`).join();
    await sql.unsafe(`
      update audit_logs l set ${columns} from audit_logs other
      where l.audit_id in (${a.audit_id}, ${b.audit_id}) and other.audit_id in (${a.audit_id}, ${b.audit_id}) and other.audit_id <> l.audit_id`);
    return `${what} of ${a.audit_id} and ${b.audit_id}`;
  },
  'rows in another order': async () => {
    const [a, b] = two(rows);
    await sql`delete from audit_logs where audit_id = -1`;
    await sql`update audit_logs set audit_id = -1 where audit_id = ${a.audit_id}`;
    await sql`update audit_logs set audit_id = ${a.audit_id}, tx = ${a.tx} where audit_id = ${b.audit_id}`;
    await sql`update audit_logs set audit_id = ${b.audit_id}, tx = ${b.tx} where audit_id = -1`;
    return `${a.audit_id} and ${b.audit_id}`;
  },
  'seals in another order': async () => {
    const [a, b] = two(seals);
    await sql`update audit_seals set seal = -1 where seal = ${a.seal}`;
    await sql`update audit_seals set seal = ${a.seal} where seal = ${b.seal}`;
    await sql`update audit_seals set seal = ${b.seal} where seal = -1`;
    return `${a.seal} and ${b.seal}`;
  },
  'a row put among the others': async () => {
    const { tx } = pick(rows);
    await sql`
      insert into audit_logs select ${pick(['-5', '1000000', '-9223372036854775808'])}, ${pick([tx, '0', '1'])}, at, action, actor, address, request_id, owner, subject_id, before, after
      from audit_logs where audit_id = ${pick(rows).audit_id}`;
    return `in transaction ${tx}`;
  },
  'an old row put at the end': async () => {
    await sql`
      insert into audit_logs select 1000000 + ${int(9)}, ${pick(['9000000000000000000', '4000000000'])}, at - interval '2 minutes', action, actor, address, request_id, owner, subject_id, before, after
      from audit_logs where audit_id = ${pick(rows).audit_id}`;
    return '';
  },
  'a seal copied': async () => {
    const from = pick(seals).seal;
    const to = pick(['0', '-7', '-9223372036854775808', String(seals.length + 1), '9223372036854775807']);
    await sql`
      insert into audit_seals select ${to}, tx, audit_id, count, previous_hash, hash, kid, signature, sealed_at from audit_seals where seal = ${from}`;
    return `${from} as ${to}`;
  },
  'a row forged with its seal, by a key of nobody': async () => {
    const { audit_id } = pick(rows);
    await sql`
      insert into audit_logs select 1000000, '4000000000', at, action, 'key_forged', address, request_id, owner, subject_id, before, after
      from audit_logs where audit_id = ${audit_id}`;
    const last = await store.lastSeal(sql);
    const [row] = await store.listRows(sql, { after: last! }, 1);
    const { privateKey } = generateKeyPairSync('ed25519');
    const forger = {
      ...signer,
      kid: pick([signer.kid, 'another']),
      sign: (text: string) => sign(null, Buffer.from(text), privateKey).toString('base64url'),
    };
    await store.insertSeal(sql, await sealRows(last, [row!], new Date(), forger));
    return audit_id;
  },
  'the whole chain made anew, by the right key': async () => {
    const audit_id = pick(rows).audit_id;
    await sql`update audit_logs set actor = 'key_other' where audit_id = ${audit_id}`;
    await sql`delete from audit_seals`;
    await seal(sql, openHeads(`${folder.path}/none`));
    return audit_id;
  },
  everything: async () => {
    if (int(2)) await sql`delete from audit_logs`;
    await sql`delete from audit_seals`;
    return '';
  },
};

const anyText = (column: string) =>
  pick([`${column} || 'x'`, `''`, `overlay(${column} placing '_' from ${1 + int(5)})`, `upper(${column})`]);
const nullable = (column: string) => pick([anyText(`coalesce(${column}, '')`), 'null']);
const anyTime = (column: string) =>
  pick([
    `${column} + interval '1 ms'`,
    `${column} - interval '3 years'`,
    `${column} + interval '2000 years'`,
    `'infinity'`,
    `(${column}::text || ' BC')::timestamptz`,
  ]);
const anyJson = (column: string) =>
  pick([`'null'::jsonb`, 'null', `'{}'::jsonb`, `jsonb_set(coalesce(${column}, '{}'), '{status}', '"X"', true)`]);
const anyNumber = (column: string) => pick([`${column} + 1`, `${column} - 1`, `-${column}`, `${column} + 1000000`]);
const anyTx = (column: string) =>
  pick(['1', '-1', '2', '100000']).replace(/.+/, (by) => `(${column}::text::bigint + ${by})::text::xid8`);

const ROW_EDITS: Record<string, (column: string) => string> = {
  audit_id: (column) => pick([`-${column}`, `${column} + 1000000`]),
  tx: anyTx,
  at: anyTime,
  action: anyText,
  actor: anyText,
  address: nullable,
  request_id: anyText,
  owner: anyText,
  subject_id: anyText,
  before: anyJson,
  after: anyJson,
};
const SEAL_EDITS: Record<string, (column: string) => string> = {
  seal: (column) => pick([`-${column}`, `${column} + 1000000`]),
  tx: anyTx,
  audit_id: anyNumber,
  count: anyNumber,
  previous_hash: anyText,
  hash: anyText,
  kid: anyText,
  signature: (column) =>
    pick([
      anyText(column),
      `${column} || '=='`,
      `${column} || ' '`,
      `left(${column}, -1) || chr(ascii(right(${column}, 1)) + 1)`,
    ]),
  sealed_at: anyTime,
};

test('there is an edit for every column', async () => {
  const columns = async (table: string) =>
    (await it.sql`select column_name as name from information_schema.columns where table_name = ${table}`)
      .map((row) => row.name)
      .sort();
  expect(Object.keys(ROW_EDITS).sort()).toEqual(await columns('audit_logs'));
  expect(Object.keys(SEAL_EDITS).sort()).toEqual(await columns('audit_seals'));
});

async function edit(
  table: string,
  column: string,
  edits: typeof ROW_EDITS,
  where: ReturnType<Sql>,
  id: string,
): Promise<string> {
  const value = edits[column]!(`"${column}"`);
  await sql`update ${sql(table)} set ${sql(column)} = ${sql.unsafe(value)} where ${where}`;
  return `${column} of ${id} = ${value}`;
}

const insertRow = (n: number) => it.sql`
  insert into audit_logs (audit_id, tx, at, action, actor, address, request_id, owner, subject_id, before, after)
  values (${n}, pg_current_xact_id(), (select muster_now()), ${pick(['task.cancel', 'agent.revoke'])}, ${pick(['admin', 'key_1', 'key_2'])}, ${pick([null, '::1', '192.0.2.1'])},
    ${`req_${n}`}, ${pick(['admin', 'acme'])}, ${`task_${int(9)}`}, ${pick([null, '{"status":"PENDING","n":1.50}'])}::text::jsonb, ${pick([null, '{"status":"CANCELLED"}'])}::text::jsonb)`;

const covered = (seal: string) => sql`
  (tx, audit_id) <= (select tx, audit_id from audit_seals where seal = ${seal})
  and (tx, audit_id) > (select coalesce(max(tx::text::bigint), 0)::text::xid8, coalesce(max(audit_id), 0) from audit_seals where seal = ${String(Number(seal) - 1)})`;

async function cutFrom(seal: string): Promise<string> {
  const last = seals[Number(seal) - 2] ?? { tx: '0', audit_id: '0' };
  await sql`delete from audit_seals where seal >= ${seal}`;
  await sql`delete from audit_logs where (tx, audit_id) > (${last.tx}::xid8, ${last.audit_id}::bigint)`;
  return seal;
}

const seal = (on: Sql, to: Heads) =>
  sealLoop({ db: { loops: on } as Database, log: createLog('silent') }, signer, to).tick();
const verdict = () =>
  verifyAuditLogs({ db: { admin: sql } } as unknown as Ctx, signer, heads, { params: {}, query: {}, body: {} });

async function fingerprint(): Promise<string> {
  const [row] = await sql`
    select (select md5(coalesce(string_agg(l::text, ';' order by audit_id), '')) from audit_logs l)
      || (select md5(coalesce(string_agg(s::text, ';' order by seal), '')) from audit_seals s) as print`;
  return row!.print;
}

/** Verifying a signature once is enough for the same text. */
function remembering(real: Signer): Signer {
  const known = new Map<string, Promise<boolean>>();
  return {
    ...real,
    verify(kid, text, signature) {
      const key = `${kid}\n${signature}\n${text}`;
      const answer = known.get(key) ?? real.verify(kid, text, signature);
      known.set(key, answer);
      return answer;
    },
  };
}

/** Mulberry32: the same seed, the same tamperings. */
let state = SEED;
function int(below: number): number {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
}
function pick<T>(of: readonly T[]): T {
  return of[int(of.length)]!;
}
/** Of one to five of them, side by side or not. */
function some<T>(of: readonly T[]): T[] {
  const count = 1 + int(5);
  if (int(2)) return Array.from({ length: count }, () => pick(of));
  const from = int(of.length);
  return of.slice(from, from + count);
}
function two<T>(of: readonly T[]): [T, T] {
  const n = int(of.length);
  return [of[n]!, of[(n + 1 + int(of.length - 1)) % of.length]!];
}
