import type { Verified } from '@muster/shared/contract/verification';
import { describe, expect, test } from 'vitest';
import { newcomer } from '../trust/model.ts';
import type { Known } from '../trust/scrutiny.ts';
import { type Facts, partnersOf, plan } from './plan.ts';
import type { Asked, Checking, Kind } from './store/due.ts';

const asked = (more: Partial<Verified> = {}): Verified => ({
  policy: 'always',
  quorum: 2,
  max_runs: 6,
  comparator: { kind: 'exact' },
  deadline_seconds: 100,
  otherwise: 'wait',
  ...more,
});
const stranger: Known = { ...newcomer(0), anchor: false };
const trusted = (streak: number, right = 100): Known => ({
  right,
  wrong: 0,
  streak,
  standing: 'TRUSTED',
  anchor: false,
});

const NOW = 1_000_000;
const checking = (answers: (Kind | null)[], more: Partial<Checking> = {}): Checking => ({
  task_id: 't',
  state: 'VERIFYING',
  turn: 0,
  owner: 'o',
  class_id: 1,
  capability: 'c',
  verification: asked(),
  fence: 1,
  suspect: null,
  audited: null,
  note: null,
  finality: null,
  canary: null,
  parties: [],
  apart: 'owner',
  answers: answers.map((kind, n) => ({ fence: n + 1, agent_id: `a${n}`, kind })),
  open: [],
  compared: [],
  asked: answers.length - 1,
  ended: false,
  now: NOW,
  ...more,
});
const wanted = (more: Partial<Asked> = {}): Asked => ({ replica: 1, trusted: false, since: NOW, live: false, ...more });
/** Answers by number: `0, 0, 1` are two that are equal and another. */
const facts = (answers: number[], random = 0.99, known: Known[] = answers.map(() => stranger)): Facts => ({
  known,
  equal: answers.map((it) => answers.indexOf(it)),
  vain: 0,
  random: () => random,
});

test.each([
  ['quorum', asked({ policy: 'quorum', quorum: 4 }), trusted(1_000), 0.99, 3],
  ['always', asked(), trusted(1_000), 0.99, 1],
  ['adaptive, of a stranger', asked({ policy: 'adaptive' }), stranger, 0.99, 1],
  ['adaptive, of one that is trusted', asked({ policy: 'adaptive' }), trusted(1_000), 0.06, 0],
  ['adaptive, and drawn', asked({ policy: 'adaptive' }), trusted(1_000), 0.04, 1],
  ['adaptive, of an anchor', asked({ policy: 'adaptive' }), { ...stranger, anchor: true }, 0, 0],
])('how many are asked when it is claimed: %s', (_, verification, agent, random, partners) => {
  expect(partnersOf(verification, agent, () => random)).toBe(partners);
});

describe('when the answers are in', () => {
  test('two that agree decide, for both of them', () => {
    expect(plan(checking([null, 'replica']), facts([0, 0]))).toEqual({
      do: 'settle',
      winner: 1,
      finality: 'verified',
      note: null,
      audited: false,
      verdicts: [
        { found: 'RIGHT', vouched: false },
        { found: 'RIGHT', vouched: false },
      ],
    });
  });
  test('some of those are judged by a third, once', () => {
    const it = checking([null, 'replica']);
    expect(plan(it, facts([0, 0], 0.1))).toEqual({ do: 'ask', kind: 'audit', count: 1, audited: true });
    const audited = { audited: true };
    expect(plan({ ...it, ...audited }, facts([0, 0]))).toMatchObject({ do: 'ask', kind: 'audit' });
    expect(plan(checking([null, 'replica', 'audit'], audited), facts([0, 0, 0]))).toMatchObject({
      do: 'settle',
      audited: true,
    });
    expect(plan({ ...it, audited: false }, facts([0, 0], 0))).toMatchObject({ do: 'settle' });
  });
  test('two that differ are judged, until one outweighs the others or so many have answered', () => {
    expect(plan(checking([null, 'replica']), facts([0, 1]))).toMatchObject({ do: 'ask', kind: 'judge' });
    expect(plan(checking([null, 'replica', 'judge']), facts([0, 1, 1]))).toMatchObject({
      do: 'settle',
      winner: 2,
      verdicts: [{ found: 'WRONG' }, { found: 'RIGHT' }, { found: 'RIGHT' }],
    });
    const six: (Kind | null)[] = [null, 'replica', 'judge', 'judge', 'judge', 'judge'];
    expect(plan(checking(six), facts([0, 1, 2, 3, 4, 5]))).toMatchObject({ do: 'dispute', code: 'disputed' });
    const few = checking([null, 'replica'], { verification: asked({ max_runs: 2 }) });
    expect(plan(few, facts([0, 1]))).toMatchObject({ do: 'dispute', code: 'disputed' });
  });
  test('those who err alike, and someone trusted says that they do, conspired', () => {
    const it = checking([null, 'replica', 'audit', 'judge']);
    const anchor = { ...stranger, anchor: true };
    expect(plan(it, facts([0, 0, 1, 1], 0.99, [stranger, stranger, anchor, anchor]))).toMatchObject({
      winner: 3,
      verdicts: [{ found: 'COLLUDED' }, { found: 'COLLUDED' }, { found: 'RIGHT' }, { found: 'RIGHT' }],
    });
  });
  test('a quorum that lacks answers asks for them; one that gets none in the end is unverified', () => {
    const verification = asked({ policy: 'quorum', quorum: 3 });
    expect(plan(checking([null], { verification, asked: 2 }), facts([0]))).toMatchObject({
      do: 'ask',
      kind: 'replica',
      count: 2,
    });
    expect(plan(checking([null], { verification, asked: 18 }), facts([0]))).toMatchObject({
      do: 'dispute',
      code: 'unverified',
    });
  });
  test('an answer nobody drew for is drawn for now, and one that was drawn for is not let off', () => {
    const adaptive = { verification: asked({ policy: 'adaptive' }) };
    const believed = [trusted(1_000)];
    const alone = { do: 'settle', finality: 'provisional', verdicts: [] };
    expect(plan(checking([null], { ...adaptive, asked: 0 }), facts([0], 0.06, believed))).toMatchObject(alone);
    expect(plan(checking([null], { ...adaptive, asked: 0 }), facts([0], 0.04, believed))).toMatchObject({ do: 'ask' });
    expect(plan(checking([null], { ...adaptive, asked: 1 }), facts([0], 0.06, believed))).toMatchObject({ do: 'ask' });
    expect(plan(checking([null], { asked: 0 }), facts([0], 0.99, believed))).toMatchObject({ do: 'ask' });
  });
});

describe('what a checker is to compare', () => {
  const open = (vain: number, known = [stranger, stranger]) => ({
    ...facts([0, 1], 0.99, known),
    equal: undefined,
    vain,
  });
  test('is not decided, and asked of one after the other until it was in vain too often: then it is disputed', () => {
    const it = checking([null, 'replica']);
    for (const vain of [0, 2]) expect(plan(it, open(vain))).toMatchObject({ do: 'ask', kind: 'checker', count: 1 });
    const disputed = { do: 'dispute', code: 'disputed' };
    expect(plan(it, open(3))).toMatchObject(disputed);
    for (const otherwise of ['accept', 'fail'] as const) {
      const late = { open: [wanted({ since: NOW - 100_000 })], verification: asked({ otherwise }) };
      expect(plan(checking([null, 'replica'], late), open(0))).toMatchObject(disputed);
    }
    expect(plan({ ...it, asked: 18 }, open(0))).toMatchObject({ do: 'dispute', code: 'unverified' });
  });
  test('of a result that is looked at again, too; in vain it stays as it is', () => {
    const it = checking([null, 'look_back'], { state: 'REVIEWING', suspect: 'a0', ended: true });
    expect(plan(it, open(2))).toMatchObject({ do: 'ask', kind: 'checker' });
    expect(plan(it, open(3))).toMatchObject({ do: 'review', winner: 1, finality: 'provisional', verdicts: [] });
  });
});

describe('while somebody is asked', () => {
  const at = (seconds: number) => ({ since: NOW - seconds * 1_000 });
  test('somebody trusted is waited for half the time, then anybody for the rest', () => {
    const step = (it: Partial<Asked>) => plan(checking([null], { open: [wanted(it)] }), facts([0]));
    expect(step({ trusted: true, ...at(49) })).toMatchObject({ do: 'postpone', until: NOW + 1_000 });
    expect(step({ trusted: true, ...at(50) })).toEqual({ do: 'relax', until: NOW + 50_000 });
    expect(step(at(50))).toMatchObject({ do: 'postpone', until: NOW + 50_000 });
    expect(step({ live: true, ...at(500) })).toMatchObject({ do: 'postpone', until: null });
  });
  test.each([
    ['accept', [0], { do: 'settle', winner: 1, finality: 'provisional', note: expect.stringMatching(/deadline/) }],
    ['fail', [0], { do: 'dispute', code: 'unverified' }],
    ['wait', [0], { do: 'readmit', note: expect.stringMatching(/deadline/) }],
    ['accept', [0, 1], { do: 'dispute', code: 'disputed' }],
    ['fail', [0, 1], { do: 'dispute', code: 'disputed' }],
    ['fail', [0, 0], { do: 'settle', finality: 'verified' }],
  ] as const)('at the end: %s with answers %j', (otherwise, answers, step) => {
    const it = checking(
      answers.map((_, n) => (n === 0 ? null : 'replica')),
      { open: [wanted(at(100))], verification: asked({ otherwise }) },
    );
    expect(plan(it, facts([...answers]))).toMatchObject(step);
  });
  test('nothing is decided before the task has an answer, or while one who checks is at it', () => {
    const accept = { verification: asked({ otherwise: 'accept' }), open: [wanted(at(200))] };
    expect(plan(checking([], { ...accept, state: 'OPEN' }), facts([]))).toMatchObject({ do: 'postpone', until: null });
    const busy = { ...accept, open: [wanted(at(200)), wanted({ replica: 2, live: true })] };
    expect(plan(checking([null], busy), facts([0]))).toMatchObject({ do: 'postpone' });
  });
  test('of a task that has ended nothing is wanted', () => {
    expect(plan(checking([null], { ended: true, open: [wanted()] }), facts([0]))).toEqual({ do: 'forget' });
    expect(plan(checking([null], { state: 'ENDED' }), facts([0]))).toEqual({ do: 'forget' });
  });
});

describe('when a result is looked at again', () => {
  const anchor: Known = { ...stranger, anchor: true };
  const reviewing = (kinds: (Kind | null)[], more: Partial<Checking> = {}) =>
    checking(kinds, { state: 'REVIEWING', suspect: 'a0', ended: true, ...more });
  test('another is asked first, whatever was agreed before', () => {
    expect(plan(reviewing([null]), facts([0]))).toMatchObject({ do: 'ask', kind: 'look_back' });
    expect(plan(reviewing([null, 'replica']), facts([0, 0]))).toMatchObject({ do: 'ask', kind: 'look_back' });
  });
  test('who agrees verifies it; who does not is judged, and the answer that outweighs the other takes its place', () => {
    expect(plan(reviewing([null, 'look_back']), facts([0, 0]))).toMatchObject({
      do: 'review',
      winner: 1,
      clean: true,
      finality: 'verified',
    });
    expect(plan(reviewing([null, 'look_back']), facts([0, 1]))).toMatchObject({ do: 'ask', kind: 'judge' });
    expect(
      plan(reviewing([null, 'look_back', 'judge']), facts([0, 1, 1], 0.99, [stranger, anchor, anchor])),
    ).toMatchObject({
      do: 'review',
      winner: 2,
      clean: false,
      verdicts: [{ found: 'WRONG' }, { found: 'RIGHT' }, { found: 'RIGHT' }],
    });
  });
  test('what nobody can decide between stays as it is, provisional', () => {
    const it = reviewing([null, 'look_back'], { verification: asked({ max_runs: 2 }) });
    expect(plan(it, facts([0, 1]))).toMatchObject({ do: 'review', winner: 1, finality: 'provisional', verdicts: [] });
  });
  test('it is not forgotten for its task having ended; nobody comes for a day beyond the deadline, and its result stays, provisional', () => {
    const open = (seconds: number) => [wanted({ since: NOW - seconds * 1_000 })];
    const day = 86_400;
    const step = (more: Partial<Checking>) => plan(reviewing([null], more), facts([0]));
    expect(step({ open: open(100) })).toMatchObject({ do: 'postpone', until: NOW + day * 1_000 });
    expect(step({ open: open(100 + day) })).toMatchObject({
      do: 'review',
      winner: 1,
      finality: 'provisional',
      note: expect.stringMatching(/no agent that may check it came/),
      clean: false,
    });
    const busy = [...open(100 + day), wanted({ replica: 2, live: true })];
    expect(step({ open: busy })).toMatchObject({ do: 'postpone', until: null });
  });
});
