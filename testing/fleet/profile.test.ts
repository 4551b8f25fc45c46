import { expect, test } from 'vitest';
import { ProfileError, parseProfile } from './profile.ts';

test('a profile says who is in the fleet and what comes when', () => {
  const profile = parseProfile(`
agents: 100
seed: 7
personas:
  honest: { share: 0.9, speed_ms: { p50: 100, p99: 900 } }
  vanishing: { share: 0.1 }
task: { max_retries: 5 }
phases:
  - { seconds: 10, from: 0, to: 50 }
  - { seconds: 20, tasks_per_second: 50 }
`);
  expect(profile).toMatchObject({ agents: 100, seed: 7, think_time_ms: 0, task: { max_retries: 5 } });
  // What it does not say is left to the persona that is known by that name.
  expect(profile.personas.vanishing).toEqual({ share: 0.1 });
  expect(profile.phases).toHaveLength(2);
});

test.each([
  ['phases: [', /at line 1/],
  ['agents: 0\nphases: [{ seconds: 1, tasks_per_second: 1 }]', /^line 1, agents: /],
  ['agents: 3', /^phases: /],
  ['phases:\n  - { seconds: 1, from: -1, to: 5 }', /^line 2, phases\.0/],
  [
    'personas:\n  honest: { failure_rate: 2 }\nphases: [{ seconds: 1, tasks_per_second: 1 }]',
    /^line 2, personas\.honest\.failure_rate: /,
  ],
  ['colour: red\nphases: [{ seconds: 1, tasks_per_second: 1 }]', /"colour"/],
  ['agents: 1\nagents: 2\nphases: []', /unique/],
  ['', /phases/],
])('%j is refused with its place', (text, message) => {
  expect(() => parseProfile(text)).toThrow(ProfileError);
  expect(() => parseProfile(text)).toThrow(message);
});
