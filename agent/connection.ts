import { setTimeout as sleep } from 'node:timers/promises';
import { newId } from '@muster/shared/ids';
import { type Seat, type SeatReport, takeSeat } from './beat/seat.ts';
import { Session } from './beat/session.js';
import type { EventSink } from './events.ts';
import { registrationJwt } from './identity/jwt.js';
import { type AgentKey, loadKey } from './identity/key-file.ts';
import { loadRegistration, type Registration, saveRegistration } from './identity/registration-file.ts';
import type { Settings } from './options.ts';
import { Coordinator, register } from './protocol/coordinator.ts';
import type { Pace } from './protocol/pace.ts';
import { createTransport, type Transport } from './protocol/transport.js';
import { messageOf, verdictOf } from './protocol/verdict.ts';

/** Who this agent is at the coordinator: its registration, its token, its seat on the beat thread. */
export class Connection {
  /** Names this life of the agent: a new one fences the old off. */
  readonly bootId = newId('boot');
  readonly coordinator: Coordinator;
  readonly #settings: Settings;
  readonly #pace: Pace;
  readonly #emit: EventSink;
  readonly #onBeat: (report: SeatReport) => void;
  readonly #transport: Transport;
  #registration: Registration | undefined;
  #seat: Seat | undefined;
  #resuming = false;
  readonly #closed = new AbortController();

  constructor(settings: Settings, pace: Pace, emit: EventSink, onBeat: (report: SeatReport) => void) {
    this.#settings = settings;
    this.#pace = pace;
    this.#emit = emit;
    this.#onBeat = onBeat;
    this.#transport = createTransport({ ca: settings.ca, onRetryAfter: (ms) => pace.retryAfter(ms) });
    const agentId = () => this.agentId ?? '';
    this.coordinator = new Coordinator(settings.url, this.#transport, {
      get agentId() {
        return agentId();
      },
      token: () => this.seat.token(),
      renew: (refused) => this.seat.renew(refused),
    });
  }

  get agentId(): string | undefined {
    return this.#registration?.agent_id;
  }

  get pollWaitMs(): number {
    return this.#registration?.terms.poll_wait_ms ?? 20_000;
  }

  get connected(): boolean {
    return this.#seat !== undefined;
  }

  get seat(): Seat {
    if (!this.#seat) throw new Error('the agent is not connected');
    return this.#seat;
  }

  /**
   * Becomes the agent it was before, or registers. Waits for a coordinator that is not there yet. `before` speaks as the
   * earlier life first, while that still counts.
   */
  async open(before: (life: EarlierLife) => Promise<void>): Promise<void> {
    const key = await loadKey(this.#settings.keyDir);
    this.#registration = await loadRegistration(this.#settings.keyDir);
    const earlier = this.#registration && this.#earlierLife(key, this.#registration);
    if (earlier) await before(earlier);
    for (;;) {
      try {
        return await (this.#registration ? this.#resume(key, this.#registration) : this.#register(key));
      } catch (error) {
        this.#seat?.part();
        this.#seat = undefined;
        await this.#passOrThrow(error);
      }
    }
  }

  /** Registers anew: the coordinator no longer knows this agent. */
  async reopen(): Promise<void> {
    this.#seat?.part();
    this.#seat = undefined;
    this.#registration = undefined;
    const key = await loadKey(this.#settings.keyDir);
    for (;;) {
      try {
        return await this.#register(key);
      } catch (error) {
        await this.#passOrThrow(error);
      }
    }
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#seat?.part();
    await this.#transport.close();
  }

  /** Waits after a failure before the coordinator is asked again. */
  readonly rest = async (error: unknown): Promise<void> => {
    if (this.#closed.signal.aborted) throw error;
    const retryInMs = this.#pace.failed();
    this.#emit('unreachable', { message: messageOf(error), retry_in_ms: retryInMs });
    await sleep(retryInMs, undefined, { signal: this.#closed.signal });
  };

  /** Waits before another attempt where that may help; an agent that is not known goes on to register if it can. */
  async #passOrThrow(error: unknown): Promise<void> {
    const verdict = verdictOf(error);
    if (this.#closed.signal.aborted || error instanceof NotEnrolled) throw error;
    // A coordinator answers alike for an agent it revoked and one it never knew (another database, say): registering tells.
    const mayRegister = verdict === 'unknown-agent' || verdict === 'revoked';
    if (mayRegister && this.#registration && this.#settings.enrollmentToken) this.#registration = undefined;
    else if (verdict === 'retry') await this.rest(error);
    else throw error;
  }

  #earlierLife(key: AgentKey, { agent_id, boot_id }: Registration): EarlierLife | undefined {
    if (!boot_id) return undefined;
    const { url } = this.#settings;
    const session = new Session({ url, agent_id, boot_id, private_jwk: key.privateJwk }, this.#transport);
    const caller = { agentId: agent_id, token: () => session.token(), renew: (old: string) => session.renew(old) };
    return { bootId: boot_id, coordinator: new Coordinator(url, this.#transport, caller) };
  }

  async #register(key: AgentKey): Promise<void> {
    const { url, enrollmentToken, announcement, keyDir } = this.#settings;
    if (!enrollmentToken) {
      throw new NotEnrolled(`${keyDir} holds no registration, so an enrollment token is needed to register at ${url}`);
    }
    const claims = { enrollment_token: enrollmentToken, boot_id: this.bootId, ...announcement };
    const jwt = () => registrationJwt(key.privateJwk, key.publicJwk, claims, this.#transport.nowMs());
    const skewBefore = this.#transport.nowMs() - Date.now();
    const answer = await register(url, this.#transport, jwt()).catch((error) => {
      // The refusal's Date header may just have told that this machine's clock is wrong: then try once more.
      if (Math.abs(this.#transport.nowMs() - Date.now() - skewBefore) < 1_000) throw error;
      return register(url, this.#transport, jwt());
    });
    const { agent_id, access_token, access_token_expires_at, ...terms } = answer;
    this.#registration = { agent_id, boot_id: this.bootId, terms, announced: announcement };
    await saveRegistration(keyDir, this.#registration);
    this.#emit('registered', { agent_id });
    this.#seat = this.#sit(key, this.#registration, { access_token, access_token_expires_at });
  }

  async #resume(key: AgentKey, registration: Registration): Promise<void> {
    this.#seat = this.#sit(key, registration);
    this.#resuming = true;
    await this.#seat.token().finally(() => {
      this.#resuming = false;
    });
    // Only now: a life the coordinator never heard of must not be taken for the earlier one.
    this.#registration = { ...registration, boot_id: this.bootId };
    await saveRegistration(this.#settings.keyDir, this.#registration);
    await this.#announce(this.#registration);
  }

  /** Tells what changed since the last life: other handlers, slots, labels. A coordinator that refuses keeps what it knew. */
  async #announce(registration: Registration): Promise<void> {
    const { announcement, keyDir } = this.#settings;
    const { capabilities, ...profile } = announcement;
    const { capabilities: toldCapabilities, ...toldProfile } = registration.announced;
    try {
      if (!same(profile, toldProfile)) await this.coordinator.updateAgent(profile);
      if (!same(capabilities, toldCapabilities)) await this.coordinator.putCapabilities(capabilities);
      if (same(announcement, registration.announced)) return;
      this.#registration = { ...registration, announced: announcement };
      await saveRegistration(keyDir, this.#registration);
    } catch (error) {
      this.#emit('warning', { message: `the coordinator keeps its old picture of this agent: ${messageOf(error)}` });
    }
  }

  #sit(key: AgentKey, { agent_id, terms }: Registration, session?: Granted): Seat {
    const { url, ca, announcement } = this.#settings;
    const { heartbeat_interval_ms, lease_ttl_ms } = terms;
    const join = {
      url,
      agent_id,
      boot_id: this.bootId,
      private_jwk: key.privateJwk,
      heartbeat_interval_ms,
      lease_ttl_ms,
    };
    return takeSeat(
      { ...join, slots: announcement.slots, ...(ca ? { ca } : {}), ...(session ? { session } : {}) },
      // While resuming, a refusal is the answer to the question who we are, and `open` deals with it.
      (report) => (this.#resuming && report.type === 'refused' ? undefined : this.#onBeat(report)),
    );
  }
}

/** There is nothing to register with. */
class NotEnrolled extends Error {}

/** The life before this one, as far as it can still speak. */
export interface EarlierLife {
  bootId: string;
  coordinator: Coordinator;
}

interface Granted {
  access_token: string;
  access_token_expires_at: string;
}

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
