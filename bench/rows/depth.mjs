// Whether a claim gets dearer when more tasks wait.
import { percentile } from '../figures.mjs';

const CLAIMS = 300;
const [FEW, MANY] = [1_000, 1_000_000];

const depth = {
  name: 'depth',
  title: 'claim of one task over HTTP, 1,000 and 1,000,000 pending',
  among: ['muster'],
  rounds: 1,
  goals: [{ figure: 'p50 many / few', atMost: { floor: 1.2, aim: 1 } }],
  async round(subject, { depth: many = MANY, depthRounds = 5 }, stage) {
    const claims = async () => {
      const took = await subject.claims({ count: CLAIMS });
      await subject.rest();
      return percentile(took, 0.5);
    };
    /** As many as are taken come after, so that it stays as deep. */
    const at = async (pending) => {
      await subject.fill(pending);
      await stage.settle();
      const medians = [];
      for (let n = 0; n <= depthRounds; n += 1) {
        medians.push(await claims());
        await subject.fill(CLAIMS);
      }
      return percentile(medians.slice(1), 0.5);
    };
    const few = await at(FEW);
    const deep = await at(many - FEW);
    await subject.empty();
    return { 'p50 ms, few': few, 'p50 ms, many': deep, 'p50 many / few': deep / few };
  },
};

export const depthRows = [depth];
