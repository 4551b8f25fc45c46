import { createHash } from 'node:crypto';

/** Signs seals with this coordinator's key, and knows the keys of all. A signature is base64url. */
export interface Signer {
  kid: string;
  sign(text: string): string | Promise<string>;
  verify(kid: string, text: string, signature: string): Promise<boolean>;
}

/** The order of the chain: by transaction, because ids are drawn before the commit and so appear out of order. */
export interface Position {
  tx: bigint;
  audit_id: bigint;
}

/** An audit row, every column of it as text. */
export interface AuditRow extends Position {
  at: string;
  action: string;
  actor: string;
  address: string | null;
  request_id: string;
  owner: string;
  subject_id: string;
  before: string | null;
  after: string | null;
}

/** A link of the chain, at the position of the last row it covers. */
export interface Seal extends Position {
  seal: bigint;
  count: number;
  previous_hash: string;
  hash: string;
  kid: string;
  signature: string;
  sealed_at: string;
}

/** What the first seal says of the one before it. */
export const NO_HASH = '0'.repeat(64);

/** Whether a position is at or before another. */
export const upTo = (a: Position, b: Position): boolean => a.tx < b.tx || (a.tx === b.tx && a.audit_id <= b.audit_id);

/**
 * The hash of a seal over its rows, which are added one by one in their order. The signature of the seal before is in it too: who
 * knows the end of a chain then knows the time of each seal in it, whatever keys are known by now.
 */
export function sealHash(
  previous: Pick<Seal, 'hash' | 'signature'> | undefined,
  seal: bigint,
): { add(row: AuditRow): void; hex(): string } {
  const { hash: previousHash, signature } = previous ?? { hash: NO_HASH, signature: '' };
  const hash = createHash('sha256').update(`muster-audit-v1\n${previousHash}\n${seal}\n${signature}\n`);
  return {
    add: (row) => void hash.update(`${lineOf(row)}\n`),
    hex: () => hash.digest('hex'),
  };
}

const lineOf = (row: AuditRow): string =>
  JSON.stringify([
    String(row.audit_id),
    String(row.tx),
    row.at,
    row.action,
    row.actor,
    row.address,
    row.request_id,
    row.owner,
    row.subject_id,
    row.before,
    row.after,
  ]);

/** What the signature of a seal is over: all it claims. */
const claimOf = (it: Omit<Seal, 'signature'>): string =>
  `muster-audit-seal-v1\n${JSON.stringify([String(it.seal), String(it.tx), String(it.audit_id), it.count, it.previous_hash, it.hash, it.kid, it.sealed_at])}`;

/** The next seal of the chain, over rows there are some of. */
export async function sealRows(
  previous: Seal | undefined,
  rows: readonly AuditRow[],
  sealedAt: Date,
  signer: Signer,
): Promise<Seal> {
  const { tx, audit_id } = rows.at(-1)!;
  const seal = (previous?.seal ?? 0n) + 1n;
  const previous_hash = previous?.hash ?? NO_HASH;
  const hash = sealHash(previous, seal);
  for (const row of rows) hash.add(row);
  const claims = {
    seal,
    tx,
    audit_id,
    count: rows.length,
    previous_hash,
    hash: hash.hex(),
    kid: signer.kid,
    sealed_at: sealedAt.toISOString(),
  };
  return { ...claims, signature: await signer.sign(claimOf(claims)) };
}

/** Whether a seal is as it was signed. Of the ways to write a signature only the one it was written in will do. */
export const isSigned = async (seal: Seal, signer: Signer): Promise<boolean> =>
  Buffer.from(seal.signature, 'base64url').toString('base64url') === seal.signature &&
  (await signer.verify(seal.kid, claimOf(seal), seal.signature));
