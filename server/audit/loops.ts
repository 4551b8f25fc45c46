import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import type { Heads } from './heads.ts';
import { isSigned, type Seal, type Signer, sealRows } from './seal.ts';
import * as store from './store.ts';

/** Rows under one seal at most. */
const ROWS = 1_000;
/** Seals that are forgotten in one statement. */
const SEALS = 20;

/** Every coordinator seals: whoever adds the next link first has added it, the others look again. */
export const sealLoop = ({ db, log }: Pick<Deps, 'db' | 'log'>, signer: Signer, heads: Heads): LoopSpec => {
  let warned = false;
  return {
    name: 'audit.seal',
    intervalMs: 250,
    due: store.TO_SEAL,
    async tick() {
      const sql = db.loops;
      const { now, database } = await store.readPlace(sql);
      let last = await store.lastSeal(sql);
      let sealed = 0;
      for (let full = true; full; ) {
        const rows = await store.listSealable(sql, last ?? { tx: 0n, audit_id: 0n }, ROWS);
        if (rows.length === 0) break;
        const seal = await sealRows(last, rows, now, signer);
        const mine = await store.insertSeal(sql, seal);
        sealed += mine ? rows.length : 0;
        last = mine ? seal : await store.lastSeal(sql);
        full = !mine || rows.length === ROWS;
      }
      const holds = await remember(database, last, now);
      if (!holds && !warned)
        log.error(
          { remembered: heads.of(database) },
          'the audit log is not the one this coordinator remembers: GET /ains/audit-logs/verify tells',
        );
      warned = !holds;
      await heads.save();
      return sealed;
    },
  };

  /** The head moves on only while the one seen before is in the chain: a chain that grew again after it was cut is not the one that was seen. */
  async function remember(database: string, last: Seal | undefined, now: Date): Promise<boolean> {
    const known = heads.of(database);
    if (!last) return !known;
    if (known && last.seal <= known.seal) return last.hash === known.hash;
    if (!(await isSigned(last, signer))) return false;
    if (known) {
      const hash = await store.hashOfSeal(db.loops, BigInt(known.seal));
      const forgotten = hash === undefined && now.getTime() - Date.parse(known.sealed_at) > store.KEPT_MS;
      if (hash !== known.hash && !forgotten) return false;
    }
    heads.remember(database, last);
    return true;
  }
};

/** Audit rows are forgotten when their time is over. */
export const pruneAuditLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'audit.prune',
  intervalMs: 60_000,
  async tick() {
    let gone = 0;
    for (let last = 1; last > 0; gone += last) last = await store.pruneAudit(db.loops, SEALS);
    return gone;
  },
});
