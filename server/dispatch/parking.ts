import type { HangUp } from '../platform/ctx.ts';
import type { Offer } from '../tasks/submit.ts';
import { bestFirst, firstOf, Line, tiersOf } from './line.ts';
import { free, freeIn, type News, type Parked, parkedOf, used, type Waiting, wantedBy } from './parked.ts';
import { FIRST_COME, type Precedence } from './precedence.ts';
import { type ClaimedRun, firstRunOf } from './store/held-runs.ts';

/** What a claim for a waiting poll found. `able`: the agent could have been given something. */
export interface Claimed {
  runs: ClaimedRun[];
  able: boolean;
}

/** How many parked polls one piece of news wakes at first; more are woken while claims find work. */
const WAKE_AT_ONCE = 16;

/**
 * Where polls wait, first come first served. A poll may be in three hands at once: a submit that hands it tasks, a claim it
 * was woken for, and its timer. It is answered when the last of them has let go, so that no run is given to a poll that left.
 */
export class Parking {
  private readonly byClass = new Map<number, Line<Parked>>();
  private readonly byAgent = new Map<string, Parked>();
  /** When each class last had news, counted in pieces of news. */
  private readonly newsOf = new Map<number, number>();
  /** The same for what was told to each agent alone. */
  private readonly newsFor = new Map<string, number>();
  private readonly claim: (poll: Waiting) => Promise<Claimed>;
  private readonly precedence: Precedence;
  private told = 0;
  private closed = false;

  constructor(claim: (poll: Waiting) => Promise<Claimed>, precedence: Precedence = FIRST_COME) {
    this.claim = claim;
    this.precedence = precedence;
  }

  get size(): number {
    return this.byAgent.size;
  }

  /** The moment before a poll looks for work: what is told from here on it cannot have seen. */
  mark(): number {
    return this.told;
  }

  /**
   * Waits until there are runs for the poll, its time is up or `signal` ends it: then with none. News since the poll's
   * `mark` is looked into at once; news for its agent alone ends it, for it to ask again. `cancel`: fences it is to be told of when it is answered.
   */
  park(poll: Waiting & { cancel?: number[]; mark?: number }, waitMs: number, signal: HangUp): Promise<News> {
    const { cancel = [], mark = this.told } = poll;
    if (waitMs === 0) return Promise.resolve({ runs: [], cancel });
    const older = this.byAgent.get(poll.agent_id);
    if (older) this.end(older);
    return new Promise((resolve) => {
      const end = () => this.end(parked);
      const timer = setTimeout(end, waitMs);
      const parked = parkedOf(poll, {
        cancel,
        resolve(news) {
          clearTimeout(timer);
          signal.removeEventListener('abort', end);
          resolve(news);
        },
      });
      this.byAgent.set(poll.agent_id, parked);
      for (const id of parked.classIds) this.index(id, parked);
      if (this.closed || signal.aborted || (this.newsFor.get(poll.agent_id) ?? 0) > mark) return end();
      signal.addEventListener('abort', end);
      if (this.hasNews(parked, mark)) void this.claimFor(parked);
    });
  }

  /** Gives the tasks of a submit to parked polls: one each in turns, so that a batch spreads over everybody who waits. */
  handOff(classIds: readonly number[]): (Offer | undefined)[] {
    const turns = new Map<number, Iterator<Parked>>();
    return classIds.map((id) => {
      const poll = this.byClass.has(id) ? this.nextInTurn(id, turns) : undefined;
      if (poll) this.precedence.gave(id, [poll.agent_id]);
      return poll && this.offerTo(poll);
    });
  }

  /** Lets parked polls of these classes claim. */
  wake(classIds: readonly number[]): void {
    this.told += 1;
    for (const id of classIds) {
      this.newsOf.set(id, this.told);
      if (this.byClass.has(id)) void this.wakeClass(id);
    }
  }

  /** Tells an agent's waiting poll that one of its runs is to be stopped. */
  cancel({ agent_id, fence }: { agent_id: string; fence: number }): void {
    const poll = this.waitingOf(agent_id);
    if (!poll) return;
    poll.cancel.push(fence);
    this.end(poll);
  }

  /** An agent is not what it was when it parked: it has to ask again. */
  evict(agentId: string): void {
    const poll = this.waitingOf(agentId);
    if (poll) this.end(poll);
  }

  /** A class came up: those parked polls that fit it wait for it too. */
  admit(classId: number, fits: (agentId: string) => boolean): void {
    for (const poll of this.byAgent.values()) {
      if (poll.classIds.includes(classId) || !fits(poll.agent_id)) continue;
      poll.classIds.push(classId);
      this.index(classId, poll);
    }
  }

  /** A class is paused: nobody waits for it. */
  dismiss(classId: number): void {
    for (const poll of this.byClass.get(classId) ?? []) poll.classIds.splice(poll.classIds.indexOf(classId), 1);
    this.byClass.delete(classId);
  }

  /** The classes parked polls wait for. */
  awaited(): number[] {
    return [...this.byClass.keys()];
  }

  /** The polls with room that wait for a class, or for any, as they stand in line; `slots_used` with what is on its way to them. */
  *lineOf(classId?: number): Generator<Pick<Waiting, 'agent_id' | 'slots_used'>> {
    const line = classId === undefined ? this.byAgent.values() : (this.byClass.get(classId) ?? []);
    for (const poll of freeIn(line)) yield { agent_id: poll.agent_id, slots_used: used(poll) };
  }

  /** The agents whose polls are parked. */
  agents = (): string[] => [...this.byAgent.keys()];

  /** Ends every wait, and every later one at once: the coordinator drains. */
  close(): void {
    this.closed = true;
    for (const poll of [...this.byAgent.values()]) this.end(poll);
  }

  /** The poll that is to hear news for its agent; one that is about to park learns by its mark. */
  private waitingOf(agentId: string): Parked | undefined {
    this.told += 1;
    this.newsFor.set(agentId, this.told);
    return this.byAgent.get(agentId);
  }

  private hasNews({ classIds }: Parked, mark: number): boolean {
    return classIds.some((id) => (this.newsOf.get(id) ?? 0) > mark);
  }

  private index(classId: number, poll: Parked): void {
    const waiting = this.byClass.get(classId) ?? new Line();
    this.byClass.set(classId, waiting.add(poll));
  }

  private end(poll: Parked): void {
    poll.ended = true;
    this.settle(poll);
  }

  private settle(poll: Parked): void {
    if (poll.reserved > 0 || poll.claiming || (poll.runs.length === 0 && !poll.ended)) return;
    if (this.byAgent.get(poll.agent_id) === poll) this.byAgent.delete(poll.agent_id);
    for (const id of poll.classIds) {
      this.byClass.get(id)?.delete(poll);
      if (this.byClass.get(id)?.size === 0) this.byClass.delete(id);
    }
    poll.resolve({ runs: poll.runs, cancel: poll.cancel });
  }

  private nextInTurn(classId: number, turns: Map<number, Iterator<Parked>>): Parked | undefined {
    for (let rounds = 0; rounds < 2; rounds += 1) {
      const turn = turns.get(classId) ?? this.inTurn(classId);
      turns.set(classId, turn);
      for (let it = turn.next(); !it.done; it = turn.next()) if (free(it.value) > 0) return it.value;
      turns.delete(classId);
    }
    return undefined;
  }

  /** The polls with room that wait for a class, each once, who is to be given a task first. */
  private *inTurn(classId: number): Generator<Parked> {
    for (const tier of this.tiers(classId)) yield* this.ranked(classId, freeIn(tier));
  }

  private ranked(classId: number, polls: Iterable<Parked>): Generator<Parked> {
    const rankOf = this.precedence.rankIn(classId);
    return bestFirst(polls, (poll) => rankOf({ agent_id: poll.agent_id, slots_used: used(poll) }));
  }

  /** The polls that wait for a class; where its tasks have wishes, by how well they suit them. */
  private tiers(classId: number): readonly Iterable<Parked>[] {
    const waiting = this.byClass.get(classId) ?? new Line<Parked>();
    const { first } = waiting;
    if (!first || this.precedence.preference(first.agent_id, classId) === undefined) return [waiting.round()];
    return tiersOf(waiting, ({ agent_id }) => this.precedence.preference(agent_id, classId) ?? 0);
  }

  private offerTo(poll: Parked): Offer {
    poll.reserved += 1;
    return {
      agent_id: poll.agent_id,
      boot_id: poll.boot_id,
      accept: (fence, task) => {
        poll.reserved -= 1;
        poll.runs.push(firstRunOf(task, fence));
        this.settle(poll);
      },
      decline: () => {
        poll.reserved -= 1;
        // Its slots are not what it thinks, or it is closed: it should not be offered the next task too.
        this.end(poll);
      },
    };
  }

  private async wakeClass(classId: number): Promise<void> {
    for (let found = true; found; ) {
      found = false;
      for (const tier of this.tiers(classId)) {
        // Those that claim together are served in this order.
        const woken = [...this.ranked(classId, firstOf(WAKE_AT_ONCE, freeIn(tier)))];
        // Polls that cannot be given anything have left by now: those behind them get their turn.
        found = (await Promise.all(woken.map((poll) => this.claimFor(poll)))).some(Boolean);
        // What did not fit them may fit others: the next news is theirs first.
        if (!found) this.byClass.get(classId)?.toEnd(woken);
        if (found) break;
      }
    }
  }

  /** Claims for a poll; whether that changed anything: it got runs, or it left because it can get none. */
  private async claimFor(poll: Parked): Promise<boolean> {
    poll.claiming = true;
    try {
      for (;;) {
        const mark = this.mark();
        const { runs, able } = await this.claim(wantedBy(poll));
        poll.runs.push(...runs);
        if (!able) poll.ended = true;
        if (runs.length > 0 || !able) return true;
        // Of what was told meanwhile it has not seen anything, and was not woken for it.
        if (poll.ended || poll.runs.length > 0 || !this.hasNews(poll, mark)) return false;
      }
    } catch {
      // The poll's own caller learns of a broken database by its next request.
      return false;
    } finally {
      poll.claiming = false;
      this.settle(poll);
    }
  }
}
