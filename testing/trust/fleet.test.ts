import { expect, test } from 'vitest';
import { castOf, persona } from '../fleet/persona.ts';
import { personasOf, playFleet } from './fleet.ts';
import { populationSchema } from './population.ts';

const mixed = populationSchema.parse({
  agents: 20,
  honest_wrong: 0.01,
  bad: [
    { persona: 'flaky', share: 0.1 },
    { persona: 'sleeper', share: 0.1, good: 7 },
    { persona: 'oscillator', share: 0.1, good: 5, bad: 3 },
    { persona: 'ring', share: 0.1, cheats: 'always' },
  ],
});

test('agents of a fleet do what those of the model do, each kind in its share', () => {
  const personas = personasOf(mixed);
  expect(personas).toMatchObject({
    honest: { wrong_rate: 0.01 },
    'flaky-0': { wrong_rate: 0.05 },
    'sleeper-1': { wrong_rate: 1, good_runs: 7 },
    'oscillator-2': { wrong_rate: 1, good_runs: 5, bad_runs: 3 },
    'ring-3': { ring: 'always' },
  });
  const parsed = Object.fromEntries(Object.entries(personas).map(([name, it]) => [name, persona.parse(it)]));
  const cast = castOf(mixed.agents, parsed);
  const counts = Object.keys(personas).map((name) => cast.filter((it) => it === name).length);
  expect(counts).toEqual([12, 2, 2, 2, 2]);
});

test('what a coordinator is not set to is not played', async () => {
  const strict = { ...mixed, settings: { audit_share: 1 } };
  await expect(playFleet(strict, { url: 'http://127.0.0.1:1', adminKey: '' }, 1)).rejects.toThrow(/^settings: /);
});
