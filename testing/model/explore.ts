/** A protocol small enough to look at every state it can get into. */
export interface Model<State> {
  initial: State;
  /** The same for the same state, and for those that are its mirror image. */
  key(state: State): string | number;
  /** Everything that can happen next, each with what happens in words, for the trace. */
  steps(state: State): Iterable<readonly [name: () => string, next: State]>;
  /** What must never be: the promise that is broken here, in words; undefined where none is. */
  broken(state: State): string | undefined;
  /** What must always be possible: a state from which nothing is left to do. */
  ended(state: State): boolean;
}

export interface Explored {
  states: number;
  /** Steps between them. */
  steps: number;
  /** Steps of the longest of the shortest ways to a state. */
  depth: number;
  /** The first broken promise, by the shortest way there: what happened, step by step. */
  counterexample: { broken: string; trace: string[] } | undefined;
}

/**
 * Looks at every state that can be reached, the nearest first, and stops at the first that breaks a promise. Where none does, every state
 * must still be able to end: one that cannot is a counterexample too. Throws where there are more than `maxStates`.
 */
export function explore<State>(model: Model<State>, { maxStates = 5_000_000 } = {}): Explored {
  const seen = new Map<string | number, number>();
  const states: State[] = [];
  const cameFrom: number[] = [];
  const level: number[] = [];
  const backwards: number[][] = [];
  let steps = 0;

  const reach = (state: State, from: number) => {
    const key = model.key(state);
    const known = seen.get(key);
    if (known !== undefined) return known;
    if (states.length === maxStates) throw new Error(`the model has more than ${maxStates} states`);
    seen.set(key, states.length);
    cameFrom.push(from);
    level.push(from < 0 ? 0 : level[from]! + 1);
    backwards.push([]);
    return states.push(state) - 1;
  };
  const found = (broken?: string, at = 0): Explored => {
    const trace: string[] = [];
    for (let here = at; here > 0; here = cameFrom[here]!)
      trace.unshift(nameOf(model, states[cameFrom[here]!]!, states[here]!));
    const counterexample = broken === undefined ? undefined : { broken, trace };
    return { states: states.length, steps, depth: level.at(-1)!, counterexample };
  };

  reach(model.initial, -1);
  for (let here = 0; here < states.length; here++) {
    const broken = model.broken(states[here]!);
    if (broken !== undefined) return found(broken, here);
    for (const [, next] of model.steps(states[here]!)) {
      steps++;
      backwards[reach(next, here)]!.push(here);
    }
  }
  const stuck = firstThatCannotEnd(states, model, backwards);
  return stuck === undefined ? found() : found('it can never end from here', stuck);
}

/** What leads from one state to the next. Put into words only for the trace: there are millions of steps. */
function nameOf<State>(model: Model<State>, from: State, to: State): string {
  for (const [name, next] of model.steps(from)) if (model.key(next) === model.key(to)) return name();
  throw new Error('a step of the model is not the same when it is taken again');
}

/** Walks back from every end: what is not met on the way cannot get to one. */
function firstThatCannotEnd<State>(states: State[], model: Model<State>, backwards: number[][]): number | undefined {
  const canEnd = new Uint8Array(states.length);
  const queue = states.flatMap((state, at) => (model.ended(state) ? [at] : []));
  for (const at of queue) canEnd[at] = 1;
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    for (const before of backwards[at]!) {
      if (!canEnd[before]) {
        canEnd[before] = 1;
        queue.push(before);
      }
    }
  }
  const stuck = canEnd.indexOf(0);
  return stuck < 0 ? undefined : stuck;
}
