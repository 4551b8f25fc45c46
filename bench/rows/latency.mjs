// How long a task takes from its submit call to the first line of its handler.
import { percentile } from '../figures.mjs';

const less = (figure, floor, aim) => ({ figure, against: 'graphile-worker', less: true, floor, aim });

const trickle = (name, title, { perSecond, count, warmUp }, goals) => ({
  name,
  title,
  among: ['muster', 'hono', 'postgres', 'graphile-worker', 'pg-boss'],
  goals,
  async round(subject) {
    const before = await subject.cpu();
    const took = await subject.trickle({ count, warmUp, perSecond });
    const after = await subject.cpu();
    await subject.rest();
    return {
      'p50 ms': percentile(took, 0.5),
      'p99 ms': percentile(took, 0.99),
      'Postgres us': (after.postgres - before.postgres) / (count + warmUp),
    };
  },
});

/** A thousand submits, each alone, that only the other coordinator has a poll for. */
const wake = {
  name: 'wake',
  title: 'submit at one coordinator to handler at another',
  among: ['muster'],
  rounds: 1,
  goals: [{ figure: 'p99 ms', atMost: { floor: 50 } }],
  async round(subject) {
    const peer = await subject.startPeer();
    const took = await subject.trickle({ count: 1_000, warmUp: 100, perSecond: 100, at: peer.port });
    await subject.rest();
    await peer.close();
    return { 'p99 ms': percentile(took, 0.99), 'p50 ms': percentile(took, 0.5) };
  },
};

export const latencyRows = [
  trickle('idle', 'idle: a task every 25 ms', { perSecond: 40, count: 500, warmUp: 100 }, [
    less('p50 ms', 1, 0.7),
    less('p99 ms', 1.2, 1),
  ]),
  trickle('load', '500 tasks/s, submitted one by one', { perSecond: 500, count: 2_500, warmUp: 500 }, [
    less('p50 ms', 0.8, 0.5),
    less('p99 ms', 0.8, 0.5),
    less('Postgres us', 0.7, 0.4),
  ]),
  wake,
];
