// How fast a queue that was filled before is emptied: no-op tasks, until the last result is committed.

const ALL = ['muster', 'hono', 'postgres', 'graphile-worker', 'pg-boss'];

/** @param agents so many @param max tasks a poll asks for */
const drain = (name, agents, max, share, goals, among = ALL) => ({
  name,
  title: `drain, ${agents} agents x ${max} per poll`,
  among,
  goals,
  async round(subject, { tasks }) {
    const count = Math.round(tasks * share);
    await subject.fill(count);
    const before = await subject.cpu();
    const ms = await subject.drain({ count, agents, max });
    const after = await subject.cpu();
    await subject.rest();
    const each = (what) => (after[what] - before[what]) / count;
    return {
      'tasks/s': (count * 1_000) / ms,
      'Postgres us': each('postgres'),
      'process us': each('process'),
      'load us': each('load'),
    };
  },
});

const against = (peer, floor, aim) => ({ figure: 'tasks/s', against: peer, floor, aim });
const cpu = [
  { figure: 'Postgres us', atMost: { floor: 25, aim: 18 } },
  { figure: 'process us', atMost: { floor: 12, aim: 8 } },
];

export const drainRows = [
  drain('drain', 2, 500, 1, [against('graphile-worker', 0.9, 1.2), against('pg-boss', 1.4), ...cpu]),
  drain('drain-1000', 2, 1_000, 1, [against('graphile-worker', 0.9, 1.2), against('pg-boss', 1.4)]),
  drain('drain-10x50', 10, 50, 0.6, [against('graphile-worker', 0.6, 0.8)]),
  drain('drain-200x1', 200, 1, 0.2, [against('graphile-worker', 0.12, 0.25)]),
  // What trust costs: the same build, that folds its evidence in the statement that applies results, or leaves that out.
  drain('folding', 2, 500, 1, [against('unfolded', 0.9)], ['muster', 'unfolded']),
];
