import { ProblemError } from '@muster/shared/errors';

/** The longest body, in bytes. */
export const MAX_BODY_BYTES = 1_048_576;

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
  // NUL and halves of surrogate pairs only survive JSON as escapes, so bodies without any need no walk.
  if (/\\u0000|\\ud[89a-f]/i.test(text)) refuseUnstorable(value, '#');
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

function refuseUnstorable(value: unknown, pointer: string, depth = 0): void {
  if (typeof value === 'string') {
    if (value.includes('\0') || !value.isWellFormed()) {
      const detail = value.includes('\0') ? 'holds a NUL character' : 'holds half of a surrogate pair';
      throw new ProblemError('validation-failed', `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
    }
  } else if (typeof value === 'object' && value !== null && depth < 256) {
    for (const [key, item] of Object.entries(value)) {
      refuseUnstorable(key, `${pointer}/${key.replaceAll('\0', '\\0').toWellFormed()}`);
      refuseUnstorable(item, `${pointer}/${key}`, depth + 1);
    }
  }
}

const tooLarge = () => new ProblemError('payload-too-large', `the body is longer than ${MAX_BODY_BYTES} bytes`);
