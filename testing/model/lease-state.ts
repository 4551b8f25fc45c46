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

const said = new WeakMap<Exclude<Hands, null>, string>();

/** What a coordinator holds, in words; hands are never changed, so they are put into words once. */
export function words(hands: Hands): string {
  if (hands === null) return 'nothing';
  const known = said.get(hands);
  if (known) return known;
  const [[, what], ...more] = Object.entries(hands) as [[string, string], ...[string, string][]];
  const text = 'reap' in hands ? `the end of run ${what}` : [what, ...more.map((it) => it.join(' '))].join(', ');
  said.set(hands, text);
  return text;
}

/** Coordinators are alike: which of them holds what makes no other state. */
export const key = ({ client, task, fence, lease, applied, agents, coordinators, broken }: State): string => {
  const [one, other] = coordinators.map(words) as [string, string];
  const hands = one < other ? `${one}|${other}` : `${other}|${one}`;
  const lives = agents.map((it) => `${it.boot}${it.known}${it.expired ? '-' : '+'}${it.run}`).join();
  return `${client} ${task} ${fence} ${lease?.fence},${lease?.agent} ${applied} ${lives} ${hands} ${broken}`;
};

/** Nobody waits for this any more: to hold it is to hold nothing. */
export const idle = ({ client, agents }: State, hands: Exclude<Hands, null>): boolean => {
  if ('agent' in hands) {
    const { boot, run } = agents[hands.agent]!;
    if (boot !== hands.boot) return 'tell' in hands;
    return 'tell' in hands && hands.tell !== 'run' && run !== hands.fence;
  }
  return 'tell' in hands && (hands.tell === 'submitted' ? client !== 'unsure' : client === 'cancelled');
};
