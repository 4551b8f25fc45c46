import type { JsonWebKey } from 'node:crypto';

/** A run the coordinator must hear of with each beat. */
export interface HeldRun {
  run_id: string;
  fence: number;
  started?: boolean;
}

/** An agent takes a seat on the beat thread. It beats as soon as it has a token. */
export interface Join {
  type: 'join';
  url: string;
  ca?: string;
  agent_id: string;
  boot_id: string;
  private_jwk: JsonWebKey;
  session?: { access_token: string; access_token_expires_at: string };
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
  | { type: 'part' };

export type ToBeatThread = { seat: number } & BeatOrder;

/** What the beat thread tells the main thread. */
export type BeatReport =
  | { type: 'token'; access_token: string }
  | { type: 'token-failed'; message: string }
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
  | { type: 'refused'; verdict: 'superseded' | 'revoked' | 'unknown-agent'; message: string };

export type FromBeatThread = { seat: number } & BeatReport;
