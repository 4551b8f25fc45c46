import { seededRandom } from '../random.ts';
import type { BadGroup, Population } from './population.ts';

/** The right answer; a ring's common lie; every other wrong answer is a number of its own. */
export const RIGHT = 0;
const RING_LIE = -1;

export interface Worker {
  id: number;
  /** Undefined: honest. */
  bad: BadGroup | undefined;
  anchor: boolean;
  runs: number;
  /** Runs it had done before its first wrong answer, and when it lost its work. */
  first_wrong_at: number | undefined;
  caught_at: number | undefined;
  /** Runs it had done when it was first trusted. */
  trusted_at: number | undefined;
}

export interface Task {
  id: number;
  votes: { by: Worker; answer: number; judge: boolean }[];
  /** Undefined: nobody's answer was taken. */
  answer: number | undefined;
}

/** Agents, tasks, time and chance of one simulation; a scheme decides who does what and what is believed. */
export class World {
  readonly workers: Worker[];
  readonly random: () => number;
  executions = 0;
  now = 0;
  readonly #population: Population;
  #lies = 0;

  constructor(population: Population, seed: number) {
    this.#population = population;
    this.random = seededRandom(seed);
    const kinds = population.bad.flatMap((it) => Array<BadGroup>(Math.round(it.share * population.agents)).fill(it));
    this.workers = Array.from({ length: population.agents }, (_, id) => ({
      id,
      bad: kinds[id],
      anchor: id >= kinds.length && id < kinds.length + population.anchors,
      runs: 0,
      first_wrong_at: undefined,
      caught_at: undefined,
      trusted_at: undefined,
    }));
  }

  /** Any of those that fit, each as likely; undefined where none does. */
  pick(fits: (worker: Worker) => boolean): Worker | undefined {
    const { workers } = this;
    for (let tries = 0; tries < 8; tries += 1) {
      const worker = workers[Math.floor(this.random() * workers.length)]!;
      if (fits(worker)) return worker;
    }
    const fitting = workers.filter(fits);
    return fitting[Math.floor(this.random() * fitting.length)];
  }

  /** These hold the task together, then each answers; a judge is asked when others have. */
  run(task: Task, workers: readonly Worker[], judge = false): void {
    const members = workers.filter(({ bad }) => bad?.persona === 'ring').length;
    for (const by of workers) {
      const answer = this.#answer(task, by, members);
      if (answer !== RIGHT) by.first_wrong_at ??= by.runs;
      by.runs += 1;
      this.executions += 1;
      task.votes.push({ by, answer, judge });
    }
  }

  #answer(task: Task, { bad, runs }: Worker, members: number): number {
    switch (bad?.persona) {
      case undefined:
        return this.#wrongWith(this.#population.honest_wrong);
      case 'flaky':
      case 'saboteur':
        return this.#wrongWith(bad.wrong);
      case 'sleeper':
        return this.#wrongWith(runs >= bad.good ? 1 : 0);
      case 'oscillator':
        return this.#wrongWith(runs % (bad.good + bad.bad) >= bad.good ? 1 : 0);
      case 'ring': {
        if (bad.cheats === 'always') return RING_LIE;
        // Whoever of the ring answered before set the tune.
        const before = task.votes.find(({ by }) => by.bad?.persona === 'ring');
        return before ? before.answer : members > 1 ? RING_LIE : RIGHT;
      }
    }
  }

  #wrongWith(probability: number): number {
    if (this.random() >= probability) return RIGHT;
    this.#lies += 1;
    return this.#lies;
  }
}
