import { RIGHT, type Task, type Worker, type World } from './world.ts';

/** How work is given out and what is believed. `settle` runs a task until an answer is taken or given up. */
export interface Scheme {
  settle(task: Task): void;
}

const MOST_RUNS = 6;

/** Whatever the first agent says. */
export const believing = (world: World): Scheme => ({
  settle(task) {
    world.run(task, [world.pick(() => true)!]);
    task.answer = task.votes[0]!.answer;
  },
});

/** Each task to two agents, then to further ones until two agree. */
export const fixedQuorum = (world: World): Scheme => ({
  settle: (task) => askUntilTwoAgree(world, task),
});

/**
 * Adaptive replication as BOINC publishes it: an agent whose last ten or more replicated results in a row were valid is believed, but
 * for one task in as many as were valid in a row. A wrong one starts again from none. Its daily quotas have nothing to act on here.
 */
export function boincAdaptive(world: World): Scheme {
  const valid = new Map<Worker, number>(world.workers.map((worker) => [worker, 0]));
  return {
    settle(task) {
      const first = world.pick(() => true)!;
      const streak = valid.get(first)!;
      if (streak >= 10 && world.random() >= 1 / streak) {
        world.run(task, [first]);
        task.answer = task.votes[0]!.answer;
        return;
      }
      askUntilTwoAgree(world, task, first);
      if (task.answer === undefined) return;
      for (const { by, answer } of task.votes) valid.set(by, answer === task.answer ? valid.get(by)! + 1 : 0);
    },
  };
}

function askUntilTwoAgree(world: World, task: Task, first = world.pick(() => true)!): void {
  world.run(task, [first, world.pick((other) => other !== first)!]);
  for (;;) {
    const answers = task.votes.map(({ answer }) => answer);
    task.answer = answers.find((answer, n) => answers.indexOf(answer) !== n);
    if (task.answer !== undefined || task.votes.length === MOST_RUNS) return;
    const next = world.pick((worker) => !task.votes.some(({ by }) => by === worker));
    if (!next) return;
    world.run(task, [next]);
  }
}

/** Whether a wrong answer was taken, and someone not honest gave it. */
export const isWrong = ({ answer, votes }: Task): boolean =>
  answer !== undefined && answer !== RIGHT && votes.some((vote) => vote.by.bad && vote.answer === answer);
