import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { ProblemError } from '@muster/shared/errors';
import pLimit from 'p-limit';
import { pointerPart } from './errors.ts';

/** The longest body where an endpoint says nothing else, in bytes. */
export const MAX_BODY_BYTES = 1_048_576;

/** How deep a body may be nested: more than anybody needs, less than makes a recursive reader run out of stack. */
const MAX_DEPTH = 256;

/** A body of more characters than this is taken apart in its turn. */
const LARGE = 65_536;
/** How many large bodies may wait for theirs. */
const MAX_WAITING = 64;
/** Large bodies are taken apart one at a time, and all that is small goes between two of them: else a crowd of them would hold up every beat. */
const turns = { vital: pLimit(1), other: pLimit(1) };

/** What of a request is needed to read its body. */
type Incoming = Readable & Pick<IncomingMessage, 'headers' | 'complete'>;

/** Reads a JSON body: refused when it is no JSON, too long, or holds what Postgres cannot store as text. What leases depend on (`vital`) waits for nothing else. */
export async function readJson(incoming: Incoming, vital = false, maxBytes = MAX_BODY_BYTES): Promise<unknown> {
  const text = await readText(incoming, maxBytes);
  if (text === '') return undefined;
  const type = incoming.headers['content-type'];
  if (type !== 'application/json') refuseOther(type);
  return text.length <= LARGE ? parse(text) : inTurn(() => parse(text), vital);
}

/** Reads a body as text, UTF-8 and no longer than it may be. */
export async function readText(incoming: Incoming, maxBytes = MAX_BODY_BYTES): Promise<string> {
  const { 'content-length': length, 'content-encoding': encoding } = incoming.headers;
  if (length !== undefined && Number(length) > maxBytes) throw tooLarge(maxBytes);
  if (encoding !== undefined) refusePacked(encoding);
  return decode(hasCome(incoming) ? take(incoming) : await collect(incoming, maxBytes).catch(cutOff), maxBytes);
}

/** Whether a body is there, as nearly every one is that was sent with its headers. */
export const hasCome = ({ complete, readableLength, headers }: Incoming): boolean =>
  complete || readableLength === Number(headers['content-length']);

/** Takes a large body apart when it is its turn. */
export async function inTurn<T>(work: () => T, vital = false): Promise<T> {
  const turn = vital ? turns.vital : turns.other;
  if (!vital && turn.pendingCount >= MAX_WAITING)
    throw new ProblemError('overloaded', `${turn.pendingCount} large bodies are waiting to be read; try again`);
  return turn(async () => {
    await setImmediate();
    return work();
  });
}

function parse(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ProblemError('malformed-request', `the body is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  // A body without so many brackets cannot be nested so deep, so few need a look; each has a partner.
  if (text.length > 2 * MAX_DEPTH && hasManyBrackets(text) && isDeep(text)) refuseDeep(value);
  if (mayBeUnstorable(text)) refuseUnstorable(value, '#');
  return value;
}

/** The bytes that came with their headers: nothing has to be waited for. */
function take(incoming: Incoming): Buffer | null {
  const bytes: Buffer | null = incoming.read();
  // To its end, which the connection waits for.
  incoming.resume();
  return bytes;
}

/** The bytes as they come, counted: only a declared length was checked. Whoever sends too many still gets an answer, so the stream stays. */
async function collect(incoming: Incoming, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      size += chunk.byteLength;
      if (size > maxBytes) throw tooLarge(maxBytes);
      chunks.push(chunk);
    }
  } catch (error) {
    // Who hangs up in the middle is gone: no fault of ours, and nothing to write down.
    throw error instanceof ProblemError ? error : new ProblemError('malformed-request', 'the body broke off');
  }
  return Buffer.concat(chunks);
}

/** Whoever went away in the middle hears nothing of it, but the log must not take it for the database that did. */
function cutOff(error: unknown): never {
  if (error instanceof ProblemError) throw error;
  throw new ProblemError('malformed-request', 'the body did not come to its end', { cause: error });
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function decode(bytes: Buffer | null, maxBytes: number): string {
  if (bytes === null) return '';
  if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
  try {
    return utf8.decode(bytes);
  } catch {
    throw new ProblemError('malformed-request', 'the body is not UTF-8');
  }
}

function refuseOther(type: string | undefined): void {
  const essence = type?.split(';')[0]?.trim().toLowerCase();
  if (essence === 'application/json') return;
  throw new ProblemError('unsupported-media-type', `content-type ${quoted(essence ?? '')} is not application/json`);
}

/**
 * NUL and halves of surrogate pairs only survive JSON as escapes, and a number is only too large with an exponent or hundreds
 * of digits: bodies without any, as nearly all are, need no walk. Ids have such digits, too, so a number is looked for where one begins.
 */
const mayBeUnstorable = (text: string): boolean =>
  (text.includes('\\u') && /\\u0000|\\ud[89a-f]/i.test(text)) || MAY_BE_TOO_LARGE.test(text);
const MAY_BE_TOO_LARGE = /(?:^|[:,[\s])-?\d(?:[\d.]*[eE]\+?\d\d|\d{299})/;

/** Refuses a value with anything in it that Postgres cannot keep as it is. */
export function refuseUnstorable(value: unknown, pointer: string): void {
  if (typeof value === 'string') {
    if (value.includes('\0')) throw unstorable(pointer, 'holds a NUL character');
    if (!value.isWellFormed()) throw unstorable(pointer, 'holds half of a surrogate pair');
  } else if (typeof value === 'number' && !Number.isFinite(value)) {
    throw unstorable(pointer, 'is a number too large to be kept');
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      const place = `${pointer}/${pointerPart(key)}`;
      refuseUnstorable(key, place);
      refuseUnstorable(item, place);
    }
  }
}

const unstorable = (place: string, detail: string) => {
  const pointer = place.replaceAll('\0', '\\0').toWellFormed().slice(0, 512);
  return new ProblemError('validation-failed', `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
};

function hasManyBrackets(text: string): boolean {
  let count = 0;
  for (const bracket of '[{') {
    for (let at = text.indexOf(bracket); at >= 0; at = text.indexOf(bracket, at + 1)) {
      count += 1;
      if (count > MAX_DEPTH) return true;
    }
  }
  return false;
}

/** Whether JSON is nested deeper than it may be: read off the text, which takes a tenth of what a walk through the value does. */
function isDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfText(text, at);
    else if (code === 0x5b || code === 0x7b) depth += 1;
    else if (code === 0x5d || code === 0x7d) depth -= 1;
    if (depth > MAX_DEPTH) return true;
  }
  return false;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

function endOfText(text: string, begin: number): number {
  let at = begin + 1;
  while (text.charCodeAt(at) !== QUOTE) at += text.charCodeAt(at) === BACKSLASH ? 2 : 1;
  return at;
}

function refuseDeep(value: unknown): void {
  for (const [key, item] of Object.entries(value ?? {})) {
    if (!isDeeper(item, MAX_DEPTH - 1)) continue;
    const pointer = `#/${pointerPart(key)}`;
    const detail = `is nested deeper than ${MAX_DEPTH} levels`;
    throw new ProblemError('validation-failed', `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
  }
}

const isDeeper = (value: unknown, levels: number): boolean =>
  typeof value === 'object' &&
  value !== null &&
  (levels === 0 || Object.values(value).some((item) => isDeeper(item, levels - 1)));

const quoted = (header: string) => JSON.stringify(header.slice(0, 128));

/** What is small on the way may be large here: nothing is unpacked. */
function refusePacked(encoding: string): void {
  if (encoding.toLowerCase() !== 'identity')
    throw new ProblemError('unsupported-media-type', `content-encoding ${quoted(encoding)} is not taken`);
}

const tooLarge = (maxBytes: number) =>
  new ProblemError('payload-too-large', `the body is longer than ${maxBytes} bytes`);
