import { z } from 'zod';
import { TaskError } from '../handler.ts';

/** Parses what a task asks of a built-in executor; says what is wrong with it. */
export function parseInput<S extends z.ZodType>(schema: S, input: unknown): z.output<S> {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  throw invalidInput(z.prettifyError(parsed.error));
}

/** The task asked for something this executor never does. */
export const invalidInput = (message: string): TaskError =>
  new TaskError(message, { code: 'invalid-input', fault: 'task', retryable: false });
