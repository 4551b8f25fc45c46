import { type Command, type Life, type Line, nextLine, signal, startLife } from './process-life.ts';

export type { Line } from './process-life.ts';

export interface ProcessSpec extends Command {
  /** For failure messages. */
  name: string;
  /** Which line of output says that it is ready. */
  ready: (line: Line) => boolean;
  /** How long it may take until then; a minute unless said, as it is to come back on a busy machine too. */
  readyMs?: number;
  /** Hears each line of output, in every life. */
  hear?: (line: Line) => void;
}

const TAIL_LINES = 500;

/** A real process under the hand of a test: started, stopped, killed, frozen, started again. */
export class TestProcess {
  readonly name: string;
  readonly #spec: ProcessSpec;
  readonly #output: string[] = [];
  #life: Life | undefined;
  #readyLine: Line = {};

  constructor(spec: ProcessSpec) {
    this.name = spec.name;
    this.#spec = spec;
  }

  /** The number of the life it leads, or led last. */
  get pid(): number {
    return this.#current().pid;
  }

  get running(): boolean {
    return this.#life?.ended === false;
  }

  /** The line that said it was ready. */
  get readyLine(): Line {
    return this.#readyLine;
  }

  /** Starts it if it does not run, and waits until it is ready. */
  async start(): Promise<this> {
    if (this.running) return this;
    this.#life = startLife(this.#spec, (text) => {
      this.#output.push(text);
      if (this.#output.length > TAIL_LINES) this.#output.shift();
    });
    const { hear } = this.#spec;
    if (hear) this.#life.listeners.add((line) => line && hear(line));
    try {
      this.#readyLine = await this.waitForLine(this.#spec.ready, { timeoutMs: this.#spec.readyMs ?? 60_000 });
    } catch (error) {
      await this.stop({ graceMs: 0 });
      throw error;
    }
    return this;
  }

  /** Sends a signal (SIGKILL unless said) and does not wait. `group`: to its group too, as Ctrl-C in a terminal does. */
  kill(name: NodeJS.Signals = 'SIGKILL', options: { group?: boolean } = {}): void {
    if (this.running) signal(this.pid, name, options);
  }

  /** It stands still, as on an overloaded machine, until `resume`. */
  freeze(): void {
    this.kill('SIGSTOP');
  }

  resume(): void {
    this.kill('SIGCONT');
  }

  /** Its exit code when it has ended, or null if a signal ended it. */
  ended(): Promise<number | null> {
    return this.#current().exitCode;
  }

  /** SIGTERM, then SIGKILL if it has not ended in time, also to what it left behind in its group. Answers its exit code. */
  async stop({ graceMs = 15_000 } = {}): Promise<number | null> {
    if (!this.#life) return null;
    const { pid, exitCode } = this.#life;
    this.kill('SIGTERM');
    this.resume();
    const impatience = setTimeout(() => this.kill('SIGKILL'), graceMs);
    const code = await exitCode;
    clearTimeout(impatience);
    signal(pid, 'SIGKILL', { group: true });
    return code;
  }

  /** Ends it by a signal (SIGTERM unless said), and starts it again when it has ended. */
  async restart(name: NodeJS.Signals = 'SIGTERM'): Promise<this> {
    this.kill(name);
    this.resume();
    await this.ended();
    return this.start();
  }

  /** The first line of this life that matches, said already or within the time. */
  async waitForLine(matches: (line: Line) => boolean, { timeoutMs = 10_000 } = {}): Promise<Line> {
    try {
      return await nextLine(this.#current(), matches, timeoutMs);
    } catch (error) {
      throw new Error(
        `waiting for a line of ${this.name}: ${(error as Error).message}. Its last output:\n${this.tail()}`,
      );
    }
  }

  /** The last lines of output, of all its lives. */
  tail(lines = 40): string {
    return this.#output.slice(-lines).join('\n');
  }

  #current(): Life {
    if (!this.#life) throw new Error(`${this.name} was never started`);
    return this.#life;
  }
}
