import type { JsonWebKey } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { newId } from '@muster/shared/ids';
import type { Granted } from './beat/messages.ts';
import { RotationFailed, type Seat, type SeatReport, takeSeat } from './beat/seat.ts';
import { Session } from './beat/session.js';
import type { EventSink } from './events.ts';
import { AgentKeys } from './identity/agent-keys.ts';
import { registrationJwt } from './identity/jwt.js';
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
  #keys!: AgentKeys;
  #rotating: Promise<void> | undefined;
  #registration: Registration | undefined;
  #seat: Seat | undefined;
  #resuming = false;
  #opening = true;
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
    this.#keys = await AgentKeys.load(this.#settings.keyDir);
    this.#registration = await loadRegistration(this.#settings.keyDir);
    const earlier = this.#registration && this.#earlierLife(this.#registration);
    if (earlier) await before(earlier);
    for (;;) {
      try {
        await (this.#registration ? this.#resume(this.#registration) : this.#register());
        this.#opening = false;
        return;
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
    this.#opening = true;
    for (;;) {
      try {
        await this.#register();
        this.#opening = false;
        return;
      } catch (error) {
        await this.#passOrThrow(error);
      }
    }
  }

  /** Changes the agent's key; who asks while that is under way shares it. */
  rotateKey(): Promise<void> {
    this.#rotating ??= this.#rotate().finally(() => {
      this.#rotating = undefined;
    });
    return this.#rotating;
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

  async #rotate(): Promise<void> {
    if (this.#opening || this.#closed.signal.aborted) throw new Error('the agent is not connected');
    const { seat } = this;
    const next = await this.#keys.prepare();
    try {
      await seat.rotate(next);
    } catch (error) {
      if (error instanceof RotationFailed && error.final) await this.#keys.forgetNext();
      throw error;
    }
    await this.#keys.took(next);
  }

  /** A token was bought with this key: it may be the next one, by a rotation that seemed to have failed. */
  readonly #onKey = (key: JsonWebKey): void => {
    this.#keys.took(key).catch((error) => {
      this.#emit('warning', { message: `the new key is not in its place yet: ${messageOf(error)}` });
    });
  };

  #earlierLife({ agent_id, boot_id }: Registration): EarlierLife | undefined {
    if (!boot_id) return undefined;
    const { url } = this.#settings;
    const session = new Session({ url, agent_id, boot_id, ...this.#proving }, this.#transport);
    const caller = { agentId: agent_id, token: () => session.token(), renew: (old: string) => session.renew(old) };
    return { bootId: boot_id, coordinator: new Coordinator(url, this.#transport, caller) };
  }

  async #register(): Promise<void> {
    const { url, enrollmentToken, announcement, keyDir, proofOfPossession } = this.#settings;
    const { current: key } = this.#keys;
    if (!enrollmentToken) {
      throw new NotEnrolled(`${keyDir} holds no registration, so an enrollment token is needed to register at ${url}`);
    }
    const claims = { enrollment_token: enrollmentToken, boot_id: this.bootId, ...announcement };
    const send = () => {
      const jwt = registrationJwt(key, claims, this.#transport.nowMs());
      return register(url, this.#transport, jwt, proofOfPossession ? key : undefined);
    };
    const skewBefore = this.#transport.nowMs() - Date.now();
    const answer = await send().catch((error) => {
      // The refusal's Date header may just have told that this machine's clock is wrong: then try once more.
      if (Math.abs(this.#transport.nowMs() - Date.now() - skewBefore) < 1_000) throw error;
      return send();
    });
    const { agent_id, access_token, access_token_expires_at, token_type, ...terms } = answer;
    await this.#keys.forgetNext();
    this.#registration = { agent_id, boot_id: this.bootId, terms, announced: announcement };
    await saveRegistration(keyDir, this.#registration);
    this.#emit('registered', { agent_id });
    this.#seat = this.#sit(this.#registration, { access_token, access_token_expires_at, token_type });
  }

  async #resume(registration: Registration): Promise<void> {
    this.#seat = this.#sit(registration);
    this.#resuming = true;
    const { private_jwk } = await this.#seat.token().finally(() => {
      this.#resuming = false;
    });
    // Of the two keys a crash may have left behind the coordinator took this one, and the life that offered it the other is over.
    await this.#keys.took(private_jwk);
    await this.#keys.forgetNext();
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

  get #proving() {
    const { current, next } = this.#keys;
    return { private_jwk: current, next_jwk: next, proof_of_possession: this.#settings.proofOfPossession };
  }

  #sit({ agent_id, terms }: Registration, session?: Granted): Seat {
    const { url, ca, announcement } = this.#settings;
    const { heartbeat_interval_ms, lease_ttl_ms } = terms;
    const join = {
      url,
      agent_id,
      boot_id: this.bootId,
      ...this.#proving,
      heartbeat_interval_ms,
      lease_ttl_ms,
    };
    return takeSeat(
      { ...join, slots: announcement.slots, ...(ca ? { ca } : {}), ...(session ? { session } : {}) },
      // While resuming, a refusal is the answer to the question who we are, and `open` deals with it.
      (report) => (this.#resuming && report.type === 'refused' ? undefined : this.#onBeat(report)),
      this.#onKey,
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

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
