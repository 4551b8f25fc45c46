/**
 * The lease protocol (docs/protocol.md) with one task, two agents and two coordinators. A coordinator is stateless: all it has is one request or one
 * answer in its hands, for as long as it likes, and it may die with it at any moment. What it does to the rows is one statement, hence one step. Whoever
 * is not answered asks again, through whichever coordinator is free: that is how requests are doubled, late and out of order here.
 */
export interface State {
  /** What the submitter knows: nothing yet, that its task was taken, that its cancel was. */
  client: 'unsure' | 'submitted' | 'cancelled';
  task: 'none' | 'PENDING' | 'LEASED' | 'COMPLETED' | 'FAILED' | 'CANCELLED';
  /** Runs handed out so far; the fence of each is its number. */
  fence: number;
  lease: Lease | null;
  /** The run whose success was applied. */
  applied: number;
  agents: Agent[];
  coordinators: Hands[];
  /** The first promise that was broken on the way, in words. */
  broken: string;
}

export interface Lease {
  fence: number;
  agent: number;
}

export interface Agent {
  /** Which life it is in, and which the coordinators know of. */
  boot: number;
  known: number;
  /** No beat of it came in time. */
  expired: boolean;
  /** What it works on, or has not yet been answered about. Of one run it may say now this and now that: it need not be honest. */
  run: number;
}

export type Request =
  | { ask: 'submit' | 'cancel' }
  | { ask: 'register' | 'poll'; agent: number; boot: number }
  | { ask: 'result'; agent: number; boot: number; fence: number; well: boolean };
export type Answer =
  | { tell: 'submitted' | 'cancelled' }
  | { tell: 'run'; agent: number; boot: number; fence: number }
  | { tell: 'applied' | 'refused'; agent: number; boot: number; fence: number; well: boolean };
/** What a coordinator holds: a request, an answer, or a lease it has seen to be expired. */
export type Hands = Request | Answer | { reap: number } | null;

/** What a coordinator holds, in words. */
export function words(hands: Hands): string {
  if (hands === null) return 'nothing';
  const [[, what], ...more] = Object.entries(hands) as [[string, string], ...[string, string][]];
  return 'reap' in hands ? `the end of run ${what}` : [what, ...more.map((it) => it.join(' '))].join(', ');
}

const CLIENTS = { unsure: 0, submitted: 1, cancelled: 2 };
const TASKS = { none: 0, PENDING: 1, LEASED: 2, COMPLETED: 3, FAILED: 4, CANCELLED: 5 };
const HELD = {
  ...{ reap: 1, submit: 2, cancel: 3, register: 4, poll: 5, result: 6 },
  ...{ submitted: 7, cancelled: 8, run: 9, applied: 10, refused: 11 },
};
/** More than any life, run or fence there is. */
const MANY = 5;
const LIVES = MANY ** 3 * 4;
const HANDS = 12 * 2 * MANY ** 2 * 2;

/**
 * The lowest of the numbers of a state and its mirror images: agents are alike, and so are coordinators. A number, of one digit for each thing in
 * the state, as there are millions of states and numbers are found sooner than texts.
 */
export const key = (state: State): number => {
  const [one, other] = [lifeOf(state, 0), lifeOf(state, 1)];
  if (one !== other) return numbered(state, one < other ? 0 : 1);
  return Math.min(numbered(state, 0), numbered(state, 1));
};

function numbered(state: State, first: number): number {
  const { client, task, fence, lease, applied, coordinators, broken } = state;
  const one = handsOf(coordinators[0]!, first);
  const other = handsOf(coordinators[1]!, first);
  let number = CLIENTS[client] * 6 + TASKS[task];
  for (const run of [fence, lease ? lease.fence : 0, applied]) number = number * MANY + run;
  number = (number * LIVES + lifeOf(state, first)) * LIVES + lifeOf(state, 1 - first);
  number = (number * HANDS + Math.min(one, other)) * HANDS + Math.max(one, other);
  return number * 2 + (broken ? 1 : 0);
}

function lifeOf({ agents, lease }: State, n: number): number {
  const { boot, known, run, expired } = agents[n]!;
  return (((boot * MANY + known) * MANY + run) * 2 + (expired ? 1 : 0)) * 2 + (lease?.agent === n ? 1 : 0);
}

function handsOf(hands: Hands, first: number): number {
  if (hands === null) return 0;
  if ('reap' in hands) return (HELD.reap * 2 * MANY ** 2 + hands.reap) * 2;
  const what = HELD['ask' in hands ? hands.ask : hands.tell];
  if (!('agent' in hands)) return what * 2 * MANY ** 2 * 2;
  const whose = (what * 2 + (hands.agent ^ first)) * MANY + hands.boot;
  return (whose * MANY + ('fence' in hands ? hands.fence : 0)) * 2 + ('well' in hands && hands.well ? 1 : 0);
}

/** Nobody waits for this any more: to hold it is to hold nothing. */
export const idle = ({ client, agents }: State, hands: Exclude<Hands, null>): boolean => {
  if ('agent' in hands) {
    const { boot, run } = agents[hands.agent]!;
    if (boot !== hands.boot) return 'tell' in hands;
    return 'tell' in hands && hands.tell !== 'run' && run !== hands.fence;
  }
  return 'tell' in hands && (hands.tell === 'submitted' ? client !== 'unsure' : client === 'cancelled');
};
