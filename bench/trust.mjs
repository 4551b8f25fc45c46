// What a step of the trust model costs: microseconds per finished run, verdict, ruling, and per figure that is read. The aim is 20.
// Usage: npm run bench:trust
import { judge } from '../server/trust/judge.ts';
import { checked, finished, newcomer } from '../server/trust/model.ts';
import { integrityAtLeast, trustScore } from '../server/trust/score.ts';
import { replicationProbability } from '../server/trust/scrutiny.ts';

const STEPS = 200_000;
const ROUNDS = 5;
const RIGHT = { found: 'RIGHT', vouched: true };
const WRONG = { found: 'WRONG' };

/** Every hundredth verdict is bad, so that promotion, probation and quarantine are all looked at. */
const verdictOf = (n) => (n % 100 === 99 ? WRONG : RIGHT);
const known = { ...newcomer(0), right: 30, streak: 30, standing: 'TRUSTED', anchor: false };
const votes = [0, 1, 0, 0].map((answer, n) => ({ agent: known, answer, judge: n > 1 }));

const SUBJECTS = {
  'a finished run': (trust, n) => finished(trust, n % 10 > 0, n * 1_000),
  'a verdict': (trust, n) => checked(trust, verdictOf(n), n * 1_000),
  'a ruling over four votes': (trust) => {
    judge(votes, 2);
    return trust;
  },
  'a score and a lower bound': (trust, n) => {
    trustScore({ ...trust, dependable: n % 33 }, trust);
    integrityAtLeast({ right: n % 100, wrong: n % 7 });
    return trust;
  },
  'a replication probability': (trust) => {
    replicationProbability({ ...trust, anchor: false });
    return trust;
  },
};

for (const [name, step] of Object.entries(SUBJECTS)) {
  const rounds = Array.from({ length: ROUNDS }, () => {
    let trust = newcomer(0);
    const began = performance.now();
    for (let n = 0; n < STEPS; n += 1) trust = step(trust, n);
    return ((performance.now() - began) * 1_000) / STEPS;
  });
  const [least, median, most] = [0, Math.floor(ROUNDS / 2), ROUNDS - 1].map((n) => rounds.sort((a, b) => a - b)[n]);
  console.log(`${name.padEnd(28)} ${median.toFixed(2)} us [${least.toFixed(2)}..${most.toFixed(2)}]`);
}
