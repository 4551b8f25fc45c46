import type { Sql } from '../../platform/database.ts';

/** An agent whose access tokens before an epoch are over. */
export interface Epoch {
  agent_id: string;
  token_epoch: number;
  revoked: boolean;
}

/** Whether an epoch moved in the last so many seconds. */
export const movedLately = (seconds: number): string =>
  `exists (select from agents where token_epoch_at > (select now from clock) - interval '${seconds} seconds')`;

/** The epochs that moved in the last so many seconds: what was bought earlier has expired by itself. */
export const listEpochs = (hot: Sql, seconds: number): Promise<(Epoch & { token_epoch_at: Date })[]> =>
  hot<(Epoch & { token_epoch_at: Date })[]>`
    select agent_id, token_epoch, mode = 'REVOKED' as revoked, token_epoch_at from agents
    where token_epoch_at > (select muster_now()) - ${seconds}::float8 * interval '1 second'`;
