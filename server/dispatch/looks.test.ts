import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Looks } from './looks.ts';

const classIds = [1, 2];
const looker = { agent_id: 'agent_1', boot_id: 'boot_1', classIds };
const standing = { slots_used: 0, mode: 'OPEN', current: true, lease_expires_at: null, able: true, runs: [] };
const look = { mark: 7, standing };
let looks: Looks;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
  looks = new Looks();
});
afterEach(() => {
  vi.useRealTimers();
});

test('a look is gone on from once', () => {
  looks.keep(looker, 4, look);
  expect(looks.take(looker, 4)).toMatchObject(look);
  expect(looks.take(looker, 4)).toBeUndefined();
});

test.each([
  ['of another agent', { ...looker, agent_id: 'agent_2' }, 4],
  ['of another life', { ...looker, boot_id: 'boot_2' }, 4],
  ['for other classes', { ...looker, classIds: [1, 2] }, 4],
  ['for more', looker, 5],
])('not by a poll %s', (_, other, slots) => {
  looks.keep(looker, 4, look);
  expect(looks.take(other, slots)).toBeUndefined();
});

test.each([
  ['holds something', { ...standing, slots_used: 1 }],
  ['can be given nothing', { ...standing, able: false }],
])('not where the agent %s, and then the one before counts no more', (_, other) => {
  looks.keep(looker, 4, look);
  looks.keep(looker, 4, { mark: 8, standing: other });
  expect(looks.take(looker, 4)).toBeUndefined();
});

test('not after half a second', () => {
  looks.keep(looker, 4, look);
  vi.advanceTimersByTime(501);
  expect(looks.take(looker, 4)).toBeUndefined();
});
