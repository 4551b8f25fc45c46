import { V7Generator } from 'uuidv7';

/** What an id may name; the prefix of its TypeID. */
export type IdPrefix =
  | 'agent'
  | 'batch'
  | 'boot'
  | 'coord'
  | 'enroll'
  | 'exec'
  | 'key'
  | 'req'
  | 'run'
  | 'sched'
  | 'task';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** Every pair of digits, so that ids are written by ten bits at a time: each request has one. */
const PAIRS = Array.from({ length: 1_024 }, (_, n) => ALPHABET[n >> 5]! + ALPHABET[n & 31]!);

/** Crockford base32 of 128 bits in 26 characters, as the TypeID specification (v0.3) writes them. */
function base32(bytes: Uint8Array): string {
  let text = '';
  // 26 digits hold 130 bits: two zeros come first.
  let held = 0;
  let bits = 2;
  for (let n = 0; n < bytes.length; n += 1) {
    held = (held << 8) | bytes[n]!;
    bits += 8;
    if (bits < 10) continue;
    bits -= 10;
    text += PAIRS[held >> bits];
    held &= (1 << bits) - 1;
  }
  return text;
}

const pool = new Uint32Array(1_024);
let used = pool.length;

/** Random numbers, drawn many at a time: a call for a few takes longer than all the rest of an id. */
function nextUint32(): number {
  if (used === pool.length) {
    crypto.getRandomValues(pool);
    used = 0;
  }
  used += 1;
  return pool[used - 1]!;
}

const generator = new V7Generator({ nextUint32 });

/** A new TypeID: `<prefix>_` and a UUIDv7 in base32, so ids sort by the time they were made. */
export const newId = (prefix: IdPrefix): string => `${prefix}_${base32(generator.generate().bytes)}`;

/** The id of a run: its fence in thirteen base32 digits. The fence is the key, this is how it is written. */
export function runIdOf(fence: number | bigint | string): string {
  let text = '';
  let rest = Number(fence);
  for (let n = 0; n < 6; n += 1) {
    text = PAIRS[rest % 1_024] + text;
    rest = Math.floor(rest / 1_024);
  }
  return `run_${ALPHABET[rest]}${text}`;
}

/** The fence a run id stands for. Expects an id that passed the contract's pattern. */
export function fenceOf(runId: string): number {
  let value = 0;
  for (const digit of runId.slice('run_'.length)) value = value * 32 + ALPHABET.indexOf(digit);
  return value;
}

/** What an id with this prefix looks like. */
export const idPattern = (prefix: IdPrefix): RegExp =>
  prefix === 'run' ? /^run_[0-9a-hjkmnp-tv-z]{13}$/ : new RegExp(`^${prefix}_[0-7][0-9a-hjkmnp-tv-z]{25}$`);
