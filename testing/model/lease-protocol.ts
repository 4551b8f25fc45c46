import type { Model } from './explore.ts';
import { type Agent, type Answer, type Hands, idle, key, type Request, type State, words } from './lease-state.ts';

/** How the rows are guarded. `fence` is ours; the others are what goes wrong elsewhere, and must be seen to. */
export interface Rules {
  /** When a result counts: its fence is the lease's; its agent is; somebody has a lease; always. */
  guard: 'fence' | 'agent' | 'state' | 'none';
  /** Whether a submit is acknowledged before its row is written. */
  ackFirst: boolean;
  /** Whether a lease that was seen to be expired is taken away without looking again. */
  reapUnseen: boolean;
}
export const MUSTER: Rules = { guard: 'fence', ackFirst: false, reapUnseen: false };

export const MAX_ATTEMPTS = 3;
const LIVES = 2;

const TERMINAL: readonly State['task'][] = ['COMPLETED', 'FAILED', 'CANCELLED'];
const isTerminal = (state: State) => TERMINAL.includes(state.task);

/** The protocol under some rules, as a model to explore. */
export function leaseProtocol(rules: Rules = MUSTER): Model<State> {
  return {
    initial: {
      client: 'unsure',
      task: 'none',
      fence: 0,
      lease: null,
      applied: 0,
      agents: [0, 1].map(() => ({ boot: 1, known: 1, expired: false, run: 0 })),
      coordinators: [null, null],
      broken: '',
    },
    key,
    steps: (state) => [...agentSteps(state), ...coordinatorSteps(state, rules)],
    broken: brokenPromise,
    ended: (state) => isTerminal(state) && state.lease === null,
  };
}

function brokenPromise(state: State): string | undefined {
  if (state.broken) return state.broken;
  if (state.client !== 'unsure' && state.task === 'none' && state.coordinators.every((hands) => hands === null))
    return 'an acknowledged submit is lost';
  if (state.client === 'cancelled' && state.applied) return 'a result was applied though the cancel was acknowledged';
  if (state.lease ? state.task !== 'LEASED' && state.task !== 'CANCELLED' : state.task === 'LEASED')
    return `a task is ${state.task} ${state.lease ? 'and leased' : 'and nobody has it'}`;
  return state.fence > MAX_ATTEMPTS ? 'a task is tried too often' : undefined;
}

type Step = readonly [name: () => string, next: State];
const step = (state: State, name: () => string, change: (next: State) => void): Step => {
  const { client, task, fence, lease, applied, broken, coordinators } = state;
  // Each by its name: copied by spreads, the whole would take three times as long.
  const agents = state.agents.map(({ boot, known, expired, run }) => ({ boot, known, expired, run }));
  const next = { client, task, fence, lease, applied, broken, agents, coordinators: coordinators.slice() };
  change(next);
  for (const [n, hands] of next.coordinators.entries()) if (hands && idle(next, hands)) next.coordinators[n] = null;
  return [name, next];
};

/** What agents do by themselves, and what time does to them. */
function* agentSteps(state: State): Iterable<Step> {
  for (const [n, agent] of state.agents.entries()) {
    const who = `agent ${n}`;
    const its = (change: (it: Agent) => void) => (next: State) => change(next.agents[n]!);
    if (agent.boot < LIVES)
      yield step(
        state,
        () => `${who} dies and starts again`,
        its((it) => Object.assign(it, { boot: it.boot + 1, run: 0 })),
      );
    if (!agent.expired)
      yield step(
        state,
        () => `${who} is silent for a lease time`,
        its((it) => (it.expired = true)),
      );
    else if (agent.boot === agent.known)
      yield step(
        state,
        () => `${who} beats again`,
        its((it) => (it.expired = false)),
      );
  }
}

/** What may be asked of a free coordinator. */
function* requests(state: State): Iterable<Request> {
  if (state.client === 'unsure') yield { ask: 'submit' };
  if (state.client === 'submitted') yield { ask: 'cancel' };
  for (const [n, { boot, known, run }] of state.agents.entries()) {
    if (boot !== known) yield { ask: 'register', agent: n, boot };
    else if (!run) yield { ask: 'poll', agent: n, boot };
    else for (const well of [true, false]) yield { ask: 'result', agent: n, boot, fence: run, well };
  }
}

function* coordinatorSteps(state: State, rules: Rules): Iterable<Step> {
  for (const [n, hands] of state.coordinators.entries()) {
    const take = (name: () => string, change: (next: State) => Hands | undefined) =>
      step(state, name, (next) => {
        next.coordinators[n] = change(next) ?? null;
      });
    if (hands === null) {
      for (const request of requests(state))
        yield take(
          () => `a coordinator is asked ${words(request)}`,
          () => request,
        );
      const { lease } = state;
      if (lease && state.agents[lease.agent]!.expired) {
        if (rules.reapUnseen)
          yield take(
            () => `a coordinator sees run ${lease.fence} expired`,
            () => ({ reap: lease.fence }),
          );
        else
          yield take(
            () => `run ${lease.fence} is reaped`,
            (next) => void endRun(next),
          );
      }
      continue;
    }
    yield take(
      () => `a coordinator dies holding ${words(hands)}`,
      () => null,
    );
    if ('tell' in hands)
      yield take(
        () => `${words(hands)} arrives`,
        (next) => void hear(next, hands),
      );
    else if ('reap' in hands)
      yield take(
        () => `run ${hands.reap} is reaped unseen`,
        (next) => void endRun(next),
      );
    else
      yield take(
        () => `${words(hands)} is done`,
        (next) => answer(next, hands, rules),
      );
  }
}

/** The one statement of each request. */
function answer(state: State, request: Request, rules: Rules): Hands {
  switch (request.ask) {
    case 'submit':
      if (rules.ackFirst && state.task === 'none' && state.client === 'unsure') {
        state.client = 'submitted';
        return { ask: 'submit' };
      }
      if (state.task === 'none') state.task = 'PENDING';
      return { tell: 'submitted' };
    case 'cancel':
      if (!isTerminal(state)) state.task = 'CANCELLED';
      return state.task === 'CANCELLED' ? { tell: 'cancelled' } : null;
    case 'register':
      return register(state, request);
    case 'poll':
      return claim(state, request);
    case 'result':
      return report(state, request, rules);
  }
}

/** A new life ends what the old one held. */
function register(state: State, { agent: n, boot }: { agent: number; boot: number }): Hands {
  const agent = state.agents[n]!;
  if (boot > agent.known) {
    Object.assign(agent, { known: boot, expired: false });
    if (state.lease?.agent === n) endRun(state);
  }
  return null;
}

/** Hands out the task, or again what the agent holds and does not know of. */
function claim(state: State, { agent: n, boot }: { agent: number; boot: number }): Hands {
  const agent = state.agents[n]!;
  if (boot !== agent.known || agent.expired) return null;
  if (state.task === 'PENDING') {
    state.lease = { fence: ++state.fence, agent: n };
    state.task = 'LEASED';
  }
  return state.task === 'LEASED' && state.lease?.agent === n
    ? { tell: 'run', agent: n, boot, fence: state.lease.fence }
    : null;
}

function report(
  state: State,
  { agent, boot, fence, well }: { agent: number; boot: number; fence: number; well: boolean },
  { guard }: Rules,
): Hands {
  const verdict = (tell: 'applied' | 'refused'): Hands => ({ tell, agent, boot, fence, well });
  const { lease } = state;
  const counts = {
    fence: lease?.fence === fence && lease.agent === agent && boot === state.agents[agent]!.known,
    agent: lease?.agent === agent,
    state: lease !== null,
    none: true,
  }[guard];
  if (!counts) return verdict('refused');
  if (lease?.fence !== fence) state.broken = `the late result of run ${fence} was taken`;
  if (state.task === 'CANCELLED' && guard !== 'none') {
    state.lease = null;
    return verdict('refused');
  }
  if (well) {
    if (isTerminal(state)) state.broken = 'a task ended twice';
    Object.assign(state, { lease: null, task: 'COMPLETED', applied: fence });
  } else endRun(state);
  return verdict('applied');
}

/** The end of a run that did not complete: another try, or no more of them. */
function endRun(state: State): void {
  if (state.task !== 'CANCELLED') {
    if (isTerminal(state)) state.broken = `a ${state.task} task was queued again`;
    state.task = state.fence < MAX_ATTEMPTS ? 'PENDING' : 'FAILED';
  }
  state.lease = null;
}

/** An answer arrives at who asked, if that life still asks. */
function hear(state: State, told: Answer): void {
  if (!('agent' in told)) {
    if (told.tell === 'cancelled' || state.client === 'unsure') state.client = told.tell;
    return;
  }
  const agent = state.agents[told.agent]!;
  if (agent.boot !== told.boot) return;
  if (told.tell === 'run') {
    agent.run ||= told.fence;
    return;
  }
  if (told.tell === 'applied' && told.well && state.applied !== told.fence)
    state.broken = `run ${told.fence} was told to count and does not`;
  if (agent.run === told.fence) agent.run = 0;
}
