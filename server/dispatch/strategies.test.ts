import type { Routing } from '@muster/shared/contract/tasks';
import { seededRandom } from '@muster/testing/random';
import jstat from 'jstat';
import { describe, expect, test } from 'vitest';
import { type TaskClass, UNSAID } from '../tasks/store/classes.ts';
import type { NewTask } from '../tasks/store/submit.ts';
import type { Evidence } from '../trust/score.ts';
import { SAMPLE } from './line.ts';
import { Parking } from './parking.ts';
import { createPrecedence } from './precedence.ts';
import type { CandidateRow } from './store/candidates.ts';
import { Turns } from './turns.ts';

const { jStat } = jstat;
const CLASS = 1;
const TASK = { task_id: 'task_it', input_data: '{}' } as NewTask;

interface Member extends Evidence {
  slots: number;
  response_ms: number | undefined;
}
const member = (it: Partial<Member> = {}): Member => ({
  dependable: 0,
  undependable: 0,
  slots: 1,
  response_ms: undefined,
  ...it,
});

/** A fleet whose polls wait for tasks of one class; agents are named by their places. */
function fleet(routing: Routing, members: readonly Member[], seed = 1) {
  const rows = members.map(
    ({ slots, response_ms, ...evidence }, n): CandidateRow => ({
      agent_id: String(n),
      owner: 'o',
      serves: 'all',
      capabilities: ['work'],
      labels: {},
      slots,
      shown: new Map([['work', { ...evidence, right: 0, wrong: 0, standing: 'NEWCOMER' }]]),
      response_ms: new Map(response_ms === undefined ? [] : [['work', response_ms]]),
    }),
  );
  const task: TaskClass = { ...UNSAID, class_id: CLASS, owner: 'o', capability: 'work', routing };
  let ranked = 0;
  const find = (agentId: string) => {
    ranked += 1;
    return rows[Number(agentId)];
  };
  const precedence = createPrecedence({ find }, { find: () => task }, new Turns(), seededRandom(seed));
  // Wishes are looked at by agent, too, and are not what is counted.
  const parking = new Parking(async () => ({ runs: [], able: true }), { ...precedence, preference: () => undefined });
  const used = members.map(() => 0);
  const park = (n: number) => {
    const slots = members[n]!.slots - used[n]!;
    const poll = { agent_id: String(n), boot_id: 'boot', slots, slots_used: used[n]!, classIds: [CLASS] };
    if (slots > 0) void parking.park(poll, 60_000, new AbortController().signal);
  };
  /** Hands off one task, and lets the agent ask again: with a slot less where the task goes on. */
  const give = (goesOn = false): number => {
    const [offer] = parking.handOff([CLASS]);
    const n = Number(offer!.agent_id);
    offer!.accept(1, TASK);
    if (goesOn) used[n]! += 1;
    park(n);
    return n;
  };
  return { parking, park, give, all: () => members.forEach((_, n) => void park(n)), ranked: () => ranked };
}

const counts = (size: number, given: readonly number[]) =>
  Array.from({ length: size }, (_, n) => given.filter((it) => it === n).length);
const chiSquare = (found: readonly number[], shares: readonly number[]) => {
  const total = found.reduce((sum, it) => sum + it, 0);
  return found.reduce((sum, it, n) => sum + (it - total * shares[n]!) ** 2 / (total * shares[n]!), 0);
};
/** The 0.999 quantiles of chi-square with three and four degrees of freedom. */
const [BOUND_3, BOUND_4] = [16.27, 18.47];

/** How likely each one's draw is the greatest: that it falls into a part, and those of all others below, over all parts. */
function chances(members: readonly Member[]): number[] {
  const PARTS = 1_000;
  const below = members.map(
    ({ dependable, undependable }) =>
      (x: number) =>
        jStat.beta.cdf(x, 1 + dependable, 1 + undependable),
  );
  return below.map((own, n) => {
    let sum = 0;
    for (let part = 0; part < PARTS; part += 1) {
      const others = below.filter((_, m) => m !== n).map((other) => other((part + 0.5) / PARTS));
      const within = own((part + 1) / PARTS) - own(part / PARTS);
      sum += others.reduce((product, it) => product * it, within);
    }
    return sum;
  });
}

describe('of those that wait a task goes', () => {
  test('by trust: as often to each as it may be the best', () => {
    const members = [
      member({ dependable: 30 }),
      member({ dependable: 12, undependable: 1 }),
      member(),
      member(),
      member({ dependable: 3, undependable: 9 }),
    ];
    const it = fleet('trust_weighted', members);
    it.all();
    const found = counts(
      members.length,
      Array.from({ length: 6_000 }, () => it.give()),
    );
    const shares = chances(members);
    expect(shares.reduce((sum, share) => sum + share)).toBeCloseTo(1, 4);
    // The last one's share is too small for a part of its own.
    const [first, second, third, ...rest] = found;
    const parts = [first!, second!, third!, rest.reduce((sum, n) => sum + n)];
    expect(chiSquare(parts, [...shares.slice(0, 3), shares[3]! + shares[4]!])).toBeLessThan(BOUND_3);
    expect(found[2]).toBeGreaterThan(0);
  });

  test('by load: to each in proportion to its slots, until all are full', () => {
    const members = [1, 2, 4, 8, 16].map((slots) => member({ slots }));
    const it = fleet('least_loaded', members);
    it.all();
    const given = Array.from({ length: 31 }, () => it.give(true));
    expect(counts(5, given)).toEqual([1, 2, 4, 8, 16]);
    for (const n of [10, 15, 20, 25])
      expect(
        chiSquare(
          counts(5, given.slice(0, n)),
          [1, 2, 4, 8, 16].map((slots) => slots / 31),
        ),
      ).toBeLessThan(5);
    expect(it.parking.handOff([CLASS])).toEqual([undefined]);
  });

  test('by load: to one that is busy already after those that are not', () => {
    const it = fleet('least_loaded', [member({ slots: 4 }), member({ slots: 4 }), member({ slots: 8 })]);
    it.all();
    expect(Array.from({ length: 5 }, () => it.give(true))).toEqual([0, 1, 2, 2, 0]);
  });

  test('in turn: to all alike, whoever comes and goes', () => {
    const random = seededRandom(3);
    const members = Array.from({ length: 8 }, () => member());
    const it = fleet('round_robin', members);
    it.all();
    const given = Array.from({ length: 4_000 }, () => {
      // Some ask anew, and stand at the end of the line.
      for (let n = 0; n < 8; n += 1) if (random() < 0.3) it.park(n);
      return it.give();
    });
    expect(counts(8, given)).toEqual(Array(8).fill(500));
    for (let n = 0; n < 4_000; n += 8) expect(new Set(given.slice(n, n + 8)).size).toBe(8);
  });

  test('by speed: to the fastest that waits; who has no runs goes first, who completes none last', () => {
    const members = [400, 100, 200, Number.POSITIVE_INFINITY, 800].map((response_ms) => member({ response_ms }));
    const random = seededRandom(5);
    const some = fleet('fastest_response', members);
    const given = Array.from({ length: 2_000 }, () => {
      // Half of them wait at a time: the fastest has every second task, the next every fourth.
      for (let n = 0; n < 5; n += 1) some.parking.evict(String(n));
      for (let n = 0; n < 5; n += 1) if (random() < 0.5 || n === 3) some.park(n);
      return some.give();
    });
    const found = counts(5, given);
    expect(chiSquare(found, [1 / 8, 1 / 2, 1 / 4, 1 / 16, 1 / 16])).toBeLessThan(BOUND_4);
    const it = fleet('fastest_response', [...members, member()]);
    it.all();
    expect(it.give()).toBe(5);
  });

  test.each(['least_loaded', 'round_robin', 'fastest_response'] as const)(
    '%s: of equals to who came first',
    (routing) => {
      const it = fleet(
        routing,
        Array.from({ length: 5 }, () => member({ slots: 2 })),
      );
      for (const n of [3, 1, 4, 0, 2]) it.park(n);
      expect(it.parking.handOff([CLASS, CLASS, CLASS]).map((offer) => offer!.agent_id)).toEqual(['3', '1', '4']);
    },
  );
});

describe('of many that wait', () => {
  test.each(['trust_weighted', 'least_loaded', 'round_robin', 'fastest_response'] as const)(
    '%s compares a few for a task, and everybody in turn',
    (routing) => {
      const it = fleet(
        routing,
        Array.from({ length: 1_000 }, () => member()),
      );
      it.all();
      const given = new Set<number>();
      for (let n = 0; n < 200; n += 1) {
        const before = it.ranked();
        given.add(it.give());
        expect(it.ranked() - before).toBe(SAMPLE);
      }
      expect(given.size).toBeGreaterThan(150);
    },
  );

  test('a batch spreads over all of them, one each in a round, and ranks each once a round', () => {
    const it = fleet(
      'trust_weighted',
      Array.from({ length: 100 }, () => member({ slots: 2 })),
    );
    it.all();
    const given = it.parking.handOff(Array(201).fill(CLASS)).map((offer) => offer?.agent_id);
    expect(new Set(given.slice(0, 100)).size).toBe(100);
    expect(new Set(given.slice(100, 200)).size).toBe(100);
    expect(given[200]).toBeUndefined();
    expect(it.ranked()).toBe(200);
  });
});
