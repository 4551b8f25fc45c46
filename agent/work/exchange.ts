import type { AssignedRun } from '@muster/shared/contract/dispatch';
import type { EventSink } from '../events.ts';
import type { Coordinator } from '../protocol/coordinator.ts';
import type { Pace } from '../protocol/pace.ts';
import { isBadRequest, messageOf, type Verdict, verdictOf } from '../protocol/verdict.ts';
import type { Weighed } from './outcome.ts';
import type { Results } from './results.ts';

const REPORT_TIMEOUT_MS = 15_000;
/** How much longer than it asked to wait a poll may take. */
const PARKED_SLACK_MS = 15_000;
/** What the contract lets a poll name. */
const HOLDING_MAX = 10_000;
/** The pause after a poll that was answered at once with nothing. */
const REST_MS = 1_000;

export interface ExchangeDeps {
  coordinator: Pick<Coordinator, 'poll'>;
  bootId: string;
  results: Results;
  pace: Pace;
  emit: EventSink;
  pollWaitMs(): number;
  freeSlots(): number;
  /** Runs that are live here, by id. */
  holding(): string[];
  /** Takes runs that are new to this agent. */
  onRuns(runs: AssignedRun[]): void;
  onVerdict(verdict: Exclude<Verdict, 'retry' | 'refused'>, message: string): void;
}

/**
 * Asks for work and reports results: one poll is parked at the coordinator while slots are free; results that come up
 * meanwhile go by a second, quick request (slots: 0), so that neither waits for the other and no hand-out is aborted.
 * All that finishes in one turn of the event loop goes together.
 */
export class Exchange {
  readonly #deps: ExchangeDeps;
  #parked: AbortController | undefined;
  #reporting = false;
  #asking = true;
  #ended = false;
  #woken = false;
  #healing = false;
  #pause: NodeJS.Timeout | undefined;
  #restUntil = 0;

  constructor(deps: ExchangeDeps) {
    this.#deps = deps;
  }

  /** Something changed: a slot got free, a result came up. */
  wake = (): void => {
    if (this.#woken) return;
    this.#woken = true;
    setImmediate(() => {
      this.#woken = false;
      if (!this.#ended && !this.#pause) this.#go();
    });
  };

  /** Asks for no more work. What the aborted poll may have been handed is asked for once more, to be returned. */
  drain(): void {
    this.#asking = false;
    this.#healing = this.#parked !== undefined;
    this.#parked?.abort();
    this.wake();
  }

  /** Gives up the parked poll: it was asked as somebody this agent no longer is. */
  reset(): void {
    this.#parked?.abort();
  }

  get asking(): boolean {
    return this.#asking;
  }

  /** Ends all asking and reporting. */
  end(): void {
    this.#ended = true;
    this.#asking = false;
    clearTimeout(this.#pause);
    this.#parked?.abort();
  }

  #go(): void {
    const slots = this.#deps.freeSlots();
    if (this.#asking && !this.#parked && slots > 0 && this.#rested()) void this.#park(slots);
    if (!this.#reporting && (this.#deps.results.anyWaiting || (this.#healing && !this.#parked))) void this.#report();
  }

  async #park(slots: number): Promise<void> {
    const parked = new AbortController();
    this.#parked = parked;
    const waitMs = this.#deps.pollWaitMs();
    const limit = setTimeout(() => parked.abort(), waitMs + PARKED_SLACK_MS);
    this.#deps.emit('polling', { slots });
    const body = { slots, wait_ms: waitMs, holding: this.#holding() };
    const sentAt = performance.now();
    const idle = await this.#send(body, parked.signal);
    clearTimeout(limit);
    this.#parked = undefined;
    // A coordinator that neither gives nor waits (this agent may be cordoned) is not to be asked in a tight loop.
    if (idle && performance.now() - sentAt < Math.min(waitMs, REST_MS)) this.#restUntil = performance.now() + REST_MS;
    this.wake();
  }

  /** Whether the next poll may go; if not, wakes when it may. */
  #rested(): boolean {
    const restMs = this.#restUntil - performance.now();
    if (restMs > 0) setTimeout(this.wake, restMs).unref();
    return restMs <= 0;
  }

  async #report(): Promise<void> {
    this.#reporting = true;
    // While a poll is parked its reply may be under way: what that carries is not missing, so nothing is asked to heal.
    const body = { slots: 0, wait_ms: 0, ...(this.#parked ? {} : { holding: this.#holding() }) };
    if (!this.#parked) this.#healing = false;
    await this.#send(body, AbortSignal.timeout(REPORT_TIMEOUT_MS));
    this.#reporting = false;
    this.wake();
  }

  #holding = () => [...new Set([...this.#deps.holding(), ...this.#deps.results.unconfirmed])].slice(0, HOLDING_MAX);

  /** One exchange; whether nothing came of it. */
  async #send(body: { slots: number; wait_ms: number; holding?: string[] }, signal: AbortSignal): Promise<boolean> {
    const { coordinator, bootId, results, pace } = this.#deps;
    const batch = results.take();
    const sent = batch.map(({ result }) => result);
    try {
      const reply = await coordinator.poll(
        { boot_id: bootId, ...body, ...(sent.length ? { results: sent } : {}) },
        signal,
      );
      pace.succeeded();
      if (results.confirm(batch, reply.results)) this.#wait('the coordinator left results unconfirmed');
      this.#receive(reply.runs);
      return batch.length + reply.runs.length === 0;
    } catch (error) {
      this.#failed(error, batch);
      return false;
    }
  }

  #receive(runs: AssignedRun[]): void {
    if (this.#ended) return;
    const { holding, results, onRuns } = this.#deps;
    const held = new Set(holding());
    const fresh = runs.filter(({ run_id }) => !held.has(run_id) && !results.knows(run_id));
    if (fresh.length > 0) onRuns(fresh);
  }

  #failed(error: unknown, batch: Weighed[]): void {
    const { results, onVerdict } = this.#deps;
    const verdict = verdictOf(error);
    if (isBadRequest(error) && batch.length > 0) {
      results.refused(batch, messageOf(error));
      return;
    }
    results.putBack(batch);
    if (this.#ended || (!this.#asking && isAbort(error))) return;
    if (verdict === 'retry' || verdict === 'refused') this.#wait(messageOf(error));
    else onVerdict(verdict, messageOf(error));
  }

  #wait(message: string): void {
    if (this.#pause || this.#ended) return;
    const retryInMs = this.#deps.pace.failed();
    this.#deps.emit('unreachable', { message, retry_in_ms: retryInMs });
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.wake();
    }, retryInMs);
  }
}

const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';
