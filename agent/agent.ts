import { setTimeout as sleep } from 'node:timers/promises';
import type { AssignedRun } from '@muster/shared/contract/dispatch';
import type { SeatReport } from './beat/seat.ts';
import { Connection } from './connection.ts';
import { type EndReason, EventBus, type EventName, type Listener } from './events.ts';
import { type AgentOptions, type Settings, settingsOf } from './options.ts';
import { Pace } from './protocol/pace.ts';
import { type AgentVerdict, messageOf } from './protocol/verdict.ts';
import { Exchange } from './work/exchange.ts';
import { aborted, sayGoodbye } from './work/goodbye.ts';
import { asHeld, LiveRuns } from './work/live-runs.ts';
import { Outbox } from './work/outbox.ts';
import { Results } from './work/results.ts';
import { GRACE_MS, runTask } from './work/task-run.ts';

/** How long an agent that goes tries to deliver its last results, which are on disk otherwise. */
const LAST_DELIVERY_MS = { drained: 15_000, stopped: 3_000 };
/** How long an agent that ends waits for handlers it has aborted. */
const SETTLE_MS = 3_000;

/** An agent: it registers, beats, polls, runs what it is handed, reports. */
export interface Agent {
  /** Connects, waiting for a coordinator that is not there yet; resolves when beats and polls go. */
  start(): Promise<void>;
  /** Takes no more work, finishes what it has, leaves. */
  drain(): Promise<void>;
  /** Stops now: aborts its runs, gives them back, leaves. */
  stop(): Promise<void>;
  /**
   * Gives the agent a new key; runs go on meanwhile. Once it resolves the old key is of no use to anybody. It may reject with
   * the end unknown, the coordinator being away: whichever key the coordinator takes then is used, also after a crash.
   */
  rotateKey(): Promise<void>;
  /** Its id, once registered. */
  readonly agentId: string | undefined;
  /** Resolves when its life has ended, and why. Never rejects. */
  readonly done: Promise<EndReason>;
  /** Listens to an event; what it returns stops listening. */
  on<N extends EventName>(name: N, listener: Listener<N>): () => void;
}

/** Makes an agent; `start` starts it. */
export function createAgent(options: AgentOptions): Agent {
  const settings = settingsOf(options);
  const events = new EventBus(options.onEvent ? [options.onEvent] : []);
  const life = new AgentLife(settings, events);
  return {
    start: () => life.start(),
    drain: () => life.drain(),
    stop: () => life.stop(),
    rotateKey: () => life.rotateKey(),
    get agentId() {
      return life.agentId;
    },
    done: life.done,
    on: (name, listener) => events.on(name, listener),
  };
}

/** One life of an agent, from start to end; it holds the parts together. */
class AgentLife {
  readonly done: Promise<EndReason>;
  readonly #settings: Settings;
  readonly #events: EventBus;
  readonly #pace = new Pace();
  readonly #runs: LiveRuns;
  readonly #results: Results;
  readonly #connection: Connection;
  readonly #exchange: Exchange;
  #gone: string[] = [];
  #fenced = false;
  #beatFailed = false;
  #reopening = false;
  #ending: Promise<void> | undefined;
  #leaving = false;
  #ended = false;
  #over!: (reason: EndReason) => void;
  readonly #hurry = new AbortController();

  constructor(settings: Settings, events: EventBus) {
    this.#settings = settings;
    this.#events = events;
    this.done = new Promise((resolve) => {
      this.#over = resolve;
    });
    this.#runs = new LiveRuns(settings.announcement.slots);
    this.#results = new Results(new Outbox(settings.keyDir), events.emit);
    this.#connection = new Connection(settings, this.#pace, events.emit, this.#onBeat);
    this.#exchange = new Exchange({
      coordinator: this.#connection.coordinator,
      bootId: this.#connection.bootId,
      results: this.#results,
      pace: this.#pace,
      emit: events.emit,
      pollWaitMs: () => this.#connection.pollWaitMs,
      freeSlots: () => this.#runs.free,
      holding: () => this.#runs.ids,
      onRuns: (runs) => this.#take(runs),
      onCancel: (runIds) => this.#cancel(runIds),
      onVerdict: (verdict, message) => this.#refused(verdict, message),
    });
  }

  get agentId(): string | undefined {
    return this.#connection.agentId;
  }

  async start(): Promise<void> {
    try {
      await this.#results.restore();
      await this.#connection.open((earlier) => this.#results.deliverAs(earlier, this.#connection.rest));
    } catch (error) {
      await this.#end('failed');
      throw error;
    }
    this.#events.emit('started', { agent_id: this.agentId!, boot_id: this.#connection.bootId });
    this.#exchange.wake();
  }

  rotateKey = (): Promise<void> => this.#connection.rotateKey();

  drain(): Promise<void> {
    this.#ending ??= this.#drain();
    return this.#ending;
  }

  async stop(): Promise<void> {
    this.#exchange.drain();
    this.#runs.abortAll('stopped');
    // A handler that hangs must not keep the agent from going; a drain under way ends by the same.
    const hurry = setTimeout(() => this.#hurry.abort(), GRACE_MS + 500);
    this.#ending ??= this.#leave('stopped');
    await this.#ending;
    clearTimeout(hurry);
  }

  async #drain(): Promise<void> {
    this.#events.emit('draining', { runs: this.#runs.size });
    this.#exchange.drain();
    const limit = this.#settings.drainTimeoutMs;
    const timer = limit === undefined ? undefined : setTimeout(() => this.#runs.abortAll('stopped'), limit);
    await this.#leave('drained');
    clearTimeout(timer);
  }

  /** Sees every outcome on its way, delivered if it can be, and goes. By that alone all it holds is queued again. */
  async #leave(reason: 'drained' | 'stopped'): Promise<void> {
    await Promise.race([this.#runs.reported(), this.done, aborted(this.#hurry.signal)]);
    this.#results.holdReturned();
    this.#exchange.wake();
    if (this.#connection.connected) {
      const enough = sleep(LAST_DELIVERY_MS[reason], undefined, { ref: false });
      await Promise.race([this.#results.told(), this.done, enough, aborted(this.#hurry.signal)]);
    }
    await this.#results.keep('work');
    if (await this.#sayGoodbye(LAST_DELIVERY_MS[reason])) this.#results.forgetReturned();
    else await this.#results.keep('all');
    await this.#end(reason);
  }

  /** Whether the coordinator has heard that this life is over. */
  async #sayGoodbye(atMostMs: number): Promise<boolean> {
    if (!this.#connection.connected || this.#ended) return false;
    this.#leaving = true;
    const { coordinator, bootId } = this.#connection;
    const matters = () => this.#results.anyReturned;
    const how = { atMostMs, matters, pace: this.#pace, hurry: this.#hurry.signal, emit: this.#events.emit };
    return sayGoodbye(coordinator, bootId, how);
  }

  async #end(reason: EndReason): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#exchange.end();
    await this.#connection.close();
    // Children are killed before the process may go.
    await Promise.race([this.#runs.settled(), sleep(SETTLE_MS, undefined, { ref: false })]);
    this.#over(reason);
    if (reason === 'superseded' || reason === 'revoked') this.#events.emit(reason, {});
    this.#events.emit('ended', { reason });
  }

  #take(runs: AssignedRun[]): void {
    if (!this.#exchange.asking) {
      this.#giveBack(runs);
      return;
    }
    // Handed to who this agent was before it registered anew.
    if (!this.#connection.connected) return;
    const live = runs.map((assigned) => this.#runs.add(assigned));
    // The beat thread hears first: a handler may block this one from its first line on.
    this.#connection.seat.runs(live.map(asHeld), [], this.#runs.free);
    for (const run of live) this.#events.emit('assigned', { ...run.about, attempt: run.assigned.attempt });
    for (const run of live) void this.#run(run);
  }

  async #run(run: ReturnType<LiveRuns['add']>): Promise<void> {
    await runTask(run, {
      coordinator: this.#connection.coordinator,
      handlerFor: this.#settings.handlerFor,
      emit: this.#events.emit,
      report: (weighed) => {
        if (weighed) this.#results.add(weighed);
        this.#runs.changed();
        this.#exchange.wake();
      },
    });
    this.#runs.remove(run);
    this.#forget(run.id);
    this.#exchange.wake();
  }

  /** Tells the beat thread of ended runs, all of one turn together. */
  #forget(runId: string): void {
    if (this.#gone.push(runId) > 1) return;
    setImmediate(() => {
      const gone = this.#gone.splice(0);
      if (this.#connection.connected) this.#connection.seat.runs([], gone, this.#runs.free);
    });
  }

  #giveBack(runs: AssignedRun[]): void {
    for (const { run_id, fence } of runs) {
      this.#results.add({ result: { run_id, fence, outcome: 'RETURNED' }, bytes: 256 });
    }
    this.#exchange.wake();
  }

  readonly #onBeat = (report: SeatReport) => {
    switch (report.type) {
      case 'beat':
        return this.#beatGotThrough(report);
      case 'beat-failed':
        this.#beatFailed = true;
        return this.#events.emit('beat-failed', { message: report.message });
      case 'fenced':
        this.#fenced = true;
        return this.#events.emit('fenced', { runs: this.#runs.abortAll('lease-lost') });
      case 'refused':
        return this.#refused(report.verdict, report.message);
      case 'broken':
        this.#events.emit('warning', { message: `the beat thread broke: ${messageOf(report.error)}` });
        return this.#die('failed');
    }
  };

  #beatGotThrough({ lost, cancel, drain, ...beat }: Extract<SeatReport, { type: 'beat' }>): void {
    const { slots_free, runs, lease_ttl_ms } = beat;
    this.#events.emit('beat', { slots_free, runs, lease_ttl_ms });
    if (this.#fenced) this.#events.emit('recovered', {});
    if (this.#beatFailed) this.#exchange.goOn();
    this.#fenced = false;
    this.#beatFailed = false;
    for (const id of lost) this.#abortLive(id, 'lease-lost');
    this.#cancel(cancel);
    if (drain) void this.drain();
  }

  #cancel(runIds: string[]): void {
    for (const id of runIds) this.#abortLive(id, 'cancelled');
  }

  /** Aborts a run unless its outcome is on its way: then the coordinator has the last word on that. */
  #abortLive(runId: string, reason: 'lease-lost' | 'cancelled'): void {
    const run = this.#runs.get(runId);
    if (run && !run.reported) run.abort(reason);
  }

  #refused(verdict: AgentVerdict, message: string): void {
    // A beat or poll on its way while this agent says goodbye is answered that this life is over: it knows.
    if (this.#leaving) return;
    if (verdict === 'unknown-agent' && this.#settings.enrollmentToken && !this.#ending)
      return void this.#reopen(message);
    this.#events.emit('warning', { message: `the coordinator refuses this agent (${verdict}): ${message}` });
    this.#die(verdict === 'proof-required' ? 'failed' : verdict);
  }

  /** The coordinator forgot this agent, and with it all it held. */
  async #reopen(message: string): Promise<void> {
    if (this.#reopening) return;
    this.#reopening = true;
    this.#events.emit('warning', { message: `registering again: ${message}` });
    this.#runs.abortAll('lease-lost');
    this.#exchange.reset();
    try {
      await this.#connection.reopen();
      this.#exchange.wake();
    } catch (error) {
      this.#events.emit('warning', { message: `registering again failed: ${messageOf(error)}` });
      this.#die('unknown-agent');
    }
    this.#reopening = false;
  }

  /** Ends at once, without a word to the coordinator: nothing this agent says counts any more. */
  #die(reason: EndReason): void {
    this.#runs.abortAll('lease-lost');
    void this.#end(reason);
  }
}
