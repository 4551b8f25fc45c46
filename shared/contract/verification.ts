import { z } from 'zod';
import { capability, type Json, json, labelsOfAgents, taskType, text } from './fields.ts';

const numeric = z.strictObject({
  kind: z.literal('numeric').describe('Wherever they have numbers these are near each other; all else is the same'),
  tolerance: z.number().min(0).describe('How far apart two numbers may be'),
  relative: z.number().min(0).max(1).optional().describe('Or which part of the greater one'),
});
/** These do what their input says, and know nothing of answers. */
const BUILT_IN = ['script', 'http'];
const checker = z.strictObject({
  kind: z
    .literal('checker')
    .describe('As a run says that is given them (`CheckerInput`), of an agent that has nothing to do with theirs'),
  task_type: taskType
    .refine((it) => !BUILT_IN.includes(it), {
      error: `must be a handler of an agent’s own, not ${BUILT_IN.join(' or ')}`,
    })
    .describe('Its handler'),
  capability_required: capability.optional().describe('What its agent must be able to do; the task_type unless said'),
  labels_required: labelsOfAgents.default({}).describe('What labels its agent must have'),
  min_trust: z.number().min(0).max(1).default(0).describe('The least trust_score of its agent, in that capability'),
  timeout_seconds: z.int().min(1).max(604_800).default(300).describe('The longest it may take'),
  settings: json.default(null).describe('What it is told besides'),
});
export type Checker = z.output<typeof checker>;

/** What a checker is given: what was asked, and what was answered, in the order the answers came to be. */
export interface CheckerInput {
  task_type: string;
  input_data: Json;
  answers: Json[];
  settings: Json;
}
/** What it is to answer: the answers by their positions, those that are one together, each in one group: `[[0, 2], [1]]`. */
export const comparison = z.object({ equal: z.array(z.array(z.int().min(0)).min(1)) });

/** When two answers are one. To name it declares that the task may be done more than once. */
export const comparator = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('exact').describe('Byte by byte, as they were kept') }),
  z.strictObject({ kind: z.literal('json').describe('As canonical JSON (RFC 8785)') }),
  numeric,
  checker,
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
