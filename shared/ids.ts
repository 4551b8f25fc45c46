import { uuidv7obj } from 'uuidv7';

/** What an id may name; the prefix of its TypeID. */
export type IdPrefix = 'agent' | 'boot' | 'coord' | 'enroll' | 'exec' | 'req' | 'run' | 'sched' | 'task';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** Crockford base32 of 128 bits in 26 characters, as the TypeID specification (v0.3) writes them. */
function base32(bytes: Uint8Array): string {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return base32OfInteger(value, 26);
}

function base32OfInteger(value: bigint, length: number): string {
  let text = '';
  for (let rest = value, n = 0; n < length; n += 1, rest >>= 5n) text = ALPHABET[Number(rest & 31n)] + text;
  return text;
}

/** A new TypeID: `<prefix>_` and a UUIDv7 in base32, so ids sort by the time they were made. */
export const newId = (prefix: IdPrefix): string => `${prefix}_${base32(uuidv7obj().bytes)}`;

/** The id of a run: its fence in thirteen base32 digits. The fence is the key, this is how it is written. */
export const runIdOf = (fence: number | bigint | string): string => `run_${base32OfInteger(BigInt(fence), 13)}`;

/** The fence a run id stands for. Expects an id that passed the contract's pattern. */
export function fenceOf(runId: string): number {
  let value = 0;
  for (const digit of runId.slice('run_'.length)) value = value * 32 + ALPHABET.indexOf(digit);
  return value;
}

/** What an id with this prefix looks like. */
export const idPattern = (prefix: IdPrefix): RegExp =>
  prefix === 'run' ? /^run_[0-9a-hjkmnp-tv-z]{13}$/ : new RegExp(`^${prefix}_[0-7][0-9a-hjkmnp-tv-z]{25}$`);
