import type { Json } from '@muster/shared/contract/fields';
import { ProblemError } from '@muster/shared/errors';

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
const VARIABLE = /\{\{\s*([^{}]*?)\s*\}\}/g;

/** Throws a {@link ProblemError} `validation-failed`, with a pointer to the text, where `input_data` has a variable that does not exist. */
export function checkTemplate(input_data: Json): void {
  const errors = textsOf(input_data, '#/input_data').flatMap(({ text, pointer }) =>
    [...text.matchAll(VARIABLE)]
      .filter(([, name]) => !NAMES.includes(name!))
      .map(([found]) => ({
        pointer,
        detail: `${found.slice(0, 100)} is not a variable; there are ${NAMES.map((name) => `{{${name}}}`).join(', ')}`,
      })),
  );
  if (errors.length > 0)
    throw new ProblemError('validation-failed', `${errors[0]!.pointer} ${errors[0]!.detail}`, { errors });
}

/** `input_data` with what its variables stand for. A text that is one variable becomes the value itself; in a longer one it becomes text. */
export function fillTemplate(input_data: Json, variables: Variables): Json {
  if (typeof input_data === 'string') return fillText(input_data, variables);
  if (typeof input_data !== 'object' || input_data === null) return input_data;
  if (Array.isArray(input_data)) return input_data.map((it) => fillTemplate(it, variables));
  return Object.fromEntries(Object.entries(input_data).map(([key, it]) => [key, fillTemplate(it, variables)]));
}

function fillText(text: string, variables: Variables): Json {
  const standsFor = (name: string | undefined) => variables[name as keyof Variables];
  const [first] = text.matchAll(VARIABLE);
  if (first?.[0] === text && NAMES.includes(first[1]!)) return standsFor(first[1]);
  return text.replace(VARIABLE, (found, name: string) => {
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
