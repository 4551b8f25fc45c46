import { type JsonWebKey, randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { backoffMs } from '@muster/shared/backoff';
import { type Client, createClient } from '@muster/shared/client';
import { createAccessToken, registerAgent } from '@muster/shared/contract/agents';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { newKey, publicJwk, signed } from '../jwt.ts';
import type { Random } from './random.ts';

export interface SessionOptions {
  url: string;
  enrollmentToken: string;
  /** The agent's time: what it signs is good for seconds. */
  now(): Promise<Date>;
  random: Random;
  onRetry(): void;
}

/** What an agent says of itself when it registers. */
export interface Announcement {
  display_name: string;
  capabilities: string[];
  slots: number;
  labels: Record<string, string>;
}

/** What passes: the same request may be answered otherwise in a moment. */
const isPassing = (error: unknown) => !(error instanceof ProblemError) || error.retryable;
export const isRefused = (error: unknown, ...codes: string[]) =>
  error instanceof ProblemError && codes.includes(error.code);

/** Rests, but no longer than until the signal. */
export const rest = (ms: number, signal: AbortSignal): Promise<void> =>
  pause(ms, undefined, { signal }).catch(() => {});

/** An agent's identity and its access token, kept by hand. */
export class Session {
  agentId = '';
  bootId = newId('boot');
  heartbeatIntervalMs = 10_000;
  pollWaitMs = 20_000;
  readonly call: Client;
  readonly #options: SessionOptions;
  readonly #key: JsonWebKey = newKey();
  #token = '';

  constructor(options: SessionOptions) {
    this.#options = options;
    this.call = createClient({ url: options.url, credential: () => this.#token || undefined });
  }

  get params() {
    return { agent_id: this.agentId };
  }

  /** Registers; an agent that has begins a new life. */
  async open(announcement: Announcement): Promise<void> {
    if (this.agentId) {
      this.bootId = newId('boot');
      return this.#assert();
    }
    const registration = await this.#sign(
      { typ: 'agent-registration+jwt', jwk: publicJwk(this.#key) },
      { ...announcement, enrollment_token: this.#options.enrollmentToken, boot_id: this.bootId, protocol_version: 1 },
    );
    const session = await this.call(registerAgent, { body: { registration } });
    this.agentId = session.agent_id;
    this.#token = session.access_token;
    this.heartbeatIntervalMs = session.heartbeat_interval_ms;
    this.pollWaitMs = session.poll_wait_ms;
  }

  /** Makes a call until it is answered, buying a new token where the old one is over; undefined where the signal came first. */
  async persist<T>(make: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
    for (let tries = 1; !signal.aborted; tries++) {
      try {
        return await make();
      } catch (error) {
        if (signal.aborted) return undefined;
        const expired = this.agentId !== '' && isRefused(error, 'invalid-token', 'unauthenticated');
        if (!expired && !isPassing(error)) throw error;
        this.#options.onRetry();
        if (expired) await this.persist(() => this.#assert(), signal);
        else await rest(backoffMs('exponential', tries, this.#options.random(), { baseMs: 100, capMs: 5_000 }), signal);
      }
    }
    return undefined;
  }

  async #assert(): Promise<void> {
    const claims = { iss: this.agentId, sub: this.agentId, boot_id: this.bootId };
    const assertion = await this.#sign({ typ: 'agent-assertion+jwt' }, claims);
    this.#token = '';
    this.#token = (await this.call(createAccessToken, { params: this.params, body: { assertion } })).access_token;
  }

  async #sign(header: object, claims: object): Promise<string> {
    const iat = Math.floor((await this.#options.now()).getTime() / 1_000);
    const dated = { aud: 'muster', iat, exp: iat + 50, jti: randomUUID(), ...claims };
    return signed({ alg: 'EdDSA', ...header }, dated, this.#key);
  }
}
