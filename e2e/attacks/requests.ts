import { randomInt } from 'node:crypto';
import { type Answer, type Attack, ask, type Stage } from './stage.ts';

/** Whose credentials a request carries. */
export type Who = 'nobody' | 'admin' | 'owner' | 'rival' | 'agent' | 'rivalAgent';

/** A request as an attacker writes it; `body` goes as it is where it is text or bytes, else as JSON. */
export interface Forged {
  as?: Who;
  method?: string;
  path: string | ((stage: Stage) => string);
  body?: unknown;
  headers?: Record<string, string>;
}

export function credentialOf(stage: Stage, who: Who): string | undefined {
  if (who === 'nobody') return undefined;
  if (who === 'admin') return stage.coordinator.adminKey;
  return who === 'agent' || who === 'rivalAgent' ? stage[who].token : stage[who].api_key;
}

/** Sends a request that is well-formed HTTP. */
export function forge(stage: Stage, { as = 'owner', method, path, body, headers = {} }: Forged): Promise<Answer> {
  const credential = credentialOf(stage, as);
  const raw = typeof body === 'string' || body instanceof Uint8Array;
  return ask(stage.url + (typeof path === 'string' ? path : path(stage)), {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: {
      ...(credential === undefined ? {} : { authorization: `Bearer ${credential}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      // One address each: what is counted by address is another category's.
      'x-forwarded-for': `10.${randomInt(256)}.${randomInt(256)}.${randomInt(256)}`,
      ...headers,
    },
    ...(body === undefined ? {} : { body: (raw ? body : JSON.stringify(body)) as string }),
  });
}

/** The answer's JSON. */
export const read = <T = Record<string, unknown>>({ body }: Answer): T => JSON.parse(body) as T;

/** The fields that a problem names. */
export const pointersIn = (answer: Answer): string[] =>
  (read(answer).errors as { pointer: string }[] | undefined)?.map(({ pointer }) => pointer) ?? [];

/** Numbers the attacks of a category. */
export const numbered = (category: string, rows: readonly Omit<Attack, 'id'>[]): Attack[] =>
  rows.map((row, n) => ({ id: `${category}${n + 1}`, ...row }));
