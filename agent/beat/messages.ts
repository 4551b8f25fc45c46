import type { JsonWebKey } from 'node:crypto';
import type { AgentVerdict } from '../protocol/verdict.ts';

/** A run the coordinator must hear of with each beat. */
export interface HeldRun {
  run_id: string;
  fence: number;
  started?: boolean;
}

/** A session as the coordinator grants it. */
export interface Granted {
  access_token: string;
  access_token_expires_at: string;
  token_type: 'Bearer' | 'DPoP';
}

/** A token to call with, and the key that bought it: each use of a DPoP token is proven by that key. */
export interface Credential extends Omit<Granted, 'access_token_expires_at'> {
  private_jwk: JsonWebKey;
}

/** An agent takes a seat on the beat thread. It beats as soon as it has a token. */
export interface Join {
  type: 'join';
  url: string;
  ca?: string;
  agent_id: string;
  boot_id: string;
  private_jwk: JsonWebKey;
  /** A key the coordinator may take instead: a rotation had no certain end. */
  next_jwk?: JsonWebKey | undefined;
  /** Whether tokens are to be bound to the key. */
  proof_of_possession: boolean;
  /** What the key has bought already. */
  session?: Granted;
  heartbeat_interval_ms: number;
  lease_ttl_ms: number;
  slots: number;
}

/** What the main thread tells the beat thread of one agent. */
export type BeatOrder =
  | Join
  /** Get a token other than this one. */
  | { type: 'renew'; refused?: string | undefined }
  /** What changed in what the agent holds. */
  | { type: 'runs'; held: HeldRun[]; gone: string[]; slots_free: number }
  /** Change the key to this one. */
  | { type: 'rotate'; next_jwk: JsonWebKey }
  | { type: 'part' };

export type ToBeatThread = { seat: number } & BeatOrder;

/** What the beat thread tells the main thread. */
export type BeatReport =
  | { type: 'token'; credential: Credential }
  | { type: 'token-failed'; message: string }
  | { type: 'rotated' }
  /** `final`: the new key was refused, and never will be the agent's. */
  | { type: 'rotate-failed'; message: string; final: boolean }
  | {
      type: 'beat';
      lost: string[];
      cancel: string[];
      drain: boolean;
      runs: number;
      slots_free: number;
      lease_ttl_ms: number;
    }
  | { type: 'beat-failed'; message: string }
  /** No beat got through in time: stop every run now. */
  | { type: 'fenced' }
  /** The coordinator has nothing to do with this life of the agent any more. */
  | { type: 'refused'; verdict: AgentVerdict; message: string };

export type FromBeatThread = { seat: number } & BeatReport;
