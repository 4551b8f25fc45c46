// @ts-check
import { authorisation, sendAuthorised } from '../protocol/authorised.js';
import { Refusal } from '../protocol/refusal.js';
import { post, Session } from './session.js';

/** @typedef {import('./messages.ts').Join} Join */
/** @typedef {import('./messages.ts').HeldRun} HeldRun */
/** @typedef {import('./messages.ts').BeatReport} BeatReport */
/** @typedef {import('./messages.ts').Credential} Credential */
/** @typedef {import('../protocol/transport.js').Transport} Transport */

const RETRY_MS = 1_000;
const JITTER = 0.05;

/**
 * How long after the last beat that got through work must stop: before the lease ends by its margin of 3 s or a tenth
 * (never more than half of it), whatever the wall clocks say.
 * @param {number} leaseTtlMs
 */
export const fenceAfterMs = (leaseTtlMs) => leaseTtlMs - Math.min(Math.max(3_000, leaseTtlMs / 10), leaseTtlMs / 2);

/** The heartbeat of one agent: beats, keeps the token fresh, and fences the agent off when it cannot be heard. */
export class Pulse {
  /** @type {Map<string, HeldRun>} */
  #held = new Map();
  /** @type {NodeJS.Timeout | undefined} */
  #next;
  /** @type {NodeJS.Timeout | undefined} */
  #fence;
  #stopped = false;
  #join;
  #transport;
  #tell;
  #session;
  #intervalMs;
  #leaseTtlMs;
  #slotsFree;

  /** @param {Join} join @param {Transport} transport @param {(report: BeatReport) => void} tell */
  constructor(join, transport, tell) {
    this.#join = join;
    this.#transport = transport;
    this.#tell = tell;
    this.#intervalMs = join.heartbeat_interval_ms;
    this.#leaseTtlMs = join.lease_ttl_ms;
    this.#slotsFree = join.slots;
    this.#session = new Session(join, transport, (credential) => this.#hasToken(credential));
  }

  /** @param {{ held: HeldRun[], gone: string[], slots_free: number }} change */
  runs({ held, gone, slots_free }) {
    for (const run of held) this.#held.set(run.run_id, run);
    for (const id of gone) this.#held.delete(id);
    this.#slotsFree = slots_free;
  }

  /** @param {string} [refused] */
  async renew(refused) {
    try {
      this.#tell({ type: 'token', credential: await this.#session.renew(refused) });
    } catch (error) {
      if (!this.#refused(error)) this.#tell({ type: 'token-failed', message: messageOf(error) });
    }
  }

  /** @param {import('node:crypto').JsonWebKey} next */
  async rotate(next) {
    const failed = (/** @type {unknown} */ error, final = false) =>
      this.#tell({ type: 'rotate-failed', message: messageOf(error), final });
    try {
      const failure = await this.#session.rotate(next);
      if (failure) failed(failure, failure instanceof Refusal && failure.final);
      else this.#tell({ type: 'rotated' });
    } catch (error) {
      if (!this.#refused(error)) failed(error);
    }
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#next);
    clearTimeout(this.#fence);
  }

  /** @param {Credential} credential */
  #hasToken(credential) {
    this.#tell({ type: 'token', credential });
    if (this.#next || this.#stopped) return;
    this.#armFence(performance.now());
    this.#next = setTimeout(() => this.#beat(), 0);
  }

  async #beat() {
    const sentAt = performance.now();
    let pauseMs = Math.min(RETRY_MS, this.#intervalMs);
    try {
      const reply = await this.#send();
      if (this.#stopped) return;
      this.#gotThrough(sentAt, reply);
      pauseMs = sentAt + this.#intervalMs * (1 + JITTER * (Math.random() * 2 - 1)) - performance.now();
    } catch (error) {
      if (this.#stopped || this.#refused(error)) return;
      // Heard, and not written down: nobody is given up while the database is away, nor for a lease time after.
      if (isStorageAway(error)) this.#armFence(sentAt);
      this.#tell({ type: 'beat-failed', message: messageOf(error) });
    }
    this.#next = setTimeout(() => this.#beat(), Math.max(pauseMs, 0));
  }

  async #send() {
    const { url, agent_id, boot_id } = this.#join;
    const path = `${url}/ains/agents/${agent_id}/heartbeat`;
    const timeoutMs = Math.max(2_000, Math.min(10_000, this.#leaseTtlMs / 3));
    return sendAuthorised(this.#session, (credential) => {
      const body = {
        boot_id,
        status: 'ACTIVE',
        slots_free: this.#slotsFree,
        runs: [...this.#held.values()],
        uptime_ms: Math.round(process.uptime() * 1_000),
      };
      const headers = authorisation(credential, 'POST', path, this.#transport.nowMs());
      return post(this.#transport, path, body, timeoutMs, headers);
    });
  }

  /** @param {number} sentAt @param {any} reply */
  #gotThrough(sentAt, { lost, cancel, drain, heartbeat_interval_ms, lease_expires_at, server_time }) {
    this.#intervalMs = heartbeat_interval_ms;
    this.#leaseTtlMs = Math.max(Date.parse(lease_expires_at) - Date.parse(server_time), 0) || this.#leaseTtlMs;
    this.#armFence(sentAt);
    const about = { runs: this.#held.size, slots_free: this.#slotsFree, lease_ttl_ms: this.#leaseTtlMs };
    this.#tell({ type: 'beat', lost, cancel, drain, ...about });
  }

  /** @param {number} sentAt */
  #armFence(sentAt) {
    clearTimeout(this.#fence);
    const dueInMs = sentAt + fenceAfterMs(this.#leaseTtlMs) - performance.now();
    this.#fence = setTimeout(() => this.#tell({ type: 'fenced' }), Math.max(dueInMs, 0));
  }

  /** Stops beating when the coordinator has nothing to do with this agent any more. @param {unknown} error */
  #refused(error) {
    if (!(error instanceof Refusal) || !error.verdict) return false;
    this.stop();
    this.#tell({ type: 'refused', verdict: error.verdict, message: error.message });
    return true;
  }
}

/** @param {unknown} error */
const isStorageAway = (error) => error instanceof Refusal && error.code === 'storage-unavailable';

/** @param {unknown} error */
const messageOf = (error) => (error instanceof Error ? error.message || error.name : String(error));
