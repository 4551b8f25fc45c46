import { appendFileSync, writeFileSync } from 'node:fs';
import { ProblemError } from '@muster/shared/errors';

/** One line of a history. `unknown`: it may have been done or not, nobody was told. */
export interface Entry {
  /** Milliseconds since the history began, on a clock that never jumps. */
  at: number;
  /** Which call: its `invoke` and what became of it have the same. */
  call: number;
  process: string;
  op: string;
  phase: 'invoke' | 'ok' | 'fail' | 'unknown';
  /** What was asked (`invoke`), what was answered (`ok`), why not. */
  value?: unknown;
}

/** What processes asked of a system and were told, in the order they saw it: what checkers judge. */
export class History {
  readonly entries: Entry[] = [];
  readonly #file: string | undefined;
  readonly #began = performance.now();
  #calls = 0;

  /** With a file, each entry is appended to it at once, a line of JSON. */
  constructor(file?: string) {
    this.#file = file;
    if (file) writeFileSync(file, '');
  }

  /** Makes a call and writes down what became of it. Throws what the call throws. */
  async call<T>(process: string, op: string, value: unknown, make: () => Promise<T>): Promise<T> {
    const call = ++this.#calls;
    this.#write({ call, process, op, phase: 'invoke', value });
    try {
      const answer = await make();
      this.#write({ call, process, op, phase: 'ok', value: answer });
      return answer;
    } catch (error) {
      const [phase, why] = fateOf(error);
      this.#write({ call, process, op, phase, value: why });
      throw error;
    }
  }

  /** Writes down a call that somebody else made and told of: what was asked, and what was answered. */
  told(process: string, op: string, value: unknown, answer: unknown): void {
    const call = ++this.#calls;
    this.#write({ call, process, op, phase: 'invoke', value });
    this.#write({ call, process, op, phase: 'ok', value: answer });
  }

  #write(entry: Omit<Entry, 'at'>): void {
    const dated = { at: performance.now() - this.#began, ...entry };
    this.entries.push(dated);
    if (this.#file) appendFileSync(this.#file, `${JSON.stringify(dated)}\n`);
  }
}

/** A refusal in the coordinator's own words says that nothing was done; everything else leaves it open. */
function fateOf(error: unknown): ['fail' | 'unknown', string] {
  if (!(error instanceof ProblemError)) return ['unknown', String(error)];
  return [error.status < 500 ? 'fail' : 'unknown', error.code];
}
