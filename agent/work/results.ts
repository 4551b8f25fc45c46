import type { EarlierLife } from '../connection.ts';
import type { EventSink } from '../events.ts';
import { isBadRequest, messageOf, verdictOf } from '../protocol/verdict.ts';
import type { Outbox } from './outbox.ts';
import { storable, type Weighed, weighed } from './outcome.ts';

/** What a poll may carry: in number by the contract; in bytes so that a body stays far below the mebibyte, unless one result alone is larger. */
const BATCH_MAX = 1_000;
const BATCH_MAX_BYTES = 700_000;
const DELIVER_TIMEOUT_MS = 15_000;
/** How many confirmed runs are remembered, so that a late duplicate of their hand-out is not run again. */
const REMEMBERED_MAX = 20_000;

interface Confirmation {
  run_id: string;
  applied: boolean;
  code?: string | undefined;
}

/**
 * Results on their way to the coordinator. Each is sent until it is confirmed, applied or not; one that could not be
 * delivered at once is kept on disk until then.
 */
export class Results {
  readonly #outbox: Outbox;
  readonly #emit: EventSink;
  readonly #unconfirmed = new Map<string, Weighed>();
  /** What is on disk, or on its way there. */
  readonly #kept = new Map<string, Promise<void>>();
  readonly #confirmed = new Set<string>();
  #waiting: Weighed[] = [];
  #batchMax = BATCH_MAX;
  #holdsReturned = false;
  #whenTold: (() => void)[] = [];

  constructor(outbox: Outbox, emit: EventSink) {
    this.#outbox = outbox;
    this.#emit = emit;
  }

  /** Takes up what an earlier life could not deliver. */
  async restore(): Promise<void> {
    for (const kept of await this.#outbox.load()) {
      this.#kept.set(kept.result.run_id, Promise.resolve());
      this.add(kept);
    }
  }

  /**
   * Delivers what is waiting as the earlier life that made it, since nobody else may. What that life is refused is left for
   * this one to send: it is then told that it came too late, and forgets it.
   */
  async deliverAs({ bootId, coordinator }: EarlierLife, rest: (error: unknown) => Promise<void>): Promise<void> {
    while (this.anyWaiting) {
      const failure = await this.#deliverBatch(bootId, coordinator);
      if (failure === undefined) continue;
      if (verdictOf(failure) !== 'retry') return;
      await rest(failure);
    }
  }

  /** Why a batch did not get through, if it did not. */
  async #deliverBatch(boot_id: string, coordinator: EarlierLife['coordinator']): Promise<unknown> {
    const batch = this.take();
    const body = { boot_id, slots: 0, wait_ms: 0, results: batch.map(({ result }) => result) };
    try {
      const reply = await coordinator.poll(body, AbortSignal.timeout(DELIVER_TIMEOUT_MS));
      const silent = this.confirm(batch, reply.results);
      return silent ? new Error('the coordinator left results unconfirmed') : undefined;
    } catch (error) {
      if (isBadRequest(error)) return void this.refused(batch, messageOf(error));
      this.#waiting.unshift(...batch);
      return error;
    }
  }

  add(ended: Weighed): void {
    this.#unconfirmed.set(ended.result.run_id, ended);
    this.#waiting.push(ended);
  }

  get anyWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Runs whose result the coordinator may not have yet. */
  get unconfirmed(): string[] {
    return [...this.#unconfirmed.keys()];
  }

  /** Whether a run has ended here. */
  knows = (runId: string): boolean => this.#unconfirmed.has(runId) || this.#confirmed.has(runId);

  /** The next batch, as much as one request carries. */
  take(): Weighed[] {
    let bytes = 0;
    let count = 0;
    for (const next of this.#waiting.slice(0, this.#batchMax)) {
      bytes += next.bytes;
      if (count > 0 && bytes > BATCH_MAX_BYTES) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  /** What the coordinator said of a batch. What it did not mention is sent again; whether there was such. */
  confirm(batch: Weighed[], confirmations: Confirmation[]): boolean {
    const byId = new Map(confirmations.map((confirmation) => [confirmation.run_id, confirmation]));
    const silent = batch.filter(({ result }) => !byId.has(result.run_id));
    for (const sent of batch) {
      const confirmation = byId.get(sent.result.run_id);
      if (confirmation) this.#confirm(sent, confirmation);
    }
    this.#sendAgain(silent);
    this.#batchMax = BATCH_MAX;
    return silent.length > 0;
  }

  /** A batch that did not get through: sent again later, kept on disk until then. */
  putBack(batch: Weighed[]): void {
    for (const unsent of this.#sendAgain(batch)) void this.#keep(unsent);
  }

  /** What of a batch is to be sent again, and will be. */
  #sendAgain(batch: Weighed[]): Weighed[] {
    const unsent = batch.filter(
      (one) => this.#unconfirmed.has(one.result.run_id) && !(this.#holdsReturned && isReturned(one)),
    );
    this.#waiting.unshift(...unsent);
    return unsent;
  }

  /** A batch the coordinator will never take. One result spoils a batch: they go one by one, and the culprit as a failure. */
  refused(batch: Weighed[], message: string): void {
    if (batch.length !== 1) {
      this.#batchMax = 1;
      this.#sendAgain(batch);
      return;
    }
    const [{ result }] = batch as [Weighed];
    const { run_id, fence } = result;
    if (result.error?.code === 'result-refused') {
      this.#confirm({ result, bytes: 0 }, { run_id, applied: false });
      return;
    }
    const error = {
      message: storable(message),
      code: 'result-refused',
      fault: 'task',
      retryable: false,
    } as const;
    const failure = weighed({ run_id, fence, outcome: 'FAILED', error });
    this.#unconfirmed.set(run_id, failure);
    this.#waiting.unshift(failure);
  }

  /** What is given back is not told by itself any more: who leaves has it queued again by that. */
  holdReturned(): void {
    this.#holdsReturned = true;
    this.#waiting = this.#waiting.filter((one) => !isReturned(one));
  }

  /** Whether anything was given back that the coordinator may not know of. */
  get anyReturned(): boolean {
    return [...this.#unconfirmed.values()].some(isReturned);
  }

  /** Resolves when nothing is unconfirmed but what was given back. */
  told(): Promise<void> {
    if (this.#isTold) return Promise.resolve();
    return new Promise((resolve) => this.#whenTold.push(resolve));
  }

  /** Puts on disk what is unconfirmed, all of it or all but what was given back: this life ends without having delivered it. */
  async keep(of: 'all' | 'work'): Promise<void> {
    const unsent = [...this.#unconfirmed.values()].filter((one) => of === 'all' || !isReturned(one));
    await Promise.all(unsent.map((one) => this.#keep(one)));
  }

  /** The coordinator has heard that this life is over. */
  forgetReturned(): void {
    for (const { result } of [...this.#unconfirmed.values()].filter(isReturned)) this.#forget(result.run_id);
  }

  get #isTold(): boolean {
    for (const unsent of this.#unconfirmed.values()) if (!isReturned(unsent)) return false;
    return true;
  }

  #confirm({ result }: Weighed, { applied, code }: Confirmation): void {
    const { run_id, outcome } = result;
    this.#forget(run_id);
    this.#remember(run_id);
    this.#emit('reported', { run_id, outcome, applied, ...(code ? { code } : {}) });
    if (this.#whenTold.length > 0 && this.#isTold) for (const resolve of this.#whenTold.splice(0)) resolve();
  }

  #forget(runId: string): void {
    this.#unconfirmed.delete(runId);
    if (this.#kept.delete(runId)) void this.#outbox.drop(runId).catch(() => undefined);
  }

  #remember(runId: string): void {
    this.#confirmed.add(runId);
    if (this.#confirmed.size > REMEMBERED_MAX) this.#confirmed.delete(this.#confirmed.values().next().value as string);
  }

  #keep(unsent: Weighed): Promise<void> {
    const { run_id } = unsent.result;
    const writing = this.#kept.get(run_id) ?? this.#write(unsent);
    this.#kept.set(run_id, writing);
    return writing;
  }

  async #write(unsent: Weighed): Promise<void> {
    const { run_id } = unsent.result;
    try {
      await this.#outbox.keep(unsent);
      // Confirmed while the file was being written: then it must go again.
      if (!this.#unconfirmed.has(run_id)) await this.#outbox.drop(run_id);
    } catch (error) {
      this.#kept.delete(run_id);
      this.#emit('warning', { message: `the result of ${run_id} could not be kept on disk: ${error}` });
    }
  }
}

const isReturned = ({ result }: Weighed): boolean => result.outcome === 'RETURNED';
