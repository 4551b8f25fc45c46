import { STANDING, type Standing } from '@muster/shared/lifecycle';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  adjustment,
  checked,
  finished,
  idle,
  newcomer,
  quarantined,
  released,
  returned,
  type Trust,
  type Verdict,
  withPiece,
} from './model.ts';
import { DEFAULTS } from './parameters.ts';
import { confidence, dependability, integrityAtLeast, levelOf, trustScore } from './score.ts';

const DAY_MS = 86_400_000;
const RIGHT: Verdict = { found: 'RIGHT', vouched: true };
const STRANGERS: Verdict = { found: 'RIGHT', vouched: false };
const WRONG: Verdict = { found: 'WRONG' };
const COLLUDED: Verdict = { found: 'COLLUDED' };
const VERDICTS = [RIGHT, STRANGERS, WRONG, COLLUDED];

const after = (verdicts: readonly Verdict[], trust = newcomer(0)): Trust =>
  verdicts.reduce((so, verdict) => checked(so, verdict, 0), trust);
const times = (n: number, verdict: Verdict): Verdict[] => Array(n).fill(verdict);

/** Anything that may happen to an agent, and how long after what happened before. */
const event = fc.record({
  what: fc.oneof(fc.boolean(), fc.constantFrom(...VERDICTS)),
  wait_ms: fc.integer({ min: 0, max: 3 * DAY_MS }),
});
const events = fc.array(event, { maxLength: 80 });
type Event = typeof event extends fc.Arbitrary<infer T> ? T : never;

const apply = (trust: Trust, { what, at }: { what: Event['what']; at: number }): Trust => {
  const now = returned(trust, at);
  return typeof what === 'boolean' ? finished(now, what, at) : checked(now, what, at);
};
const dated = (history: readonly Event[]) => {
  let at = 0;
  return history.map(({ what, wait_ms }) => {
    at += wait_ms;
    return { what, at };
  });
};
const lived = (history: readonly Event[]) => dated(history).reduce(apply, newcomer(0));

describe('the figures of the model', () => {
  test('a newcomer is shown 0.5, and neither its integrity nor the score is sure of anything', () => {
    expect(trustScore(newcomer(0), newcomer(0))).toBe(0.5);
    expect(integrityAtLeast(newcomer(0))).toBeCloseTo(0.05, 9);
    expect(confidence(newcomer(0))).toBeCloseTo(0.1, 9);
  });

  test.each([
    [10, 0.753],
    [30, 0.895],
    [100, 0.955],
  ])('after %i clean checks integrity is at least %f', (n, least) => {
    expect(integrityAtLeast(after(times(n, RIGHT)))).toBeCloseTo(least, 3);
  });

  test('half of what nobody added to is gone after thirty days', () => {
    expect(idle(30 * DAY_MS)).toBe(0.5);
    const trust = checked(finished(after(times(5, RIGHT)), true, 0), RIGHT, 60 * DAY_MS);
    expect(trust.right).toBeCloseTo(after(times(5, RIGHT)).right * 0.25 * 0.99 + 1, 12);
    expect(finished(trust, true, 30 * DAY_MS).dependable).toBeCloseTo(0.5 * 0.97 + 1, 12);
  });

  test('a clock that goes back takes nothing and adds nothing', () => {
    const trust = checked(newcomer(5 * DAY_MS), RIGHT, 10 * DAY_MS);
    expect(checked(trust, RIGHT, DAY_MS)).toEqual(checked(trust, RIGHT, 10 * DAY_MS));
    expect(finished(trust, true, DAY_MS).finished_at).toBe(5 * DAY_MS);
  });

  test.each([
    [1, 'excellent'],
    [0.9, 'excellent'],
    [0.8999999, 'high'],
    [0.7, 'high'],
    [0.5, 'medium'],
    [0.3, 'low'],
    [0.2999999, 'very_low'],
    [0, 'very_low'],
  ])('a score of %f is %s', (score, level) => {
    expect(levelOf(score)).toBe(level);
  });
});

describe('standing', () => {
  const history: [string, Verdict[], Standing][] = [
    ['nine checks do not make a newcomer trusted', times(9, RIGHT), 'NEWCOMER'],
    ['ten do', times(10, RIGHT), 'TRUSTED'],
    ['among strangers it takes forty', times(39, STRANGERS), 'NEWCOMER'],
    ['and then it is', times(40, STRANGERS), 'TRUSTED'],
    ['one fault is probation', [...times(30, RIGHT), WRONG], 'PROBATION'],
    ['for a newcomer, too', [WRONG], 'PROBATION'],
    ['a second fault of one that has little to show takes its work away', [WRONG, WRONG], 'QUARANTINED'],
    ['of one that has much to show it does not', [...times(100, RIGHT), WRONG, ...times(5, RIGHT), WRONG], 'PROBATION'],
    ['a lie shared with another takes its work away at once', [...times(100, RIGHT), COLLUDED], 'QUARANTINED'],
    ['from probation there is a way back', [...times(30, RIGHT), WRONG, ...times(10, RIGHT)], 'TRUSTED'],
  ];
  test.each(history)('%s', (_, verdicts, standing) => {
    expect(after(verdicts).standing).toBe(standing);
  });

  test('quarantine lasts a day, then two, and the third does not end; an admin ends any', () => {
    const first = after([WRONG, WRONG]);
    expect(first.quarantined_until).toBe(DAY_MS);
    expect(returned(first, DAY_MS - 1)).toBe(first);
    const back = returned(first, DAY_MS);
    expect(back).toMatchObject({ standing: 'PROBATION', streak: 0, quarantined_until: null });
    expect(back.wrong).toBeCloseTo(first.wrong * 0.3, 12);
    const second = checked(back, WRONG, DAY_MS);
    expect(second).toMatchObject({ standing: 'QUARANTINED', quarantined_until: 3 * DAY_MS });
    const third = checked(returned(second, 3 * DAY_MS), COLLUDED, 3 * DAY_MS);
    expect(third).toMatchObject({ standing: 'BANNED', quarantined_until: null });
    expect(returned(third, 1e15)).toBe(third);
    expect(released(third)).toMatchObject({ standing: 'PROBATION', quarantines: 3 });
    expect(quarantined(released(third), 0).standing).toBe('BANNED');
  });

  test('idleness ends no quarantine before its time, and lifts no fault', () => {
    const out = after([WRONG, WRONG]);
    for (const wait of [1, DAY_MS - 1])
      expect(finished(out, true, wait)).toMatchObject({ standing: 'QUARANTINED', faults: out.faults });
    const doubted = checked(after([...times(30, RIGHT), WRONG]), STRANGERS, 300 * DAY_MS);
    expect(doubted.standing).toBe('PROBATION');
    expect(doubted.faults).toBeCloseTo(0.99, 12);
  });

  test('what is found of earlier work while it is out counts, but is no further quarantine', () => {
    const out = after([WRONG, WRONG]);
    const more = after([WRONG, WRONG, COLLUDED, RIGHT], out);
    expect(more).toMatchObject({ standing: 'QUARANTINED', quarantines: 1, quarantined_until: out.quarantined_until });
    expect(more.wrong).toBeGreaterThan(out.wrong);
  });

  test('it moves only along the arrows of the lifecycle', () => {
    fc.assert(
      fc.property(events, (history) => {
        let trust = newcomer(0);
        for (const it of dated(history)) {
          const next = apply(trust, it);
          const ways = Object.values(STANDING[returned(trust, it.at).standing]).flat() as Standing[];
          if (next.standing !== returned(trust, it.at).standing) expect(ways).toContain(next.standing);
          trust = next;
        }
      }),
    );
  });
});

describe('whatever happened before', () => {
  test("an agent's own word moves no integrity, no streak and no standing, said a thousand times", () => {
    fc.assert(
      fc.property(events, fc.array(fc.boolean(), { maxLength: 100 }), (history, words) => {
        const before = lived(history);
        const praised = [...words, ...Array(1_000).fill(true)].reduce(
          (so, word) => finished(so, word, so.finished_at),
          before,
        );
        const { dependable: _, undependable: __, finished_at: ___, ...rest } = praised;
        expect(before).toMatchObject(rest);
        expect(praised.dependable).toBeLessThanOrEqual(1 / (1 - DEFAULTS.dependability_decay) + 1e-9);
      }),
      { numRuns: 30 },
    );
  });

  test('good evidence never lowers the score, bad evidence never raises it', () => {
    fc.assert(
      fc.property(events, (history) => {
        const trust = lived(history);
        const at = Math.max(trust.finished_at, trust.checked_at);
        // Idleness alone moves a score towards its beginning: only the evidence itself is asked about.
        const now = { ...trust, finished_at: at, checked_at: at };
        const score = (it: Trust) => trustScore(it, it);
        for (const good of [finished(now, true, at), checked(now, RIGHT, at), checked(now, STRANGERS, at)])
          expect(score(good)).toBeGreaterThanOrEqual(score(now) - 1e-12);
        for (const bad of [finished(now, false, at), checked(now, WRONG, at), checked(now, COLLUDED, at)])
          expect(score(bad)).toBeLessThanOrEqual(score(now) + 1e-12);
      }),
    );
  });

  test('an adjustment moves the score by what was said, as far as 0.01 and 0.99', () => {
    fc.assert(
      fc.property(events, fc.double({ min: -1, max: 1, noNaN: true }), (history, delta) => {
        const trust = lived(history);
        const before = trustScore(trust, trust);
        const after = trustScore(withPiece(trust, adjustment(trust, trust, delta)), trust);
        const whole = trustScore({ dependable: 1e15, undependable: 0 }, trust);
        expect(after).toBeCloseTo(Math.min(0.99 * whole, Math.max(0.01 * whole, before + delta)), 9);
      }),
    );
  });

  test('numbers stay within their bounds', () => {
    fc.assert(
      fc.property(events, (history) => {
        const trust = lived(history);
        for (const n of [trust.right, trust.wrong, trust.dependable, trust.undependable, trust.faults, trust.streak])
          expect(n >= 0 && n < 1_000).toBe(true);
        expect(dependability(trust)).toBeGreaterThan(0);
        expect(trustScore(trust, trust)).toBeLessThan(1);
        expect(integrityAtLeast(trust)).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  test('a score is the closed form of its evidence: each piece weighs what decay and idleness have left of it', () => {
    fc.assert(
      fc.property(events, (history) => {
        const verdicts = dated(history).filter(
          (it): it is { what: Verdict; at: number } => typeof it.what !== 'boolean',
        );
        const last = verdicts.at(-1)?.at ?? 0;
        const kept = verdicts.map(
          ({ at }, n) => 0.99 ** (verdicts.length - 1 - n) * 2 ** (-(last - at) / (30 * DAY_MS)),
        );
        const right = verdicts.reduce(
          (sum, { what }, n) => sum + (what.found === 'RIGHT' ? (what.vouched ? 1 : 0.25) : 0) * kept[n]!,
          0,
        );
        const folded = verdicts.reduce((so, { what, at }) => checked(so, what, at), newcomer(0));
        expect(Math.abs(folded.right - right)).toBeLessThanOrEqual(1e-12 * Math.max(1, right) * 10);
      }),
    );
  });
});
