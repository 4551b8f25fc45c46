import { setMaxListeners } from 'node:events';
import * as protocol from '@muster/shared/contract/dispatch';
import { fenceOf } from '@muster/shared/ids';
import type { History } from '../history.ts';
import type { Persona } from './persona.ts';
import { chance, lognormalMs, type Random } from './random.ts';
import type { Ring } from './ring.ts';
import { isRefused, rest, Session } from './session.ts';
import type { Tally } from './tally.ts';

/** What all agents of a fleet have in common. */
export interface Company {
  url: string;
  capabilities: string[];
  /** The coordinator's time. */
  now(): Date | Promise<Date>;
  /** The right answer to a task. */
  answer(input: Run['input_data']): Run['input_data'];
  /** A run of a task was handed to somebody, or completed it. */
  onTask(taskId: string, what: 'started' | 'completed'): void;
  tally: Tally;
  history: History | undefined;
}

/** Who an agent of a fleet is. */
export interface Identity {
  name: string;
  enrollmentToken: string;
  /** With whom it conspires, where it does. */
  ring: Ring;
}

type Run = protocol.AssignedRun;
type Outcome = 'COMPLETED' | 'FAILED' | 'CANCELLED';

/** One agent of a fleet: it speaks the protocol by hand, as its persona would. */
export class Member {
  readonly name: string;
  readonly persona: Persona;
  readonly #company: Company;
  readonly #random: Random;
  readonly #session: Session;
  readonly #ring: Ring;
  readonly #held = new Map<string, AbortController>();
  /** How many of its answers were taken, and how many there had been when the first wrong one was. */
  answers = 0;
  firstWrongAt: number | undefined;
  /** The tasks it gave a wrong answer to. */
  readonly lies = new Set<string>();
  #begun = 0;
  #silentUntil = 0;
  #freed: () => void = () => {};

  constructor({ name, enrollmentToken, ring }: Identity, persona: Persona, random: Random, company: Company) {
    this.name = name;
    this.#ring = ring;
    this.persona = persona;
    this.#company = company;
    this.#random = random;
    this.#session = new Session({
      url: company.url,
      enrollmentToken,
      now: async () => new Date((await company.now()).getTime() + persona.clock_skew_ms),
      random,
      onRetry: () => {
        company.tally.counts.retries += 1;
      },
    });
  }

  get agentId(): string {
    return this.#session.agentId;
  }

  /** Lives until it is told to stop, and leaves then, or until it is gone for good. */
  async live(stop: AbortSignal): Promise<void> {
    const { counts } = this.#company.tally;
    while (!stop.aborted) {
      const life = new AbortController();
      const signal = AbortSignal.any([stop, life.signal]);
      // Each of its runs waits for it.
      setMaxListeners(0, signal);
      signal.addEventListener('abort', () => this.#freed(), { once: true });
      await this.#session.persist(() => this.#session.open(this.#announcement), signal);
      if (signal.aborted) break;
      counts.agents += 1;
      await Promise.all([this.#beat(signal), this.#work(life, signal)]);
      counts.agents -= 1;
      this.#held.clear();
      if (stop.aborted) break;
      counts.vanished += 1;
      if (this.persona.return_ms === undefined) return;
      await rest(this.persona.return_ms, stop);
      if (!stop.aborted) counts.returned += 1;
    }
    if (this.agentId)
      await this.#session.call(protocol.leave, { params: this.#session.params, body: this.#boot }).catch(() => {});
  }

  get #announcement() {
    const { capabilities = this.#company.capabilities, slots, labels } = this.persona;
    return { display_name: this.name, capabilities, slots, labels };
  }

  get #boot() {
    return { boot_id: this.#session.bootId };
  }

  async #beat(signal: AbortSignal): Promise<void> {
    const { heartbeatIntervalMs } = this.#session;
    // Not all at once.
    await rest(this.#random() * heartbeatIntervalMs, signal);
    for (; !signal.aborted; await rest(heartbeatIntervalMs, signal)) {
      if (performance.now() < this.#silentUntil || chance(this.#random, this.persona.missed_beat_rate)) continue;
      const runs = [...this.#held.keys()].map((run_id) => ({ run_id, fence: fenceOf(run_id) }));
      const body = { ...this.#boot, status: 'ACTIVE' as const, slots_free: this.#free, runs };
      const call = { params: this.#session.params, body };
      const since = performance.now();
      const answer = await this.#session.persist(
        () => this.#session.call(protocol.heartbeat, call, { signal }),
        signal,
      );
      if (!answer) return;
      this.#company.tally.time('beat', performance.now() - since);
      for (const runId of answer.lost) this.#held.get(runId)?.abort('lost');
      this.#cancel(answer.cancel);
    }
  }

  #cancel(runIds: readonly string[] = []): void {
    if (this.persona.refuse_cancel) return;
    for (const runId of runIds) this.#held.get(runId)?.abort('cancelled');
  }

  get #free(): number {
    return Math.max(0, this.persona.slots - this.#held.size);
  }

  async #work(life: AbortController, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const silentMs = this.#silentUntil - performance.now();
      if (silentMs > 0) await rest(silentMs, signal);
      else if (this.#free === 0) await this.#slotFreed(signal);
      else for (const run of await this.#poll(signal)) void this.#do(run, life, signal);
    }
  }

  #slotFreed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#freed = resolve;
      if (signal.aborted) resolve();
    });
  }

  /** Runs this agent has not had yet. */
  async #poll(signal: AbortSignal): Promise<Run[]> {
    const { tally } = this.#company;
    tally.counts.polls += 1;
    const holding = [...this.#held.keys()];
    const body = { ...this.#boot, slots: this.#free, wait_ms: this.#session.pollWaitMs, holding };
    const call = { params: this.#session.params, body };
    const poll = () => this.#told('poll', { holding }, () => this.#session.call(protocol.poll, call, { signal }));
    const answer = await this.#session.persist(poll, signal);
    this.#cancel(answer?.cancel);
    return answer?.runs.filter((run) => !this.#held.has(run.run_id)) ?? [];
  }

  #told<T>(op: 'poll' | 'result', value: unknown, make: () => Promise<T>): Promise<T> {
    return this.#company.history?.call(this.name, op, value, make) ?? make();
  }

  /** Does one run the way this agent does. All chances are drawn at once: a seed means the same whatever happens meanwhile. */
  async #do(run: Run, life: AbortController, signal: AbortSignal): Promise<void> {
    const { persona } = this;
    const draw = (rate: number) => chance(this.#random, rate);
    const does = {
      vanish: draw(persona.vanish_rate),
      late: draw(persona.late_rate),
      fail: draw(persona.failure_rate),
      lie: draw(persona.wrong_rate) && this.#isBad(this.#begun),
      repeat: draw(persona.double_rate),
      tookMs: typeof persona.speed_ms === 'number' ? persona.speed_ms : lognormalMs(this.#random, persona.speed_ms),
    };
    this.#begun += 1;
    if (persona.ring) this.#ring.join(run.task_id, this.name);
    this.#company.tally.counts.claimed += 1;
    this.#company.onTask(run.task_id, 'started');
    if (does.vanish) return life.abort();
    const own = new AbortController();
    this.#held.set(run.run_id, own);
    if (does.late) this.#silentUntil = performance.now() + persona.late_ms;
    await rest(does.late ? persona.late_ms : does.tookMs, AbortSignal.any([signal, own.signal]));
    if (!signal.aborted && own.signal.reason !== 'lost') {
      const outcome = own.signal.aborted ? 'CANCELLED' : does.fail ? 'FAILED' : 'COMPLETED';
      const liar = outcome === 'COMPLETED' ? this.#liar(run, does.lie) : undefined;
      const report = () => this.#report(run, outcome, liar, signal);
      await Promise.all(does.repeat ? [report(), report()] : [report()]);
    }
    this.#held.delete(run.run_id);
    this.#freed();
  }

  /** Whether what it does is wrong by now, as often as it is. */
  #isBad(begun: number): boolean {
    const { good_runs, bad_runs = Number.POSITIVE_INFINITY } = this.persona;
    return begun % (good_runs + bad_runs) >= good_runs;
  }

  /** Whose lie it tells, if any. */
  #liar({ task_id }: Run, lies: boolean): string | undefined {
    const { ring } = this.persona;
    if (ring && this.#ring.lies(task_id, ring)) return 'the ring';
    return lies ? this.name : undefined;
  }

  async #report(run: Run, outcome: Outcome, liar: string | undefined, signal: AbortSignal): Promise<void> {
    const { tally, onTask } = this.#company;
    const call = { params: { run_id: run.run_id }, body: { fence: run.fence, ...this.#saying(run, outcome, liar) } };
    const asked = { task_id: run.task_id, fence: run.fence, outcome };
    const since = performance.now();
    try {
      const report = () =>
        this.#told('result', asked, () => this.#session.call(protocol.reportResult, call, { signal }));
      const verdict = await this.#session.persist(report, signal);
      if (!verdict) return;
      tally.time('result', performance.now() - since);
      tally.verdict(outcome, verdict.applied, liar !== undefined);
      if (!verdict.applied || outcome !== 'COMPLETED') return;
      if (liar) {
        this.firstWrongAt ??= this.answers;
        this.lies.add(run.task_id);
      }
      this.answers += 1;
      onTask(run.task_id, 'completed');
    } catch (error) {
      if (isRefused(error, 'task-terminal')) tally.counts.terminal += 1;
      else if (isRefused(error, 'stale-lease', 'not-found')) tally.counts.stale += 1;
      else throw error;
    }
  }

  #saying(run: Run, outcome: Outcome, liar: string | undefined) {
    if (outcome === 'FAILED') return { outcome, error: { message: `${this.name} failed` } };
    if (outcome === 'CANCELLED') return { outcome };
    const right = this.#company.answer(run.input_data);
    return { outcome, result_data: liar ? { not: right, says: liar } : right };
  }
}
