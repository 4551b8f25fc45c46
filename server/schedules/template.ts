import type { Json } from '@muster/shared/contract/fields';
import { ProblemError } from '@muster/shared/errors';
import { MAX_BODY_BYTES } from '../platform/body.ts';
import { named } from '../platform/errors.ts';

/** What a template may say, and what it becomes. */
export interface Variables {
  /** The due time; of a run by hand, when it was asked for. */
  scheduled_at: string;
  schedule_id: string;
  /** Which of the schedule's runs it is, from 1. */
  execution_number: number;
  /** `result_data` of its last task that was COMPLETED; null before there is one, and once that one is forgotten. */
  last_result: Json;
}

const NAMES: readonly string[] = [
  'scheduled_at',
  'schedule_id',
  'execution_number',
  'last_result',
] satisfies (keyof Variables)[];
/** Blanks are cut off afterwards: a pattern that knew them would try every way to share out a long row of them. */
const VARIABLE = /\{\{([^{}]*)\}\}/g;

/** The longest JSON text of a filled input, in characters: as long as a body may be. */
export const LONGEST_INPUT = MAX_BODY_BYTES;

/** Throws a {@link ProblemError} `validation-failed`, with a pointer to the text, where `input_data` has a variable that does not exist. */
export function checkTemplate(input_data: Json): void {
  const errors = textsOf(input_data, '#/input_data').flatMap(({ text, pointer }) =>
    [...text.matchAll(VARIABLE)]
      .filter(([, name]) => !NAMES.includes(name!.trim()))
      .map(([found]) => ({
        pointer,
        detail: `${found.slice(0, 100)} is not a variable; there are ${NAMES.map((name) => `{{${name}}}`).join(', ')}`,
      })),
  );
  if (errors.length > 0)
    throw new ProblemError('validation-failed', `${errors[0]!.pointer} ${errors[0]!.detail}`, {
      errors: named(errors),
    });
}

/** `input_data` with what its variables stand for. A text that is one variable becomes the value itself; in a longer one it becomes text. */
export function fillTemplate(input_data: Json, variables: Variables): Json {
  if (typeof input_data === 'string') return fillText(input_data, variables);
  if (typeof input_data !== 'object' || input_data === null) return input_data;
  if (Array.isArray(input_data)) return input_data.map((it) => fillTemplate(it, variables));
  return Object.fromEntries(Object.entries(input_data).map(([key, it]) => [key, fillTemplate(it, variables)]));
}

/** The same as JSON text. Throws a {@link ProblemError} `conflict` where it would be longer than {@link LONGEST_INPUT}, before it is made. */
export function filledText(input_data: Json, variables: Variables): string {
  const uses = JSON.stringify(input_data).split('last_result').length - 1;
  if (uses * JSON.stringify(variables.last_result).length > 2 * LONGEST_INPUT) throw tooLong(variables);
  const text = JSON.stringify(fillTemplate(input_data, variables));
  if (text.length > LONGEST_INPUT) throw tooLong(variables);
  return text;
}

const tooLong = ({ schedule_id }: Variables) =>
  new ProblemError(
    'conflict',
    `schedule ${schedule_id} has an input_data that would be longer than ${LONGEST_INPUT} characters with its variables filled in`,
  );

function fillText(text: string, variables: Variables): Json {
  const standsFor = (name: string) => variables[name as keyof Variables];
  const [first] = text.matchAll(VARIABLE);
  const whole = first?.[0] === text ? first[1]!.trim() : '';
  if (NAMES.includes(whole)) return standsFor(whole);
  return text.replace(VARIABLE, (found, inner: string) => {
    const name = inner.trim();
    if (!NAMES.includes(name)) return found;
    const it = standsFor(name);
    return typeof it === 'string' ? it : JSON.stringify(it);
  });
}

/** Every text in a JSON value, and where it is. */
function textsOf(value: Json, pointer: string): { text: string; pointer: string }[] {
  if (typeof value === 'string') return [{ text: value, pointer }];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, it]) =>
    textsOf(it, `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`),
  );
}
