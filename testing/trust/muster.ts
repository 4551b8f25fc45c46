import { judge } from '@muster/server/trust/judge';
import { checked, newcomer, returned, type Trust, type Verdict } from '@muster/server/trust/model';
import type { Parameters } from '@muster/server/trust/parameters';
import {
  auditProbability,
  canaryProbability,
  looksFurther,
  mayWork,
  replicationProbability,
  vouches,
} from '@muster/server/trust/scrutiny';
import type { Scheme } from './baselines.ts';
import { RIGHT, type Task, type Worker, type World } from './world.ts';

/** What the scheme keeps of a worker. */
interface Past {
  trust: Trust;
  /** Results nobody checked, and those that others agreed with, oldest first. */
  unchecked: Task[];
  agreed: Task[];
}

/** Muster's own model, in a world. */
export class Muster implements Scheme {
  readonly #world: World;
  readonly #p: Parameters;
  readonly #pasts: Past[];
  /** Caught workers whose earlier results are still to be looked at, and with whom they conspired. */
  readonly #caught: { worker: Worker; conspired: boolean }[] = [];

  constructor(world: World, p: Parameters) {
    this.#world = world;
    this.#p = p;
    this.#pasts = world.workers.map(() => ({ trust: newcomer(0), unchecked: [], agreed: [] }));
  }

  settle(task: Task): void {
    const world = this.#world;
    const first = world.pick((worker) => this.#works(worker));
    if (!first) return;
    if (world.random() < canaryProbability(first, this.#p)) this.#canary(first);
    const partner =
      world.random() < replicationProbability(this.#known(first), this.#p) ? this.#partner(first) : undefined;
    world.run(task, partner ? [first, partner] : [first]);
    if (partner) this.#decide(task, world.random() < auditProbability(this.#p));
    else {
      task.answer = task.votes[0]!.answer;
      this.#past(first).unchecked.push(task);
    }
    this.#lookBack();
  }

  /** Who is not trusted is paired with one who is, where there is one. */
  #partner(first: Worker): Worker | undefined {
    const fits = (worker: Worker) => worker !== first && this.#works(worker);
    if (vouches(this.#known(first))) return this.#world.pick(fits);
    return this.#judgeOf((worker) => worker !== first);
  }

  /** An anchor, else one that is trusted, else anybody. */
  #judgeOf(fits: (worker: Worker) => boolean): Worker | undefined {
    const { workers } = this.#world;
    const able = workers.filter((worker) => fits(worker) && this.#works(worker));
    const among = [
      able.filter(({ anchor }) => anchor),
      able.filter((worker) => vouches(this.#known(worker))),
      able,
    ].find((some) => some.length > 0);
    return among?.[Math.floor(this.#world.random() * among.length)];
  }

  /** Asks judges until the answer is decided or disputed; an audit wants one more who agrees. */
  #decide(task: Task, audited: boolean): void {
    const quorum = this.#p.quorum + (audited ? 1 : 0);
    for (;;) {
      const votes = task.votes.map(({ by, answer, judge }) => ({ agent: this.#known(by), answer, judge }));
      const split = task.votes.some(({ answer }) => answer !== task.votes[0]!.answer);
      const ruling = judge(votes, split ? this.#p.quorum : quorum, this.#p);
      if (ruling.is === 'DECIDED') {
        task.answer = ruling.answer;
        for (const [n, verdict] of ruling.verdicts.entries()) this.#find(task, task.votes[n]!.by, verdict);
        return;
      }
      const next =
        ruling.is === 'ASK' ? this.#judgeOf((worker) => !task.votes.some(({ by }) => by === worker)) : undefined;
      if (!next) {
        task.answer = undefined;
        return;
      }
      this.#world.run(task, [next], true);
    }
  }

  #canary(worker: Worker): void {
    const task: Task = { id: -1, votes: [], answer: RIGHT };
    this.#world.run(task, [worker]);
    this.#find(task, worker, task.votes[0]!.answer === RIGHT ? { found: 'RIGHT', vouched: true } : { found: 'WRONG' });
  }

  #find(task: Task, worker: Worker, verdict: Verdict): void {
    const past = this.#past(worker);
    const { standing } = past.trust;
    past.trust = checked(past.trust, verdict, this.#world.now, this.#p);
    if (past.trust.standing === 'TRUSTED') worker.trusted_at ??= worker.runs;
    // One that means to cheat but has not yet is not caught, it has bad luck.
    const cheated = !worker.bad || worker.first_wrong_at !== undefined;
    if (cheated && mayWork({ standing }) && !mayWork(past.trust)) worker.caught_at ??= worker.runs;
    if (verdict.found === 'RIGHT') past.agreed.push(task);
    else this.#caught.push({ worker, conspired: verdict.found === 'COLLUDED' });
  }

  #lookBack(): void {
    for (let next = this.#caught.shift(); next; next = this.#caught.shift()) {
      const { worker, conspired } = next;
      const past = this.#past(worker);
      const { unchecked, agreed } = past;
      past.unchecked = [];
      this.#lookAt(worker, unchecked);
      if (!conspired) continue;
      // What a conspirator and its friends agreed on was never checked either.
      past.agreed = [];
      this.#lookAt(worker, agreed);
    }
  }

  #lookAt(worker: Worker, tasks: Task[]): void {
    for (let looked = 0, clean = 0; tasks.length > 0 && looksFurther(looked, clean, this.#p); looked += 1) {
      const task = tasks.pop()!;
      const own = task.votes.find(({ by }) => by === worker)!;
      const second = this.#judgeOf((other) => !task.votes.some(({ by }) => by === other));
      if (!second) return;
      this.#world.run(task, [second], true);
      this.#decide(task, false);
      clean = task.answer === own.answer ? clean + 1 : 0;
    }
  }

  #works(worker: Worker): boolean {
    const past = this.#past(worker);
    past.trust = returned(past.trust, this.#world.now, this.#p);
    return mayWork(past.trust);
  }

  #known(worker: Worker) {
    const { trust } = this.#past(worker);
    return {
      right: trust.right,
      wrong: trust.wrong,
      streak: trust.streak,
      standing: trust.standing,
      anchor: worker.anchor,
    };
  }

  #past = (worker: Worker): Past => this.#pasts[worker.id]!;
}
