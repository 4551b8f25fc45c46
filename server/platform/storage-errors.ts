import { ProblemError } from '@muster/shared/errors';

const CONNECTION = new Set([
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
]);

const codeOf = (error: unknown): string => {
  const it = error as { code?: unknown; cause?: { code?: unknown } } | undefined;
  return String(it?.code ?? it?.cause?.code ?? '');
};

/** The SQLSTATE of an error, wherever the driver or Drizzle put it. */
export const sqlState = codeOf;

/** The constraint a statement ran against. */
export const constraintOf = (error: unknown): string | undefined =>
  (error as { constraint_name?: string } | undefined)?.constraint_name;

/** Whether the database was away, so that nobody knows what became of the statement. */
export const isConnectionLoss = (error: unknown): boolean => {
  const code = codeOf(error);
  return CONNECTION.has(code) || /^(08|57P|53)/.test(code);
};

/** Whether a row of the statement was at fault (a value the database refuses), not the statement or the connection. */
export const isDataError = (error: unknown): boolean => /^(22|23)/.test(codeOf(error));

/** Whether a row of the same key was there already. */
export const isUniqueViolation = (error: unknown): boolean => codeOf(error) === '23505';

/** Deadlocks and serialisation failures: the statement did nothing and may be sent again. */
export const isRetryable = (error: unknown): boolean => /^(40P01|40001)$/.test(codeOf(error));

/** What a failed statement is to the caller. The database's own words stay in the log, as the cause. */
export function storageProblem(error: unknown): ProblemError | undefined {
  if (isConnectionLoss(error))
    return new ProblemError('storage-unavailable', 'the database cannot be reached; try again', { cause: error });
  if (codeOf(error) === '57014')
    return new ProblemError('overloaded', 'the database took too long; try again', { cause: error });
  if (isRetryable(error))
    return new ProblemError('overloaded', 'others were changing the same things; try again', { cause: error });
  if (isDataError(error))
    return new ProblemError('validation-failed', 'the database refused one of the values', { cause: error });
  return undefined;
}
