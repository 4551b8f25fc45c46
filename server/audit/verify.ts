import { type AuditRow, isSigned, NO_HASH, type Position, type Seal, type Signer, sealHash, upTo } from './seal.ts';

/** A seal somebody saw, and so must be there still. */
export interface SeenSeal {
  seal: bigint;
  hash: string;
  /** Where that is known too. */
  signature?: string;
  /** Said after its number, in a problem. */
  seenBy: string;
  /** Not missed once its time to be kept is over. */
  mayBeForgotten: boolean;
}

export interface Chain {
  /** Page by page, in the order of their numbers. */
  seals: AsyncIterable<Seal[]>;
  /** Those after a position, up to another or to the end. Read after the seals that cover them, so none is still to come. */
  rows(after: Position | undefined, upTo?: Position): AsyncIterable<AuditRow>;
  now(): Promise<Date>;
  keptMs: number;
  seen: readonly SeenSeal[];
}

export interface Verdict {
  seals: number;
  rows: number;
  /** Rows that are too new to be sealed. */
  unsealed: number;
  last: Seal | undefined;
  problems: { seal: number; detail: string }[];
}

const MAX_PROBLEMS = 100;
/** A row is sealed within a second; one that is not after so many milliseconds is a problem. */
const UNSEALED_MS = 60_000;

/**
 * Checks the chain against its rows, both read once from begin to end: every number there, every signature good, every hash
 * right over exactly the rows up to the seal's position. The beginning may be missing where it was old enough to be
 * forgotten: then the first seal, whose signed time says so, is the anchor and may have no rows. Answers what is wrong, up
 * to a hundred findings.
 */
export async function verifyChain(chain: Chain, signer: Signer): Promise<Verdict> {
  const verdict: Verdict = { seals: 0, rows: 0, unsealed: 0, last: undefined, problems: [] };
  const say = (seal: bigint, detail: string) => {
    if (verdict.problems.length < MAX_PROBLEMS) verdict.problems.push({ seal: numberOf(seal), detail });
  };
  const began = await chain.now();
  const isOld = (seal: Seal) => began.getTime() - Date.parse(seal.sealed_at) > chain.keptMs;
  let first: Seal | undefined;
  let position: Position | undefined;

  for await (const page of chain.seals) {
    const reader = chain.rows(position, furthest(page))[Symbol.asyncIterator]();
    let row = await reader.next();
    for (const seal of page) {
      const hash = sealHash(verdict.last, seal.seal);
      let count = 0;
      for (; !row.done && upTo(row.value, seal); row = await reader.next(), count += 1) {
        hash.add(row.value);
        position = row.value;
      }
      verdict.seals += 1;
      verdict.rows += count;
      for (const problem of joint(verdict.last, seal, isOld)) say(seal.seal, problem);
      // The rows of the first may be forgotten, all of them.
      if (verdict.last || count > 0 || !isOld(seal)) {
        if (count !== seal.count) say(seal.seal, `there are ${count} rows, sealed were ${seal.count}`);
        else if (hash.hex() !== seal.hash)
          say(seal.seal, 'the rows, or the seal before, are not those that were sealed');
      }
      if (!(await isSigned(seal, signer)))
        say(seal.seal, `it is not as key ${seal.kid} signed it, or that is no key of the network`);
      for (const it of chain.seen)
        if (it.seal === seal.seal && (it.hash !== seal.hash || (it.signature ?? seal.signature) !== seal.signature))
          say(seal.seal, `it is not that ${it.seenBy}, with the hash ${it.hash}`);
      first ??= seal;
      verdict.last = seal;
    }
  }
  for (const it of chain.seen) {
    const problem = missing(it, first, verdict.last, isOld);
    if (problem) say(it.seal, problem);
  }
  const ended = await chain.now();
  for await (const { at, audit_id } of chain.rows(position)) {
    verdict.rows += 1;
    verdict.unsealed += 1;
    if (!(Math.abs(ended.getTime() - Date.parse(at)) <= UNSEALED_MS))
      say(
        (verdict.last?.seal ?? 0n) + 1n,
        `row ${audit_id} of ${at} is not sealed: it was put in, nobody seals, or a transaction in this cluster has been open since`,
      );
  }
  return verdict;
}

const furthest = (seals: readonly Seal[]): Position => seals.reduce((a, b) => (upTo(a, b) ? b : a));

/** What is wrong between a seal and the one before it. */
function joint(last: Seal | undefined, seal: Seal, isOld: (seal: Seal) => boolean): string[] {
  if (last && seal.seal !== last.seal + 1n) return [`the seals from ${last.seal + 1n} on are missing before it`];
  if (last) return seal.previous_hash === last.hash ? [] : ['it does not follow the seal before it'];
  if (seal.seal === 1n) return seal.previous_hash === NO_HASH ? [] : ['it is not the beginning of a chain'];
  return isOld(seal) ? [] : ['the chain begins with it, and what was before was to be kept'];
}

function missing(
  it: SeenSeal,
  first: Seal | undefined,
  last: Seal | undefined,
  isOld: (seal: Seal) => boolean,
): string | undefined {
  if (!first || !last) return `it was seen (${it.seenBy}), and there is no chain`;
  if (it.seal > last.seal) return `it was seen (${it.seenBy}), and the chain ends at seal ${last.seal}`;
  if (it.seal >= first.seal || (it.mayBeForgotten && isOld(first))) return undefined;
  return `it was seen (${it.seenBy}), and the chain begins at seal ${first.seal}`;
}

/** For the answer; a number no sealer gives is merely large there. */
const numberOf = (seal: bigint): number => Number(BigInt.asIntN(53, seal) === seal ? seal : Number.MAX_SAFE_INTEGER);
