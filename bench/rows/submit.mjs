// How fast tasks are taken in, each submit answered when it is committed.

const submit = (name, title, verb, { share, ...options }, goals) => ({
  name,
  title,
  among: ['muster', 'hono', 'postgres', 'graphile-worker', 'pg-boss'],
  goals,
  lacks: (subject) => verb === 'bulk' && subject.lacksBulk,
  async round(subject, { tasks }) {
    const count = tasks * share;
    const before = await subject.cpu();
    const ms = await subject[verb]({ count, ...options });
    const after = await subject.cpu();
    await subject.empty();
    const each = (what) => (after[what] - before[what]) / count;
    return { 'tasks/s': (count * 1_000) / ms, 'Postgres us': each('postgres'), 'process us': each('process') };
  },
});

export const submitRows = [
  submit('bulk', 'bulk submit, 1,000 a request, 4 in flight', 'bulk', { share: 1, size: 1_000, inFlight: 4 }, [
    { figure: 'tasks/s', against: 'graphile-worker', floor: 1, aim: 1.4 },
  ]),
  submit('single', 'single submits, 16 in flight', 'flood', { share: 0.2, inFlight: 16 }, [
    { figure: 'tasks/s', against: 'graphile-worker', floor: 2, aim: 2.5 },
  ]),
];
