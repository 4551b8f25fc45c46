/** What a stream may say in a result, in bytes. */
export const STREAM_LIMIT_BYTES = 1024 * 1024;

/** Keeps the beginning of a stream, up to a limit. */
export class Output {
  readonly #limit: number;
  readonly #chunks: Buffer[] = [];
  #size = 0;
  truncated = false;

  constructor(limit = STREAM_LIMIT_BYTES) {
    this.#limit = limit;
  }

  write(chunk: Buffer): void {
    const room = this.#limit - this.#size;
    if (chunk.length > room) this.truncated = true;
    if (room <= 0) return;
    this.#chunks.push(chunk.subarray(0, room));
    this.#size += Math.min(chunk.length, room);
  }

  get text(): string {
    return printable(Buffer.concat(this.#chunks).toString('utf8'));
  }
}

/** Text that Postgres takes as JSON: no NUL. */
export const printable = (text: string): string => text.replaceAll('\u0000', '\ufffd');

/** The quotes of both texts, and a little for rounding. */
const QUOTES = 8;

const weight = (text: string): number => Buffer.byteLength(JSON.stringify(text));

/** Shortens the longer of two texts until both fit, as JSON, into `limit` bytes. */
export function fit(one: string, other: string, limit: number): { one: string; other: string; cut: boolean } {
  const weights = [weight(one), weight(other)] as const;
  if (weights[0] + weights[1] <= limit) return { one, other, cut: false };
  const share = Math.max(limit / 2, limit - Math.min(...weights)) - QUOTES;
  const shorten = (text: string, its: number) =>
    text.slice(0, Math.floor((text.length * share) / Math.max(its, share)));
  const shorter = { one: shorten(one, weights[0]), other: shorten(other, weights[1]) };
  // Escapes may be dense at the start: then it is still too much, and halving settles it.
  if (weight(shorter.one) + weight(shorter.other) <= limit) return { ...shorter, cut: true };
  return { ...fit(half(shorter.one), half(shorter.other), limit), cut: true };
}

const half = (text: string): string => text.slice(0, text.length >> 1);
