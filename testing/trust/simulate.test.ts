import { describe, expect, test } from 'vitest';
import { POPULATIONS, type Population, populationSchema, problemsOf } from './population.ts';
import { simulateRouting } from './routing.ts';
import { type Outcome, type SchemeName, simulate } from './simulate.ts';

/** Least and most of a figure over the seeds 1 to 20. */
type Range = readonly [least: number, most: number];
interface Expected {
  none: Range;
  wrong: Range;
  work: Range;
  caught: Range;
  /** Runs of the median caught agent from its first wrong answer on. */
  catch: number;
  falsely_out: number;
}

/** By population, in the order of POPULATIONS, which is that of the table in docs/trust.md. */
const EXPECTED: Expected[] = [
  // all honest
  { none: [0, 0], wrong: [0, 0], work: [1.11, 1.14], caught: [0, 0], catch: 0, falsely_out: 2 },
  // 10 % flaky, 5 % wrong
  { none: [0.46, 0.54], wrong: [0.029, 0.109], work: [1.14, 1.17], caught: [18, 20], catch: 29, falsely_out: 1.7 },
  // 20 % saboteurs, all wrong
  { none: [19.84, 20.34], wrong: [0, 0], work: [1.11, 1.13], caught: [40, 40], catch: 2, falsely_out: 1.3 },
  // 35 % saboteurs, all wrong
  { none: [34.71, 35.37], wrong: [0, 0], work: [1.1, 1.12], caught: [70, 70], catch: 3, falsely_out: 1.6 },
  // 20 % saboteurs, 10 % wrong
  { none: [1.91, 2.1], wrong: [0, 0.044], work: [1.13, 1.16], caught: [40, 40], catch: 10.5, falsely_out: 1.9 },
  // 20 % saboteurs, 1 % wrong
  { none: [0.18, 0.22], wrong: [0.143, 0.193], work: [1.13, 1.16], caught: [1, 7], catch: 35.5, falsely_out: 1.9 },
  // 10 % sleepers, 300 good
  { none: [3.9, 4.19], wrong: [0, 0], work: [1.13, 1.15], caught: [20, 20], catch: 8, falsely_out: 1.2 },
  // 20 % oscillators, 200 good, 50 bad
  { none: [3.55, 3.8], wrong: [0, 0], work: [1.14, 1.16], caught: [40, 40], catch: 5.5, falsely_out: 1.3 },
  // 20 % ring, cheats when two hold a task
  { none: [0, 0], wrong: [0.059, 0.142], work: [1.18, 1.25], caught: [38, 40], catch: 29.5, falsely_out: 17.5 },
  // 20 % ring, always the same wrong
  { none: [19.71, 20.29], wrong: [0.008, 0.021], work: [1.11, 1.14], caught: [40, 40], catch: 3, falsely_out: 3.8 },
  // mixed, 30 % bad
  { none: [6.74, 7.05], wrong: [0.037, 0.109], work: [1.15, 1.2], caught: [51, 59], catch: 12, falsely_out: 4.3 },
];
const SEEDS = [1];

const played = (population: Population, scheme: SchemeName, seed: number): Outcome =>
  simulate(population, scheme, seed);
const within = (value: number, [least, most]: Range) => {
  expect(value).toBeGreaterThanOrEqual(least);
  expect(value).toBeLessThanOrEqual(most);
};

describe.each(POPULATIONS.map((population, n) => [population.name, population, EXPECTED[n]!] as const))(
  '%s',
  (_, population, expected) => {
    test.each(SEEDS)('with seed %i comes out as with twenty seeds', (seed) => {
      const muster = played(population, 'Muster', seed);
      within(muster.wrong_percent, expected.wrong);
      within(muster.work, expected.work);
      within(muster.caught, expected.caught);
      expect(muster.runs_to_catch ?? 0).toBeLessThanOrEqual(expected.catch);
      expect(muster.falsely_quarantined_percent).toBeLessThanOrEqual(expected.falsely_out);
      expect(muster.disputed_percent).toBeLessThanOrEqual(0.03);
      expect(muster.runs_to_trust).toBeLessThanOrEqual(35);
    });

    test('is what it says: believing everybody takes so much that is wrong, a quorum runs everything twice', () => {
      within(played(population, 'none', 1).wrong_percent, expected.none);
      expect(played({ ...population, tasks: 20_000 }, 'quorum-2', 1).work).toBeGreaterThanOrEqual(2);
    });
  },
);

describe('beside the others', () => {
  const named = (part: string) => POPULATIONS.find(({ name }) => name.includes(part))!;

  test('Q ring framing: five anchors halve the time to trust, and hardly anybody honest is sent away', () => {
    const anchored = played({ ...named('two hold'), anchors: 5 }, 'Muster', 1);
    expect(anchored.runs_to_trust).toBeLessThanOrEqual(12);
    expect(anchored.falsely_quarantined_percent).toBeLessThanOrEqual(2);
    expect(anchored.wrong_percent).toBeLessThanOrEqual(0.15);
  });

  test('saboteurs cost a quorum and BOINC for ever, Muster sends them away', () => {
    const population = named('35 %');
    const [quorum, boinc, muster] = (['quorum-2', 'BOINC adaptive', 'Muster'] as const).map((scheme) =>
      played(population, scheme, 1),
    );
    expect(muster!.work).toBeLessThan(1.15);
    expect(boinc!.steady_work).toBeGreaterThan(1.9);
    expect(quorum!.work).toBeGreaterThan(2.9);
    expect(muster!.disputed_percent * 20).toBeLessThan(boinc!.disputed_percent);
  });

  test('a ring that always agrees gets through a quorum and BOINC, not through Muster', () => {
    const population = named('same wrong');
    expect(played(population, 'quorum-2', 1).wrong_percent).toBeGreaterThan(9);
    expect(played(population, 'BOINC adaptive', 1).wrong_percent).toBeGreaterThan(7);
    expect(played(population, 'Muster', 1).wrong_percent).toBeLessThan(0.03);
  });
});

describe('a simulation', () => {
  test('is the same for the same seed, and another for another', () => {
    const population = populationSchema.parse({ tasks: 3_000, bad: [{ persona: 'saboteur', share: 0.2, wrong: 0.3 }] });
    const [first, again, other] = [1, 1, 2].map((seed) => played(population, 'Muster', seed));
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
  });

  test('obeys the settings of its file: nothing is replicated without reason where all is believed', () => {
    const settings = {
      promote_streak: 0,
      promote_certainty: 0,
      replicate_least: 0,
      replicate_doubt: 0,
      canary_share: 0,
    };
    const [strict, lax] = [{}, settings].map((it) =>
      played(populationSchema.parse({ tasks: 20_000, settings: it }), 'Muster', 1),
    );
    expect(lax!.work).toBeLessThan(strict!.work - 0.1);
  });

  test('ends when everybody was sent away', () => {
    const population = populationSchema.parse({
      agents: 10,
      tasks: 500,
      honest_wrong: 1,
      settings: { quarantines_to_ban: 1, quarantine_certainty: 0 },
    });
    expect(played(population, 'Muster', 1).disputed_percent).toBeGreaterThan(50);
  });
});

describe('a population file', () => {
  test.each([
    [{ agents: 3 }, 'agents: Too small: expected number to be >=10 (is 3)'],
    [{ bad: [{ persona: 'saboteur', share: -1 }] }, 'bad.0.share: Too small: expected number to be >=0 (is -1)'],
    [{ bad: [{ persona: 'liar', share: 0.1 }] }, /^bad\.0\.persona: .*'flaky' \| 'saboteur'.* \(is "liar"\)$/],
    [{ settings: { audits: 1 } }, 'settings: Unrecognized key: "audits"'],
    [{ settings: { audit_share: 1.5 } }, 'settings.audit_share: Too big: expected number to be <=1 (is 1.5)'],
    [{ bad: [{ persona: 'flaky', share: 0.95 }] }, 'bad: the shares come to 0.95, at most 0.9'],
    [{ agents: 10, anchors: 11 }, 'anchors: more than there are honest agents (is 11)'],
    [[], 'the whole: Invalid input: expected object, received array'],
  ])('%j is refused with what is wrong', (value, problem) => {
    const [first, ...others] = problemsOf(value);
    if (typeof problem === 'string') expect(first).toBe(problem);
    else expect(first).toMatch(problem);
    expect(others).toEqual([]);
  });

  test('that says nothing is two hundred honest agents', () => {
    expect(problemsOf({})).toEqual([]);
    expect(populationSchema.parse({})).toMatchObject({ agents: 200, anchors: 0, bad: [] });
  });
});

describe('who is given work', () => {
  test('by Thompson draws: what is tried first succeeds, newcomers get their share, who degrades loses it', () => {
    const routed = simulateRouting('trust_weighted', 0.3, 50_000, 1);
    expect(routed.first_try_percent).toBeGreaterThanOrEqual(99);
    expect(routed.newcomer_share).toBeGreaterThanOrEqual(0.9);
    expect(routed.degraded_share).toBeLessThanOrEqual(0.1);
  });

  test('by the best score newcomers have too little, by chance failures stay', () => {
    expect(simulateRouting('best score', 0.3, 30_000, 1).newcomer_share).toBeLessThan(0.7);
    expect(simulateRouting('random', 0.3, 30_000, 1).first_try_percent).toBeLessThan(92);
  });
});
