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
/** What the contract lets a poll name, and what each name takes of a body. */
const HOLDING_MAX = 10_000;
const HOLDING_BYTES = 34;
/** The coordinator takes a mebibyte. */
const BODY_MAX_BYTES = 1_000_000;
/** An agent that is full for so long has a poll wait for cancels; one with short runs does without. */
const WATCH_AFTER_MS = 1_000;
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
  /** Stops runs. */
  onCancel(runIds: string[]): void;
  onVerdict(verdict: Exclude<Verdict, 'retry' | 'refused'>, message: string): void;
}

/**
 * Asks for work and reports results: one poll is parked at the coordinator while slots are free; results that come up
 * meanwhile go by a second, quick request (slots: 0), so that neither waits for the other and no hand-out is aborted.
 * All that finishes in one turn of the event loop goes together. While no slot is free a poll that wants none waits for
 * cancels alone; the coordinator answers it when the next one comes.
 */
export class Exchange {
  readonly #deps: ExchangeDeps;
  #parked: AbortController | undefined;
  #watching: AbortController | undefined;
  #watchSoon: NodeJS.Timeout | undefined;
  #reporting = false;
  #asking = true;
  #ended = false;
  #woken = false;
  #healing = false;
  #pause: NodeJS.Timeout | undefined;
  #restUntil = 0;
  #told = new Set<string>();

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

  /** What waits for a pause to end goes now, or as soon as the coordinator itself wishes. */
  goOn(): void {
    if (this.#pause && !this.#ended) this.#pauseFor(this.#deps.pace.heldOffMs);
  }

  /** Asks for no more work. What the aborted poll may have been handed is asked for once more, to be returned. */
  drain(): void {
    this.#asking = false;
    this.#healing ||= this.#parked !== undefined;
    this.#parked?.abort();
    this.#deps.pace.startOver();
    this.goOn();
    this.wake();
  }

  /** Gives up the polls that wait: they were asked as somebody this agent no longer is. */
  reset(): void {
    this.#parked?.abort();
    this.#watching?.abort();
  }

  get asking(): boolean {
    return this.#asking;
  }

  /** Ends all asking and reporting. */
  end(): void {
    this.#ended = true;
    this.#asking = false;
    clearTimeout(this.#pause);
    clearTimeout(this.#watchSoon);
    this.reset();
  }

  #go(): void {
    const slots = this.#deps.freeSlots();
    if (this.#asking && !this.#parked && slots > 0 && this.#rested()) void this.#park(slots);
    if (!this.#reporting && (this.#deps.results.anyWaiting || (this.#healing && !this.#parked))) void this.#report();
    if (this.#mayWatch()) this.#watchSoon ??= setTimeout(() => void this.#watch(), WATCH_AFTER_MS).unref();
    else this.#watchNoMore();
  }

  #mayWatch = (): boolean => !this.#parked && !this.#watching && this.#deps.holding().length > 0;

  #watchNoMore(): void {
    clearTimeout(this.#watchSoon);
    this.#watchSoon = undefined;
  }

  async #park(slots: number): Promise<void> {
    const parked = new AbortController();
    this.#parked = parked;
    const waitMs = this.#deps.pollWaitMs();
    const limit = setTimeout(() => parked.abort(), waitMs + PARKED_SLACK_MS);
    this.#deps.emit('polling', { slots });
    const body = { slots, wait_ms: waitMs, holding: this.#holding() };
    const sentAt = performance.now();
    // A watch that was overtaken on its way ends this poll, as this poll would have ended it.
    const watched = this.#watching !== undefined;
    const came = await this.#send(body, parked.signal, this.#deps.results.take());
    const idle = came === 'nothing' && !watched;
    clearTimeout(limit);
    this.#parked = undefined;
    // A coordinator that neither gives nor waits (this agent may be cordoned) is not to be asked in a tight loop.
    if (idle && performance.now() - sentAt < Math.min(waitMs, REST_MS)) this.#restUntil = performance.now() + REST_MS;
    this.wake();
  }

  async #watch(): Promise<void> {
    this.#watchNoMore();
    if (this.#ended || this.#pause || !this.#mayWatch()) return;
    const watching = new AbortController();
    this.#watching = watching;
    const waitMs = this.#deps.pollWaitMs();
    const limit = setTimeout(() => watching.abort(), waitMs + PARKED_SLACK_MS);
    const came = await this.#send({ slots: 0, wait_ms: waitMs, holding: this.#holding() }, watching.signal, []);
    clearTimeout(limit);
    this.#watching = undefined;
    // A cancel seldom comes alone.
    if (came === 'news') void this.#watch();
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
    await this.#send(body, AbortSignal.timeout(REPORT_TIMEOUT_MS), this.#deps.results.take());
    this.#reporting = false;
    this.wake();
  }

  #holding = () => [...new Set([...this.#deps.holding(), ...this.#deps.results.unconfirmed])].slice(0, HOLDING_MAX);

  /** One exchange; what came of it. */
  async #send(
    { holding, ...body }: { slots: number; wait_ms: number; holding?: string[] },
    signal: AbortSignal,
    batch: Weighed[],
  ): Promise<'news' | 'nothing' | 'failed'> {
    const { coordinator, bootId, results, pace } = this.#deps;
    const bytes = batch.reduce((sum, one) => sum + one.bytes, 0) + HOLDING_BYTES * (holding?.length ?? 0);
    // What would make the body too large is left out; the next poll names it.
    const named = holding && bytes < BODY_MAX_BYTES ? { holding } : {};
    const sent = batch.length ? { results: batch.map(({ result }) => result) } : {};
    try {
      const reply = await coordinator.poll({ boot_id: bootId, ...body, ...named, ...sent }, signal);
      pace.startOver();
      if (results.confirm(batch, reply.results)) this.#wait('the coordinator left results unconfirmed');
      const cancel = this.#ended ? [] : (reply.cancel ?? []);
      this.#receive(reply.runs);
      this.#deps.onCancel(cancel);
      return batch.length + reply.runs.length + this.#untold(cancel) > 0 ? 'news' : 'nothing';
    } catch (error) {
      this.#failed(error, batch);
      return 'failed';
    }
  }

  /** How many of these cancels are news: a run that does not heed its own is named again and again. */
  #untold(cancel: readonly string[]): number {
    const fresh = cancel.filter((run) => !this.#told.has(run));
    this.#told = new Set(cancel);
    return fresh.length;
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
    this.#pauseFor(retryInMs);
  }

  #pauseFor(ms: number): void {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.wake();
    }, ms);
  }
}

const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';
