// What others notice of tasks that kill their agents.
import { percentile } from '../figures.mjs';

const POISONS = 8;
const OTHERS = { perSecond: 50, count: 1_000, warmUp: 50 };
const TIMES_BEFORE = 4;

const poison = {
  name: 'poison',
  title: 'submit to handler while eight other tasks kill three agents each, beside the same before',
  among: ['muster'],
  rounds: 1,
  goals: [{ figure: 'p99 / before', atMost: { floor: 1.2 } }],
  async round(subject) {
    const before = [];
    for (let n = 0; n < TIMES_BEFORE; n += 1) before.push(...(await subject.trickle(OTHERS)));
    let over = false;
    const poisoned = subject.poison(POISONS).finally(() => {
      over = true;
    });
    const beside = [];
    while (!over) beside.push(...(await subject.trickle(OTHERS)));
    await subject.rest();
    const [p99Before, p99] = [percentile(before, 0.99), percentile(beside, 0.99)];
    const p50 = { 'p50 ms': percentile(beside, 0.5), 'p50 ms before': percentile(before, 0.5) };
    return {
      'p99 / before': p99 / p99Before,
      'p99 ms': p99,
      'p99 ms before': p99Before,
      ...p50,
      'given up': await poisoned,
    };
  },
};

export const poisonRows = [poison];
