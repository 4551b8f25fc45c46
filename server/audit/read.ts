import type * as contract from '@muster/shared/contract/audit';
import type { InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import type { Sql } from '../platform/database.ts';
import { decodeCursor, notOurCursor, pageOf } from '../platform/page.ts';
import { type Heads, headOf } from './heads.ts';
import type { AuditRow, Position, Seal, Signer } from './seal.ts';
import * as store from './store.ts';
import { type Chain, type SeenSeal, type Verdict, verifyChain } from './verify.ts';

const showLog = (row: store.LoggedRow) => ({
  ...row,
  audit_id: Number(row.audit_id),
  at: row.at.toISOString(),
  seal: row.seal === null ? null : Number(row.seal),
});

export async function listAuditLogs(
  ctx: Ctx,
  { query: { cursor, limit, ...filter } }: InputOf<typeof contract.listAuditLogs>,
) {
  const before = decodeCursor(cursor, 1)?.[0];
  if (before !== undefined && !/^\d{1,18}$/.test(before)) throw notOurCursor();
  const rows = await store.listLogs(ctx.db.admin, filter, { shownOwner: shownOwner(ctx), before, limit: limit + 1 });
  return pageOf(rows, limit, showLog, (row) => [row.audit_id]);
}

/** How often a chain is read again whose beginning was forgotten while it was read. */
const TRIES = 3;

/** Checks the chain from begin to end, and that what this coordinator and the caller remember is in it. */
export async function verifyAuditLogs(
  { db }: Pick<Ctx, 'db'>,
  signer: Signer,
  heads: Heads,
  { query }: InputOf<typeof contract.verifyAuditLogs>,
): Promise<ResponseOf<typeof contract.verifyAuditLogs>> {
  const sql = db.admin;
  const { database } = await store.readPlace(sql);
  const seen = seenSeals(heads, database, query);
  const problems = heads.others(database).map(([other, { seal, hash }]) => ({
    seal,
    detail: `it was the last, with the hash ${hash}, of another database (${other}, this is ${database}): if the change was meant, remove audit-head.json and start again`,
  }));
  let verdict: Verdict;
  for (let tries = 1, first = await store.firstSealNumber(sql); ; tries += 1) {
    verdict = await verifyChain(chainIn(sql, seen), signer);
    const firstNow = await store.firstSealNumber(sql);
    if (verdict.problems.length === 0 || firstNow === first || tries === TRIES) break;
    first = firstNow;
  }
  problems.push(...verdict.problems);
  return {
    valid: problems.length === 0,
    seals: verdict.seals,
    rows: verdict.rows,
    unsealed: verdict.unsealed,
    head: verdict.last ? headOf(verdict.last) : null,
    problems: problems.slice(0, 100),
  };
}

function seenSeals(
  heads: Heads,
  database: string,
  { seal, hash }: InputOf<typeof contract.verifyAuditLogs>['query'],
): SeenSeal[] {
  const known = heads.of(database);
  const seen: SeenSeal[] = [];
  if (known)
    seen.push({ ...known, seal: BigInt(known.seal), seenBy: 'this coordinator remembers', mayBeForgotten: true });
  if (seal !== undefined && hash !== undefined)
    seen.push({ seal: BigInt(seal), hash, seenBy: 'the caller remembers', mayBeForgotten: false });
  return seen;
}

/** Few seals at a time: checking a signature takes the process a while, and agents beat meanwhile. */
const SEALS = 100;
const ROWS = 2_000;

const chainIn = (sql: Sql, seen: readonly SeenSeal[]): Chain => ({
  seals: seals(sql),
  rows: (after, upTo) => rows(sql, after, upTo),
  now: async () => (await store.readPlace(sql)).now,
  keptMs: store.KEPT_MS,
  seen,
});

async function* seals(sql: Sql) {
  for (let after: bigint | undefined, full = true; full; ) {
    const page: Seal[] = await store.listSeals(sql, after, SEALS);
    if (page.length > 0) yield page;
    after = page.at(-1)?.seal;
    full = page.length === SEALS;
  }
}

async function* rows(sql: Sql, from: Position | undefined, upTo: Position | undefined) {
  for (let after = from, full = true; full; ) {
    const page: AuditRow[] = await store.listRows(sql, { after, upTo }, ROWS);
    yield* page;
    after = page.at(-1);
    full = page.length === ROWS;
  }
}
