import type { Outcome } from '@muster/shared/lifecycle';
import type { AbortReason } from './handler.ts';

interface RunOf {
  run_id: string;
  task_id: string;
  task_type: string;
}

/** Why an agent's life ended. */
export type EndReason = 'drained' | 'stopped' | 'superseded' | 'revoked' | 'unknown-agent' | 'failed';

/** Everything an agent says about itself, by event name. */
export interface AgentEvents {
  registered: { agent_id: string };
  started: { agent_id: string; boot_id: string };
  beat: { slots_free: number; runs: number; lease_ttl_ms: number };
  'beat-failed': { message: string };
  polling: { slots: number };
  assigned: RunOf & { attempt: number };
  executing: RunOf;
  log: RunOf & { message: string };
  aborted: RunOf & { reason: AbortReason };
  finished: RunOf & { outcome: Outcome; duration_ms: number; code?: string; message?: string };
  /** The lease ended before the handler did: what it made is thrown away. */
  discarded: RunOf;
  reported: { run_id: string; outcome: Outcome; applied: boolean; code?: string };
  /** The coordinator could not be reached; it is tried again after `retry_in_ms`. */
  unreachable: { message: string; retry_in_ms: number };
  /** No beat got through in time: every run was stopped before others may do its work. */
  fenced: { runs: number };
  /** Beats get through again. */
  recovered: Record<never, never>;
  warning: { message: string };
  draining: { runs: number };
  superseded: Record<never, never>;
  revoked: Record<never, never>;
  ended: { reason: EndReason };
}

export type EventName = keyof AgentEvents;
export type Listener<N extends EventName> = (detail: AgentEvents[N]) => void;
export type EventSink = <N extends EventName>(name: N, detail: AgentEvents[N]) => void;

/** A typed event bus. A listener that throws never harms the agent. */
export class EventBus {
  readonly #listeners = new Map<EventName, Set<(detail: never) => void>>();
  readonly #all: EventSink[];

  constructor(all: EventSink[] = []) {
    this.#all = all;
  }

  /** Listens; what it returns stops listening. */
  on<N extends EventName>(name: N, listener: Listener<N>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  readonly emit: EventSink = (name, detail) => {
    for (const sink of this.#all) quietly(() => sink(name, detail));
    for (const listener of this.#listeners.get(name) ?? []) quietly(() => listener(detail as never));
  };
}

function quietly(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    process.emitWarning(`a listener of a Muster agent threw: ${error}`);
  }
}
