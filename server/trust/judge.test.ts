import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { judge, type Vote, voteWeight } from './judge.ts';
import { DEFAULTS } from './parameters.ts';
import type { Known } from './scrutiny.ts';

const newcomer: Known = { right: 0, wrong: 0, streak: 0, standing: 'NEWCOMER', anchor: false };
const trusted: Known = { right: 30, wrong: 0, streak: 30, standing: 'TRUSTED', anchor: false };
const anchor: Known = { ...newcomer, anchor: true };

/** Votes as `agent answer`, those of judges with an `!`: `n` newcomer, `t` trusted, `a` anchor. */
const votes = (text: string): Vote<string>[] =>
  text.split(' ').map((vote) => ({
    agent: { n: newcomer, t: trusted, a: anchor }[vote[0]!]!,
    answer: vote[1]!,
    judge: vote.endsWith('!'),
  }));
const ruling = (text: string, quorum = 2) => {
  const it = judge(votes(text), quorum);
  if (it.is !== 'DECIDED') return it.is;
  const found = it.verdicts.map((verdict) =>
    verdict.found === 'RIGHT' ? (verdict.vouched ? 'right' : 'so-so') : verdict.found.toLowerCase(),
  );
  return [it.answer, ...found].join(' ');
};

describe('what judges decide', () => {
  const cases: [string, string, string][] = [
    ['two strangers who agree are believed, for little', 'nX nX', 'X so-so so-so'],
    ['who is trusted vouches for the other', 'nX tX', 'X right so-so'],
    ['two trusted vouch for each other', 'tX tX', 'X right right'],
    ['an anchor vouches', 'nX aX', 'X right so-so'],
    ['two who disagree need a judge', 'nX tY', 'ASK'],
    ['a judge decides between strangers', 'nX nY nY!', 'Y wrong so-so so-so'],
    ['a stranger does not outvote who is trusted', 'nX tY nX!', 'ASK'],
    ['one trusted judge beside a stranger is not enough against another', 'tX nY tY!', 'ASK'],
    ['two are', 'tX nY tY! tY!', 'Y wrong right right right'],
    ['two who held the task together weigh as one once a judge contradicts them', 'tX tX tY!', 'ASK'],
    ['and if another judge does, they conspired', 'tX tX tY! tY!', 'Y colluded colluded right right'],
    ['a judge who errs over two that agree is outvoted by the next', 'tX tX tY! tX!', 'X right right wrong right'],
    ['strangers cannot show that others conspired', 'nX nX nY! nY!', 'Y wrong wrong so-so so-so'],
    ['six who all differ are a dispute', 'nA nB nC! nD! nE! nF!', 'DISPUTED'],
    ['five who all differ ask a sixth', 'nA nB nC! nD! nE!', 'ASK'],
  ];
  test.each(cases)('%s', (_, said, expected) => {
    expect(ruling(said)).toBe(expected);
  });

  test('an audit wants one more who agrees', () => {
    expect(ruling('tX tX', 3)).toBe('ASK');
    expect(ruling('tX tX tX!', 3)).toBe('X right right right');
  });

  test('a word weighs more the surer it is, within bounds; an anchor weighs most', () => {
    const weights = [{ ...newcomer, wrong: 50 }, newcomer, trusted, { ...trusted, right: 99 }, anchor].map((it) =>
      voteWeight(it),
    );
    expect(weights).toEqual([...weights].sort((a, b) => a - b));
    expect(weights[0]).toBe(weights[1]);
    expect(weights.at(-1)).toBeCloseTo(Math.log(0.995 / 0.005), 12);
  });

  const someone = fc.record({
    agent: fc.constantFrom(newcomer, trusted, anchor),
    answer: fc.nat(3),
    judge: fc.boolean(),
  });
  test('what is decided has a quorum; every vote gets its verdict; never more are asked than may be', () => {
    fc.assert(
      fc.property(fc.array(someone, { minLength: 1, maxLength: DEFAULTS.most_votes }), (cast) => {
        const it = judge(cast, DEFAULTS.quorum);
        if (it.is === 'ASK') {
          expect(cast.length).toBeLessThan(DEFAULTS.most_votes);
          return;
        }
        if (it.is === 'DISPUTED') {
          expect(cast.length).toBe(DEFAULTS.most_votes);
          return;
        }
        expect(it.verdicts.map(({ found }) => found === 'RIGHT')).toEqual(
          cast.map(({ answer }) => answer === it.answer),
        );
        expect(cast.filter(({ answer }) => answer === it.answer).length).toBeGreaterThanOrEqual(DEFAULTS.quorum);
      }),
    );
  });
});
