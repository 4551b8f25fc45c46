import type { Principal } from './auth.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import type { Database } from './database.ts';
import type { Log } from './log.ts';
import type { Notifier } from './notify.ts';

/** What lives as long as the coordinator. */
export interface Deps {
  coordinatorId: string;
  config: Config;
  db: Database;
  log: Log;
  clock: Clock;
  notifier: Notifier;
}

/** What a verb is given: the coordinator's parts, and who asks. */
export interface Ctx extends Deps {
  principal: Principal;
  requestId: string;
  traceparent: string | undefined;
  /** Ends when the caller hangs up. */
  signal: AbortSignal;
}

/** Whose things the caller makes. */
export const ownerOf = (ctx: Ctx): string => (ctx.principal.kind === 'admin' ? ctx.principal.owner : 'admin');
