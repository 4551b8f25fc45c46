import { notRepeatable } from '@muster/shared/contract/verification';
import { ProblemError } from '@muster/shared/errors';

/** Throws a {@link ProblemError} `validation-failed` where a task is to be verified that may not be done twice. */
export function checkRepeatable(task: Parameters<typeof notRepeatable>[0]): void {
  const detail = notRepeatable(task);
  if (detail === undefined) return;
  const pointer = '#/verification';
  throw new ProblemError('validation-failed', `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
}
