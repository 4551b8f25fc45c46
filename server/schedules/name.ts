import { ProblemError } from '@muster/shared/errors';
import type { Ctx } from '../platform/ctx.ts';
import { constraintOf } from '../platform/storage-errors.ts';
import { findNamed } from './store/rules.ts';

/** Whether a statement failed because a name is taken. */
export const isTaken = (error: unknown): boolean => constraintOf(error) === 'schedules_name';

const nameTaken = (name: string | null) =>
  new ProblemError('conflict', `there is a schedule named ${JSON.stringify(name)} already`, {
    errors: [{ pointer: '#/name', detail: 'another schedule of its owner has it' }],
  });

/** Refuses a name that another schedule of the owner has. */
export async function refuseTaken(ctx: Ctx, owner: string, name: string | null, itself?: string): Promise<void> {
  if (name === null) return;
  const other = await findNamed(ctx.db.admin, owner, name);
  if (other !== undefined && other !== itself) throw nameTaken(name);
}

/** What a statement that failed because of the name is to the caller. */
export const taken =
  (name: string | null) =>
  (error: unknown): never => {
    throw isTaken(error) ? nameTaken(name) : error;
  };
