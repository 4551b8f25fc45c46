import { z } from 'zod';
import { text } from './fields.ts';

const numeric = z.strictObject({
  kind: z.literal('numeric').describe('Wherever they have numbers these are near each other; all else is the same'),
  tolerance: z.number().min(0).describe('How far apart two numbers may be'),
  relative: z.number().min(0).max(1).optional().describe('Or which part of the greater one'),
});
/** When two answers are one. To name it declares that the task may be done more than once. */
export const comparator = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('exact').describe('Byte by byte, as they were kept') }),
  z.strictObject({ kind: z.literal('json').describe('As canonical JSON (RFC 8785)') }),
  numeric,
]);
export type Comparator = z.output<typeof comparator>;

const verified = z.strictObject({
  policy: z
    .enum(['adaptive', 'quorum', 'always'])
    .describe('Done twice as often as the agent’s record asks for; until `quorum` agree; or every time'),
  quorum: z.int().min(2).max(10).default(2).describe('How many must agree'),
  max_runs: z.int().min(2).max(20).default(6).describe('After so many answers that do not agree it is disputed'),
  comparator,
  label: text(64).min(1).optional().describe('Compared are only agents that have the same value of this label'),
  deadline_seconds: z
    .int()
    .min(2)
    .max(604_800)
    .default(600)
    .describe('How long a fitting agent is waited for: half of it for one that is trusted, then for any'),
  otherwise: z
    .enum(['accept', 'fail', 'wait'])
    .default('wait')
    .describe('When none has come by then: accept the answer as provisional, fail, or go on waiting'),
});
export type Verified = z.output<typeof verified>;

/** Whether others check what the agent answers. */
export const verification = z
  .union([z.literal('none'), verified])
  .refine((it) => it === 'none' || it.quorum <= it.max_runs, {
    path: ['quorum'],
    error: 'must not be more than max_runs',
  });
export type Verification = z.output<typeof verification>;

/** Why a task may not be verified: it must be one that can be done twice. */
export function notRepeatable({
  task_type,
  input_data,
  verification: asked,
}: {
  task_type: string;
  input_data: unknown;
  verification: Verification;
}): string | undefined {
  if (asked === 'none' || task_type !== 'http') return undefined;
  const method = (input_data as { method?: unknown } | null)?.method ?? 'GET';
  return method === 'GET'
    ? undefined
    : `an http task is only repeatable with GET, not with ${String(method).slice(0, 20)}`;
}
