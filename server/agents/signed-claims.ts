import { type ProblemCode, ProblemError } from '@muster/shared/errors';
import { errors, importJWK, type JWK, jwtVerify } from 'jose';
import type { z } from 'zod';
import { refuseUnstorable } from '../platform/body.ts';
import { invalid } from '../platform/errors.ts';

/** Proofs live for seconds: an older one could have been overheard, and its `jti` must be remembered only so long. */
export const PROOF_MAX_AGE_SECONDS = 60;
/** How far an agent's clock may be ahead, in seconds. */
const CLOCK_SKEW_SECONDS = 10;

/** What a JWT is bound by: one that is wrong here is not valid, whatever else it says. */
const BINDING = new Set<PropertyKey>(['iss', 'sub', 'aud', 'iat', 'exp', 'jti', 'new_jwk', 'rotation_hash']);

export interface Signed<T extends z.ZodType> {
  typ: string;
  schema: T;
  /** Parameters its header has beside `alg` and `typ`. Any other is refused: `crit`, `b64`, `kid`, `jku`, `x5c` …, each an attack (RFC 8725). */
  header?: readonly string[];
  /** What is answered where it is no good. */
  code?: ProblemCode;
}

/** The header of a JWT that is what it must be; nothing is verified yet. */
export function headerOf(
  jwt: string,
  { typ, header = [], code = 'invalid-token' }: Signed<z.ZodType>,
): Record<string, unknown> {
  const [head, claims] = jwt.split('.').map(parsed);
  if (!head || !claims || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(jwt))
    throw new ProblemError(code, `the ${typ} is not a JWT, or names something twice`);
  if (head.alg !== 'EdDSA' || head.typ !== typ)
    throw new ProblemError(code, `the ${typ} must have the alg EdDSA and the typ ${typ} in its header`);
  const extra = Object.keys(head).find((name) => !['alg', 'typ', ...header].includes(name));
  if (extra !== undefined)
    throw new ProblemError(code, `the header of the ${typ} may not have ${JSON.stringify(extra.slice(0, 40))}`);
  return head;
}

/** The claims of a JWT that a key signed within the last minute. */
export async function verifyClaims<T extends z.ZodType>(
  jwt: string,
  jwk: JWK,
  signed: Signed<T>,
  now: Date,
): Promise<z.output<T>> {
  const { typ, schema, code = 'invalid-token' } = signed;
  headerOf(jwt, signed);
  const options = { algorithms: ['EdDSA'], typ, currentDate: now, clockTolerance: CLOCK_SKEW_SECONDS };
  const { payload } = await jwtVerify(jwt, await importJWK(jwk, 'EdDSA'), options).catch((error: unknown) => {
    if (!(error instanceof errors.JOSEError)) throw error;
    throw new ProblemError(code, `the ${typ} was refused: ${error.message.slice(0, 120)}`, { cause: error });
  });
  const read = schema.safeParse(payload);
  if (!read.success) {
    const wrong = read.error.issues.find((issue) => code !== 'invalid-token' || BINDING.has(issue.path[0]!));
    if (wrong) throw new ProblemError(code, `the ${typ} was refused: ${wrong.path.join('.')} ${wrong.message}`);
    throw invalid('#/claims', read.error.issues);
  }
  refuseOutOfTime(payload as { iat: number; exp?: number }, now, typ, code);
  // A proof's is compared, not kept, but for its jti, whose form is fixed.
  if (code === 'invalid-token') refuseUnstorable(read.data, '#/claims');
  return read.data;
}

/** Its age is what counts, not what it says of its end: its `jti` is remembered for so long and no longer. */
function refuseOutOfTime({ iat, exp }: { iat: number; exp?: number }, now: Date, typ: string, code: ProblemCode): void {
  const age = now.getTime() / 1_000 - iat;
  if (age > PROOF_MAX_AGE_SECONDS || age < -CLOCK_SKEW_SECONDS)
    throw new ProblemError(
      code,
      `the ${typ} is ${Math.round(age)} s old by the clock here; allowed is -${CLOCK_SKEW_SECONDS} to ${PROOF_MAX_AGE_SECONDS} s`,
    );
  if (exp !== undefined && exp > iat + PROOF_MAX_AGE_SECONDS)
    throw new ProblemError(code, `the ${typ} may live ${PROOF_MAX_AGE_SECONDS} s at most`);
}

/** A part of a JWT as the object it is; undefined where it is none, or where a name stands twice and two readers might see two things. */
function parsed(part: string): Record<string, unknown> | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(part, 'base64url'));
    const value = JSON.parse(text) as unknown;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    // In JSON a string before a colon is a name; the parser keeps one of each.
    const names = text.match(/"(?:[^"\\]|\\.)*"(\s*:)?/g)?.filter((it) => it.endsWith(':')).length ?? 0;
    return names === namesIn(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

const namesIn = (value: unknown): number =>
  typeof value === 'object' && value !== null
    ? Object.values(value).reduce<number>(
        (sum, item) => sum + namesIn(item),
        Array.isArray(value) ? 0 : Object.keys(value).length,
      )
    : 0;
