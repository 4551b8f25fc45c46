import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import type { NewTask } from '../tasks/store/submit.ts';
import type { News, Waiting } from './parked.ts';
import { type Claimed, Parking } from './parking.ts';
import type { ClaimedRun } from './store/held-runs.ts';

const LONG = 60_000;
const turn = () => new Promise((resolve) => setImmediate(resolve));
const task = { task_id: 'task_it', input_data: '{}' } as NewTask;
const run = (fence: number) => ({ fence, task_id: `task_${fence}` }) as ClaimedRun;
/** As they are when the poll is answered: what is added later is lost. */
const fencesIn = ({ runs }: News) => runs.map((it) => it.fence);
const none: Claimed = { runs: [], able: true };

describe('parked polls', () => {
  let found: (poll: Waiting) => Promise<Claimed>;
  let claims: Waiting[];
  let parking: Parking;
  beforeEach(() => {
    claims = [];
    found = async () => none;
    parking = new Parking(async (poll) => {
      claims.push(poll);
      return found(poll);
    });
  });
  const park = (
    agent_id: string,
    { slots = 1, classIds = [1], waitMs = LONG, signal = new AbortController().signal } = {},
  ) => {
    let news: News | undefined;
    const answered = parking
      .park({ agent_id, boot_id: `boot_${agent_id}`, slots, slots_used: 0, classIds }, waitMs, signal)
      .then((it) => {
        news = it;
        return it;
      });
    return { answered, told: () => news };
  };
  const fencesOf = async ({ answered }: { answered: Promise<News> }) => (await answered).runs.map((it) => it.fence);

  test('are handed tasks in turns, as many as they have slots, by class', () => {
    park('a', { slots: 2 });
    park('b', { slots: 1, classIds: [1, 2] });
    const who = (ids: number[]) => parking.handOff(ids).map((offer) => offer?.agent_id);
    expect(who([3])).toEqual([undefined]);
    expect(who([1, 1, 1, 1])).toEqual(['a', 'b', 'a', undefined]);
    expect(who([2])).toEqual([undefined]);
    expect(parking.awaited()).toEqual([1, 2]);
  });

  test('are not given a class that was paused, until it is resumed', async () => {
    park('a', { classIds: [1, 2] });
    parking.dismiss(1);
    parking.dismiss(1);
    parking.wake([1]);
    await turn();
    expect(claims).toEqual([]);
    expect(parking.awaited()).toEqual([2]);
    expect(parking.handOff([1])).toEqual([undefined]);
    parking.wake([2]);
    expect(claims).toMatchObject([{ agent_id: 'a', classIds: [2] }]);
    await turn();
    parking.admit(1, () => true);
    expect(parking.handOff([1])[0]).toMatchObject({ agent_id: 'a' });
  });

  test('are answered when every hand-off on its way is', async () => {
    const poll = park('a', { slots: 2 });
    const [one, two] = parking.handOff([1, 1]);
    one!.accept(5, task);
    await turn();
    expect(poll.told()).toBeUndefined();
    two!.decline();
    expect(await fencesOf(poll)).toEqual([5]);
    expect(parking.size).toBe(0);
  });

  test('whose time is up while a task is on its way get it', async () => {
    const signal = new AbortController();
    const poll = park('a', { signal: signal.signal });
    const [offer] = parking.handOff([1]);
    signal.abort();
    await turn();
    expect(poll.told()).toBeUndefined();
    expect(parking.handOff([1])).toEqual([undefined]);
    offer!.accept(6, task);
    expect(await fencesOf(poll)).toEqual([6]);
    expect(await fencesOf(park('b', { waitMs: 1 }))).toEqual([]);
  });

  test('that decline leave and are not offered the next one', async () => {
    const poll = park('a', { slots: 3 });
    parking.handOff([1])[0]!.decline();
    expect(await fencesOf(poll)).toEqual([]);
    expect(parking.handOff([1])).toEqual([undefined]);
  });

  test('are woken for their classes only, claim for what they still want, and wait on when there is nothing', async () => {
    const [poll, other] = [park('a', { slots: 3 }), park('b', { classIds: [2] })];
    const [offer] = parking.handOff([1]);
    parking.wake([1]);
    expect(claims).toMatchObject([{ agent_id: 'a', slots: 2 }]);
    await turn();
    expect(poll.told()).toBeUndefined();
    offer!.accept(1, task);
    expect(await fencesOf(poll)).toEqual([1]);
    found = async () => ({ runs: claims.length === 2 ? [run(2)] : [], able: true });
    parking.wake([2]);
    expect(await fencesOf(other)).toEqual([2]);
  });

  test('behind those that found something are woken too, many at once or not', async () => {
    const polls = Array.from({ length: 40 }, (_, n) => park(`a${n}`));
    let fence = 0;
    found = async () => ({ runs: [run(++fence)], able: true });
    parking.wake([1]);
    const fences = (await Promise.all(polls.map(fencesOf))).flat();
    expect(new Set(fences).size).toBe(40);
  });

  test('wait on when a claim fails', async () => {
    const poll = park('a');
    found = async () => Promise.reject(new Error('away'));
    parking.wake([1]);
    await turn();
    expect(poll.told()).toBeUndefined();
    found = async () => ({ runs: [run(9)], able: true });
    parking.wake([1]);
    expect(await fencesOf(poll)).toEqual([9]);
  });

  test('that found nothing that fits them are asked last when there is news again', async () => {
    const polls = Array.from({ length: 40 }, (_, n) => park(`a${n}`));
    found = async ({ agent_id }) => ({ runs: agent_id === 'a39' ? [run(1)] : [], able: true });
    for (let news = 0; news < 3; news += 1) {
      parking.wake([1]);
      await turn();
    }
    expect(await fencesOf(polls[39]!)).toEqual([1]);
  });

  test('look again for what came up while they looked', async () => {
    const poll = park('a', { classIds: [1, 2] });
    let answer: (claimed: Claimed) => void = () => {};
    found = () => new Promise((resolve) => (answer = resolve));
    parking.wake([1]);
    expect(parking.handOff([2])).toEqual([undefined]);
    parking.wake([2]);
    expect(claims).toHaveLength(1);
    found = async () => ({ runs: [run(2)], able: true });
    answer(none);
    expect(await fencesOf(poll)).toEqual([2]);
  });

  test('make way for the next poll of their agent, and hear of cancels and of classes that come up', async () => {
    const first = park('a');
    const second = park('a');
    expect(await first.answered).toEqual({ runs: [], cancel: [] });
    parking.admit(7, (agentId) => agentId === 'a');
    parking.admit(8, () => false);
    expect(parking.awaited()).toEqual([1, 7]);
    expect(parking.handOff([7])[0]!.agent_id).toBe('a');
    const third = park('c');
    parking.cancel({ agent_id: 'c', fence: 4 });
    parking.cancel({ agent_id: 'nobody', fence: 4 });
    expect(await third.answered).toEqual({ runs: [], cancel: [4] });
    expect(second.told()).toBeUndefined();
  });

  test('are let go when the coordinator drains, and later ones at once', async () => {
    const polls = [park('a'), park('b')];
    parking.close();
    expect(await Promise.all([...polls, park('c')].map(fencesOf))).toEqual([[], [], []]);
    expect([parking.size, parking.awaited()]).toEqual([0, []]);
  });

  test('look at once for what came up since they looked, of their classes', async () => {
    const mark = parking.mark();
    parking.wake([1]);
    found = async ({ agent_id }) => ({ runs: agent_id === 'a' ? [run(3)] : [], able: true });
    const signal = new AbortController().signal;
    const parkAt = (agent_id: string, classIds: number[], at: number) =>
      parking.park({ agent_id, boot_id: 'boot', slots: 1, slots_used: 0, classIds, mark: at }, LONG, signal);
    expect((await parkAt('a', [1, 2], mark)).runs).toEqual([run(3)]);
    void parkAt('b', [2], mark);
    void parkAt('c', [1], parking.mark());
    await turn();
    expect([claims.length, parking.size]).toEqual([1, 2]);
  });

  test('ask again at once when their agent was told something while they looked', async () => {
    const signal = new AbortController().signal;
    const parkAt = (agent_id: string, mark: number) =>
      parking.park({ agent_id, boot_id: 'boot', slots: 1, slots_used: 0, classIds: [1], mark }, LONG, signal);
    const mark = parking.mark();
    parking.evict('a');
    parking.cancel({ agent_id: 'b', fence: 4 });
    expect(await Promise.all([parkAt('a', mark), parkAt('b', mark)])).toEqual(Array(2).fill({ runs: [], cancel: [] }));
    for (const agent of ['a', 'b']) void parkAt(agent, parking.mark());
    void parkAt('c', mark);
    await turn();
    expect(parking.size).toBe(3);
  });

  test('whatever happens, every run is told once, to the poll it was for, and no poll is told of more than it asked', async () => {
    const step = fc.record({
      do: fc.constantFrom('park', 'offer', 'offer', 'wake', 'abort', 'cancel', 'turn', 'settle'),
      who: fc.nat(5),
      n: fc.nat(3),
      flag: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
        let fence = 0;
        const given = new Map<number, string>();
        const waiting: (() => void)[] = [];
        const polls: { agent: string; slots: number; answered: Promise<number[]>; end: AbortController }[] = [];
        const give = (agent: string) => {
          fence += 1;
          given.set(fence, agent);
          return fence;
        };
        const later = () => new Promise<void>((resolve) => void waiting.push(resolve));
        let generous = true;
        const it = new Parking(async (poll) => {
          await later();
          const count = generous ? Math.min(poll.slots, 1 + (fence % 2)) : 0;
          return { runs: Array.from({ length: count }, () => run(give(poll.agent_id))), able: true };
        });
        const settle = () => {
          for (const go of waiting.splice(0, 2)) go();
        };
        for (const { do: what, who, n, flag } of steps) {
          generous = flag;
          if (what === 'park') {
            const end = new AbortController();
            const poll = { agent_id: `a${who}`, boot_id: 'b', slots: n + 1, slots_used: 0, classIds: [n % 2, 2] };
            polls.push({
              agent: poll.agent_id,
              slots: poll.slots,
              end,
              answered: it.park(poll, LONG, end.signal).then(fencesIn),
            });
          } else if (what === 'offer') {
            for (const offer of it.handOff([n % 3, 2]))
              if (offer) void later().then(() => (flag ? offer.accept(give(offer.agent_id), task) : offer.decline()));
          } else if (what === 'wake') it.wake([n % 3]);
          else if (what === 'abort') polls[who]?.end.abort();
          else if (what === 'cancel') it.cancel({ agent_id: `a${who}`, fence: 0 });
          else if (what === 'turn') await turn();
          else settle();
        }
        it.close();
        while (waiting.length > 0) {
          settle();
          await turn();
        }
        const told = await Promise.all(polls.map(async (poll) => ({ ...poll, fences: await poll.answered })));
        for (const { agent, slots, fences } of told) {
          expect(fences.length).toBeLessThanOrEqual(slots);
          for (const one of fences) expect(given.get(one)).toBe(agent);
        }
        expect(told.flatMap(({ fences }) => fences).sort((a, b) => a - b)).toEqual([...given.keys()]);
        expect(it.size).toBe(0);
      }),
      { numRuns: 300, seed: 1 },
    );
  });
});
