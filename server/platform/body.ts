import { ProblemError } from '@muster/shared/errors';

/** The longest body, in bytes. */
export const MAX_BODY_BYTES = 1_048_576;

/** How deep a body may be nested: more than anybody needs, less than makes a recursive reader run out of stack. */
const MAX_DEPTH = 256;

/** Reads a JSON body: refused when it is no JSON, too long, or holds what Postgres cannot store as text. */
export async function readJson(request: Request): Promise<unknown> {
  if (Number(request.headers.get('content-length') ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  const text = await readText(request);
  if (text === '') return undefined;
  const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json') {
    throw new ProblemError(
      'unsupported-media-type',
      `content-type ${JSON.stringify(type ?? '')} is not application/json`,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ProblemError('malformed-request', `the body is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  // A body without so many brackets cannot be nested so deep, so few need a walk.
  if (bracketsIn(text) > MAX_DEPTH) refuseDeep(value);
  // NUL and halves of surrogate pairs only survive JSON as escapes, and a number is only too large with an exponent or many
  // digits, so bodies without any need no walk.
  if (/\\u0000|\\ud[89a-f]|\de\+?\d{2}|\d{309}/i.test(text)) refuseUnstorable(value, '#');
  return value;
}

async function readText(request: Request): Promise<string> {
  if (!request.body) return '';
  // A declared length was checked; a chunked body has to be counted as it comes.
  if (request.headers.has('content-length')) return decode(new Uint8Array(await request.arrayBuffer()));
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > MAX_BODY_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return decode(Buffer.concat(chunks));
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ProblemError('malformed-request', 'the body is not UTF-8');
  }
}

function refuseUnstorable(value: unknown, pointer: string): void {
  if (typeof value === 'string') {
    if (value.includes('\0') || !value.isWellFormed()) {
      const detail = value.includes('\0') ? 'holds a NUL character' : 'holds half of a surrogate pair';
      throw new ProblemError('validation-failed', `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
    }
  } else if (typeof value === 'number' && !Number.isFinite(value)) {
    const detail = 'is a number too large to be kept';
    throw new ProblemError('validation-failed', `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      refuseUnstorable(key, `${pointer}/${key.replaceAll('\0', '\\0').toWellFormed()}`);
      refuseUnstorable(item, `${pointer}/${key}`);
    }
  }
}

function bracketsIn(text: string): number {
  let count = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x5b || code === 0x7b) count += 1;
  }
  return count;
}

function refuseDeep(value: unknown): void {
  for (const [key, item] of Object.entries(value ?? {})) {
    if (!isDeeper(item, MAX_DEPTH - 1)) continue;
    const pointer = `#/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    const detail = `is nested deeper than ${MAX_DEPTH} levels`;
    throw new ProblemError('validation-failed', `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
  }
}

const isDeeper = (value: unknown, levels: number): boolean =>
  typeof value === 'object' &&
  value !== null &&
  (levels === 0 || Object.values(value).some((item) => isDeeper(item, levels - 1)));

const tooLarge = () => new ProblemError('payload-too-large', `the body is longer than ${MAX_BODY_BYTES} bytes`);
