import type { Principal } from './auth.ts';
import { isAdmin } from './auth.ts';
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

/** As much of an AbortSignal as is needed of one that ends when the caller hangs up: a whole one is a kilobyte, and each poll that waits has one. */
export interface HangUp {
  readonly aborted: boolean;
  addEventListener(type: 'abort', act: () => void): void;
  removeEventListener(type: 'abort', act: () => void): void;
}

/** What a verb is given: the coordinator's parts, and who asks. */
export interface Ctx extends Deps {
  principal: Principal;
  requestId: string;
  /** Where the caller is; behind a proxy, where the proxy says. */
  address: string | undefined;
  /** The DPoP header: what an agent proves its key by when it buys a token. */
  proof: string | undefined;
  /** Of a request that is to count once, however often it is sent. */
  idempotencyKey: string | undefined;
  /** Which versions of a thing the caller means to change, as the header If-Match has them. */
  ifMatch: string | undefined;
  traceparent: string | undefined;
  /** Ends when the caller hangs up. */
  signal: HangUp;
}

/** Whose things the caller makes: only the holder of a key makes or lists any. */
export function ownerOf({ principal }: Pick<Ctx, 'principal'>): string {
  if (principal.kind !== 'key') throw new Error(`a ${principal.kind} caller owns nothing`);
  return principal.owner;
}

/** Whose things a list shows the caller: its own, or everybody's (undefined) where it is an admin. */
export const shownOwner = ({ principal }: Pick<Ctx, 'principal'>): string | undefined =>
  isAdmin(principal) ? undefined : ownerOf({ principal });
