import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { type Client, createClient } from '@muster/shared/client';
import type { CallOf } from '@muster/shared/contract/endpoint';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { createTask, listTasks } from '@muster/shared/contract/tasks';
import { checkCancels, checkClaims, checkResults, checkSubmits, type Finding } from '../checkers.ts';
import { eventually } from '../eventually.ts';
import { History } from '../history.ts';
import { seededRandom } from '../random.ts';
import { BEAT_MS, offer, type Phase } from './load.ts';
import { type Company, Member } from './member.ts';
import { castOf, PERSONAS, type Persona, type PersonaInput, persona } from './persona.ts';
import type { Random } from './random.ts';
import type { FleetReport } from './report.ts';
import { Ring } from './ring.ts';
import { isRefused, rest } from './session.ts';
import { Tally, TIMED } from './tally.ts';

type NewTask = NonNullable<CallOf<typeof createTask>['body']>;

export interface FleetOptions {
  /** Where its agents go: a coordinator of the kit, or any. */
  coordinator: { url: string; adminKey: string; clock?: { now(): Promise<Date> } };
  agents: number;
  /** How many owners its agents have, each by turns; one, who made the key, unless said. Who is to check another's work has another owner. */
  owners?: number;
  /** The same seed, the same behaviour; it says nothing about what the network and the machine do. */
  seed?: number;
  /** By name; one of `PERSONAS` is changed by what is said here. All are honest unless said. */
  personas?: Record<string, PersonaInput>;
  /** What its agents can do, and its tasks need; `fleet` unless said. */
  capability?: string;
  /** The right answer to a task; its `input_data` unless said. */
  answer?: Company['answer'];
  /** Where what happened is written down, a line of JSON each. */
  historyFile?: string;
}

/** Agents in this process that speak the protocol over real HTTP, each the way its persona does. */
export interface Fleet {
  members: readonly Member[];
  tally: Tally;
  history: History;
  /** Submits a task for the fleet. Retried until it is answered, and made once. */
  submit(task?: Partial<NewTask>): Promise<string>;
  /** Submits tasks as they come due; resolves when all were answered. */
  load(phases: readonly Phase[], options?: { task?: Partial<NewTask>; thinkTimeMs?: number }): Promise<void>;
  /** Submits so many tasks, one whenever fewer than `open` wait for their first answer (a closed load: a slow system slows it down). */
  feed(count: number, options: { open: number; task?: Partial<NewTask> }): Promise<void>;
  /** The tasks it submitted that have not ended. */
  open(): Promise<string[]>;
  /** The tasks it submitted. */
  submitted(): string[];
  /** Waits until every task it submitted has ended. */
  drained(options?: { timeoutMs?: number }): Promise<void>;
  /** What happened so far, judged. */
  report(): Promise<FleetReport>;
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const ENDED = new Set(['COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED', 'SKIPPED']);

/** Starts a fleet and waits until all its agents have registered. Stop it, or say `await using`. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { coordinator, agents, owners = 1, seed = 1, capability = 'fleet' } = options;
  const admin = createClient({ url: coordinator.url, credential: coordinator.adminKey });
  const personas = personasOf(options.personas);
  const tally = new Tally();
  const history = new History(options.historyFile);
  const tasks = new SubmittedTasks(admin, { capability, tally, history, random: seededRandom(`${seed} submits`) });
  const company: Company = {
    url: coordinator.url,
    capabilities: [capability],
    now: () => coordinator.clock?.now() ?? new Date(),
    answer: options.answer ?? ((input) => input),
    onTask: (taskId, what) => tasks.on(taskId, what),
    tally,
    history,
  };
  const tokens = await enrol(admin, agents, owners);
  const rings = new Map(Object.keys(personas).map((name) => [name, new Ring()]));
  const members = castOf(agents, personas).map((name, n) => {
    const identity = { name: `${name}-${n}`, ring: rings.get(name)!, enrollmentToken: tokens[n % tokens.length]! };
    return new Member(identity, personas[name]!, seededRandom(`${seed} ${n}`), company);
  });
  const began = performance.now();
  const over = new AbortController();
  setMaxListeners(0, over.signal);
  const failures: unknown[] = [];
  const lives = members.map((member) => member.live(over.signal).catch((error) => void failures.push(error)));
  const stop = async () => {
    over.abort();
    tasks.stop();
    await Promise.all(lives);
    if (failures.length > 0) throw failures[0];
  };
  try {
    await eventually(() => failures.length > 0 || members.every(({ agentId }) => agentId), {
      timeoutMs: 30_000 + 50 * agents,
    });
    if (failures.length > 0) throw failures[0];
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
  return {
    members,
    tally,
    history,
    submit: (task) => tasks.submit(task),
    load: (phases, { task, thinkTimeMs = 0 } = {}) => tasks.load(phases, task, thinkTimeMs),
    feed: (count, { open, task }) => tasks.feed(count, open, task),
    open: () => tasks.open(),
    submitted: () => tasks.submitted(),
    drained: ({ timeoutMs = 60_000 } = {}) => tasks.drained(timeoutMs),
    report: async () => ({ agents, seed, seconds: (performance.now() - began) / 1_000, ...(await tasks.judge()) }),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function personasOf(given: Record<string, PersonaInput> = { honest: {} }): Record<string, Persona> {
  const known: Record<string, PersonaInput> = PERSONAS;
  return Object.fromEntries(
    Object.entries(given).map(([name, over]) => [name, persona.parse({ ...known[name], ...over })]),
  );
}

/** A token for the agents of each owner. */
function enrol(admin: Client, agents: number, owners: number): Promise<string[]> {
  const whose = (n: number) => (owners === 1 ? {} : { owner: `fleet-${n}`, serves: 'all' as const });
  const make = async (_: unknown, n: number) => {
    const body = { max_uses: agents, ttl_seconds: 3_600, ...whose(n) };
    return (await admin(createEnrollmentToken, { body })).enrollment_token;
  };
  return Promise.all(Array.from({ length: owners }, make));
}

/** The tasks a fleet submitted, and what became of them. */
class SubmittedTasks {
  readonly #admin: Client;
  readonly #of: { capability: string; tally: Tally; history: History; random: Random };
  /** All tasks of one fleet have it. */
  readonly #tag = `fleet-${randomUUID()}`;
  readonly #over = new AbortController();
  readonly #submittedAt = new Map<string, number>();
  readonly #started = new Map<string, number>();
  readonly #completed = new Map<string, number>();

  constructor(admin: Client, of: { capability: string; tally: Tally; history: History; random: Random }) {
    this.#admin = admin;
    this.#of = of;
    setMaxListeners(0, this.#over.signal);
  }

  stop(): void {
    this.#over.abort();
  }

  /** A task may be handed out, and even be done, before its submit is answered. */
  on(taskId: string, what: 'started' | 'completed'): void {
    const seen = what === 'started' ? this.#started : this.#completed;
    if (seen.has(taskId)) return;
    seen.set(taskId, performance.now());
    this.#time(taskId, what);
  }

  #time(taskId: string, what: 'started' | 'completed'): void {
    const since = this.#submittedAt.get(taskId);
    const at = (what === 'started' ? this.#started : this.#completed).get(taskId);
    if (since !== undefined && at !== undefined) this.#of.tally.time(what === 'started' ? 'start' : 'end', at - since);
  }

  submitted(): string[] {
    return [...this.#submittedAt.keys()];
  }

  async submit(task: Partial<NewTask> = {}): Promise<string> {
    const { capability, tally, history, random } = this.#of;
    const body: NewTask = { task_type: capability, input_data: {}, ...task, tags: [...(task.tags ?? []), this.#tag] };
    // The same key each time: whatever became of the first request, there is one task.
    const headers = { 'idempotency-key': randomUUID() };
    const asked = { verified: (body.verification ?? 'none') !== 'none' };
    const since = performance.now();
    for (;;) {
      try {
        const { task_id } = await history.call('driver', 'submit', asked, async () => {
          const made = await this.#admin(createTask, { body }, { headers });
          return { task_id: made.task_id };
        });
        tally.time('submit', performance.now() - since);
        this.#submittedAt.set(task_id, since);
        for (const what of ['started', 'completed'] as const) this.#time(task_id, what);
        return task_id;
      } catch (error) {
        if (this.#over.signal.aborted || isRefused(error, 'validation-failed', 'unauthenticated', 'insufficient-scope'))
          throw error;
        tally.counts.retries += 1;
        await rest(100 + 400 * random(), this.#over.signal);
      }
    }
  }

  load(phases: readonly Phase[], task: Partial<NewTask> | undefined, thinkTimeMs: number): Promise<void> {
    const submit = (n: number) => this.submit({ input_data: { n }, ...task });
    return offer(phases, submit, { random: this.#of.random, thinkTimeMs, signal: this.#over.signal });
  }

  async feed(count: number, open: number, task: Partial<NewTask> | undefined): Promise<void> {
    const { signal } = this.#over;
    for (let n = 0; n < count && !signal.aborted; n++) {
      while (this.#submittedAt.size - this.#completed.size >= open && !signal.aborted) await rest(BEAT_MS, signal);
      await this.submit({ input_data: { n }, ...task });
    }
  }

  async #statuses(): Promise<Map<string, string>> {
    const statuses = new Map<string, string>();
    let cursor: string | undefined;
    do {
      const page = await this.#admin(listTasks, {
        query: { tag: this.#tag, limit: 200, ...(cursor ? { cursor } : {}) },
      });
      for (const { task_id, status } of page.data) statuses.set(task_id, status);
      cursor = page.next_cursor ?? undefined;
    } while (cursor);
    return statuses;
  }

  async open(): Promise<string[]> {
    return [...(await this.#statuses())].flatMap(([taskId, status]) => (ENDED.has(status) ? [] : [taskId]));
  }

  async drained(timeoutMs: number): Promise<void> {
    await eventually(
      async () => {
        const open = await this.open();
        if (open.length > 0) throw new Error(`${open.length} tasks have not ended, such as ${open[0]}`);
      },
      { timeoutMs, everyMs: 100 },
    );
  }

  async judge() {
    const { history, tally } = this.#of;
    const submits = checkSubmits(history.entries, await this.#statuses());
    const results = checkResults(history.entries);
    const promises: Finding[] = [submits, checkClaims(history.entries), results, checkCancels(history.entries)];
    const ends = [...this.#completed.values()];
    const firstAt = [...this.#submittedAt.values()].reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
    const lastAt = ends.reduce((a, b) => Math.max(a, b), 0);
    return {
      submitted: this.#submittedAt.size,
      completed_per_second: ends.length === 0 ? 0 : (1_000 * ends.length) / (lastAt - firstAt),
      lost: submits.broken.length,
      doubled: results.broken.length,
      counts: { ...tally.counts },
      times: Object.fromEntries(TIMED.map((name) => [name, tally.percentiles(name)])) as FleetReport['times'],
      promises: promises.filter(({ checked }) => checked > 0),
    };
  }
}
