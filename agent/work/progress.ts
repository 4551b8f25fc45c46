import type { Progress } from '../handler.ts';
import type { Coordinator } from '../protocol/coordinator.ts';
import { leaseIsLost } from '../protocol/verdict.ts';
import type { LiveRun } from './live-run.ts';

const INTERVAL_MS = 1_000;
const TIMEOUT_MS = 10_000;

type Word = Omit<Parameters<Coordinator['progressRun']>[1], 'fence'>;

/** Tells how far one run is: at once, then at most once a second, the latest word winning. A word that fails is forgotten. */
export class ProgressTeller {
  readonly #coordinator: Pick<Coordinator, 'progressRun'>;
  readonly #run: LiveRun;
  #pending: Word | undefined;
  #sending: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(coordinator: Pick<Coordinator, 'progressRun'>, run: LiveRun) {
    this.#coordinator = coordinator;
    this.#run = run;
  }

  say(word: Progress & { checkpoint?: unknown }): void {
    if (this.#closed) return;
    this.#pending = { ...this.#pending, ...(word as Word) };
    if (this.#timer) return;
    this.#send();
    this.#timer = setInterval(() => this.#send(), INTERVAL_MS);
  }

  /** Ends the telling. A checkpoint not yet sent goes first if another attempt may need it. */
  async close({ keepCheckpoint }: { keepCheckpoint: boolean }): Promise<void> {
    clearInterval(this.#timer);
    this.#closed = true;
    if (!keepCheckpoint || this.#run.discarded) return;
    await this.#sending;
    if (this.#pending?.checkpoint === undefined) return;
    this.#send();
    await this.#sending;
  }

  #send(): void {
    const word = this.#pending;
    if (!word || this.#run.discarded) return;
    this.#pending = undefined;
    this.#sending = this.#sending.then(() => this.#post(word));
  }

  async #post(word: Word): Promise<void> {
    const { run_id, fence } = this.#run.assigned;
    try {
      const body = { ...word, ...(word.message ? { message: word.message.slice(0, 1_000) } : {}), fence };
      const { cancel } = await this.#coordinator.progressRun(run_id, body, AbortSignal.timeout(TIMEOUT_MS));
      if (cancel) this.#run.abort('cancelled');
    } catch (error) {
      if (leaseIsLost(error) && !this.#closed) this.#run.abort('lease-lost');
    }
  }
}
