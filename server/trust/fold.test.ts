import { openRows, type Rows } from '@muster/testing/rows';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { applyResults, type NewResult } from '../dispatch/store/results.ts';
import type { Ctx } from '../platform/ctx.ts';
import { insertTasks } from '../tasks/store/submit.ts';
import { refold } from './effects.ts';
import { getTrustHistory } from './history.ts';
import { adjustment, fadedEvidence, outcome, withPieceAt } from './model.ts';
import { getLeaderboard, getTrust } from './read.ts';
import { confidence, type Evidence, trustScore, UNCHECKED } from './score.ts';
import { adjustTrust, type Folded } from './store/dependability.ts';

const NOTHING: Evidence = { dependable: 0, undependable: 0 };
/** What an agent may say, and what it does to trust. */
const WORDS = [
  { status: 'COMPLETED', fault: null, counts: true },
  { status: 'FAILED', fault: 'agent', counts: true },
  { status: 'FAILED', fault: 'task', counts: false },
  { status: 'TIMED_OUT', fault: 'agent', counts: true },
  { status: 'RETURNED', fault: null, counts: false },
] as const;
const words = fc.array(
  fc.record({ word: fc.constantFrom(...WORDS), who: fc.nat(1), capability: fc.constantFrom('echo', 'other') }),
  {
    minLength: 1,
    maxLength: 60,
  },
);
const cuts = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 60, maxLength: 60 });
/** How many days pass before each batch. */
const idleness = fc.array(fc.constantFrom(0, 0, 0.001, 1, 45, 4_000), { minLength: 60, maxLength: 60 });

describe.each([18, 15] as const)('trust on Postgres %i', (major) => {
  let it: Rows;
  let ctx: Ctx;
  beforeAll(async () => {
    it = await openRows(major);
    ctx = { db: it.db, principal: { kind: 'key', scopes: ['admin'] } } as unknown as Ctx;
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const history = (agent_id: string, query: { capability?: string; limit?: number; cursor?: string } = {}) =>
    getTrustHistory(ctx, { params: { agent_id }, query: { limit: 100, ...query }, body: {} } as Parameters<
      typeof getTrustHistory
    >[1]);

  /** Two agents say these words of as many runs; `sizes` cuts them into batches, `days` pass before each. */
  const say = async (
    said: { word: (typeof WORDS)[number]; who: number; capability: string }[],
    sizes: number[],
    days: number[] = [],
  ) => {
    const agents = [await it.agent({ slots: 100 }), await it.agent({ slots: 100 })];
    const tasks = await Promise.all(
      said.map(({ who, capability }) => it.task({ ...agents[who]!, capability_required: capability })),
    );
    const { fences } = await insertTasks(it.db.hot, tasks);
    const results: NewResult[] = said.map(({ word: { status, fault }, who }, n) => ({
      ...agents[who]!,
      fence: fences.get(n)!,
      status,
      fault,
      retryable: false,
      result_data: null,
      error: null,
    }));
    for (let from = 0, n = 0; from < results.length; from += sizes[n]!, n += 1) {
      if (days[n]) await it.clock.advance(`${days[n]}d`);
      await applyResults(it.db.hot, results.slice(from, from + sizes[n]!));
    }
    return agents.map((agent) => agent.agent_id);
  };

  /** Deletes an agent's evidence with its tasks, as retention does. */
  const forget = (agentId: string, from: number, to: number) => it.sql`
    with gone as (delete from runs where agent_id = ${agentId} and fold_seq between ${from} and ${to} returning fence, task_id),
    tasks as (delete from tasks where task_id in (select task_id from gone))
    insert into events (tx, at, kind, fences) select pg_current_xact_id(), (select muster_now()), 'run.deleted', array_agg(fence) from gone`;

  test('the fold in SQL, batch by batch and whatever time passes between them, is the fold one by one; so are the history and a replay of the runs', async () => {
    await fc.assert(
      fc.asyncProperty(words, cuts, idleness, async (said, sizes, days) => {
        const ids = await say(said, sizes, days);
        for (const [who, agent_id] of ids.entries())
          for (const capability of ['echo', 'other']) {
            const mine = said.filter((it) => it.who === who && it.capability === capability && it.word.counts);
            const rows = await it.sql<{ status: string; finished_at: Date }[]>`
              select status, finished_at from runs where agent_id = ${agent_id} and capability = ${capability} and fold_seq is not null order by fold_seq`;
            expect(rows.map(({ status }) => status)).toEqual(mine.map(({ word }) => word.status));
            let known = { ...NOTHING, finished_at: 0 };
            const effects = rows.map(({ status, finished_at }) => {
              const at = finished_at.getTime();
              const before = trustScore(fadedEvidence(known, at - known.finished_at));
              known = withPieceAt(known, outcome(status === 'COMPLETED'), at);
              return { outcome: status, before, after: trustScore(known) };
            });
            const [row] = await it.sql`select * from trust where agent_id = ${agent_id} and capability = ${capability}`;
            expect(row?.updated_at.getTime() ?? 0).toBe(known.finished_at);
            expect(row?.dependable ?? 0).toBeCloseTo(known.dependable, 12);
            expect(row?.undependable ?? 0).toBeCloseTo(known.undependable, 12);
            const again = (await refold(it.db.admin, agent_id, capability, rows.length))!;
            expect(again.dependable).toBeCloseTo(row?.dependable ?? 0, 12);
            expect(again.undependable).toBeCloseTo(row?.undependable ?? 0, 12);
            const { data } = await history(agent_id, { capability });
            const told = data.map((it) => ({
              outcome: it.outcome,
              before: it.trust_score_before,
              after: it.trust_score_after,
            }));
            // Runs of one batch end in one moment; the history tells those in the order in which they were folded.
            expect(told.length).toBe(effects.length);
            for (const [n, effect] of effects.toReversed().entries()) {
              expect(told[n]!.outcome).toBe(effect.outcome);
              expect(told[n]!.before).toBeCloseTo(effect.before, 12);
              expect(told[n]!.after).toBeCloseTo(effect.after, 12);
            }
          }
        await it.finish();
      }),
      { numRuns: 25, seed: 1 },
    );
  });

  test('what an admin says is a piece among those of the runs: it moves the score by so much, history and replay know it', async () => {
    const by = { actor: 'key_tester', address: null, request_id: 'req_1' };
    const [agent_id] = await say([{ word: WORDS[0]!, who: 0, capability: 'echo' }], [1]);
    const trust = async () => (await it.sql`select * from trust where agent_id = ${agent_id!}`)[0]! as Folded;
    for (const [n, delta] of [0.2, -0.4, 0.05].entries()) {
      const before = await trust();
      const piece = adjustment(before, UNCHECKED, delta);
      await adjustTrust(
        it.db.admin,
        { agentId: agent_id!, capability: 'echo', delta, piece, reason: `reason ${n}` },
        by,
      );
      expect(trustScore(await trust())).toBeCloseTo(trustScore(before) + delta, 6);
    }
    const { data } = await history(agent_id!);
    expect(data.map((row) => row.reason)).toEqual([
      'adjusted by +0.05: reason 2',
      'adjusted by -0.4: reason 1',
      'adjusted by +0.2: reason 0',
      'completed the run',
    ]);
    for (const [n, row] of data.slice(0, 3).entries()) {
      expect(row).toMatchObject({ outcome: 'ADJUSTED', run_id: null, task_id: null, fault: null });
      expect(row.trust_delta).toBeCloseTo([0.05, -0.4, 0.2][n]!, 6);
      expect(row.trust_score_before).toBeCloseTo(data[n + 1]!.trust_score_after!, 6);
    }
    const now = await trust();
    const again = await refold(it.db.admin, agent_id!, 'echo', Number(now.fold_seq));
    expect(again!.dependable).toBeCloseTo(now.dependable, 12);
    expect(again!.undependable).toBeCloseTo(now.undependable, 12);
    const audited =
      await it.sql`select action, before, after from audit_logs where subject_id = ${agent_id!} order by audit_id desc limit 1`;
    expect(audited[0]).toMatchObject({ action: 'trust.adjust', after: { capability: 'echo', reason: 'reason 2' } });
    expect(audited[0]!.after.dependability - audited[0]!.before.dependability).toBeCloseTo(0.05, 6);
  });

  test('a replay does not make up what has been deleted', async () => {
    const said = Array.from({ length: 20 }, () => ({ word: WORDS[0]!, who: 0, capability: 'echo' }));
    const [agent_id] = await say(said, Array(20).fill(4));
    expect(await refold(it.db.admin, agent_id!, 'echo', 20)).toBeDefined();
    await forget(agent_id!, 3, 4);
    expect(await refold(it.db.admin, agent_id!, 'echo', 20)).toBeUndefined();
  });

  test('the pages of a history join without a gap', async () => {
    const said = Array.from({ length: 23 }, (_, n) => ({
      word: WORDS[n % 2]!,
      who: 0,
      capability: n % 3 ? 'echo' : 'other',
    }));
    const [agent_id] = await say(said, Array(23).fill(5));
    const whole = (await history(agent_id!)).data;
    const paged = [];
    for (let cursor: string | undefined, n = 0; n < 10; n += 1) {
      const page = await history(agent_id!, { limit: 4, ...(cursor ? { cursor } : {}) });
      paged.push(...page.data);
      if (!page.next_cursor) break;
      cursor = page.next_cursor;
    }
    expect(whole).toHaveLength(23);
    expect(paged).toEqual(whole);
  });

  test('a history whose beginning or middle is deleted tells the same of what is left, or says that it cannot', async () => {
    const said = Array.from({ length: 40 }, (_, n) => ({ word: WORDS[n % 3 ? 0 : 1]!, who: 0, capability: 'echo' }));
    const [agent_id] = await say(said, Array(40).fill(7));
    const score = await getTrust(ctx, agent_id!);
    const whole = (await history(agent_id!)).data;
    const told = async () => {
      const { data } = await history(agent_id!);
      expect((await getTrust(ctx, agent_id!)).trust_score).toBeCloseTo(score.trust_score, 6);
      return data;
    };
    const expectSame = (found: (typeof whole)[number], was: (typeof whole)[number]) => {
      expect(found.run_id).toBe(was.run_id);
      expect(found.trust_score_before).toBeCloseTo(was.trust_score_before!, 9);
      expect(found.trust_score_after).toBeCloseTo(was.trust_score_after!, 9);
      expect(found.trust_delta).toBeCloseTo(was.trust_delta!, 9);
    };
    await forget(agent_id!, 20, 20);
    const holed = await told();
    expect(holed).toHaveLength(39);
    for (const row of holed) expectSame(row, whole.find(({ run_id }) => run_id === row.run_id)!);
    await forget(agent_id!, 1, 5);
    const left = await told();
    expect(left).toHaveLength(34);
    for (const [n, row] of left.entries()) {
      // Newest first: 40 to 21, and below the hole 19 to 6.
      if (n < 20) expectSame(row, whole[n]!);
      else expect([row.trust_score_before, row.trust_score_after, row.trust_delta]).toEqual([null, null, null]);
    }
    const page = await history(agent_id!, { limit: 3, cursor: (await history(agent_id!, { limit: 10 })).next_cursor! });
    for (const [n, row] of page.data.entries()) expectSame(row, whole[10 + n]!);
  });

  test('what nobody knows anything of is 0.5; evidence moves the score its way and makes it surer', async () => {
    const [agent_id, idle] = await say(
      [
        { word: WORDS[0]!, who: 0, capability: 'echo' },
        { word: WORDS[1]!, who: 0, capability: 'other' },
      ],
      [2, 2],
    );
    expect(await getTrust(ctx, idle!)).toMatchObject({ trust_score: 0.5, standing: 'NEWCOMER', capabilities: [] });
    const { capabilities, trust_score } = await getTrust(ctx, agent_id!);
    expect(capabilities).toMatchObject([
      { capability: 'echo', trust_score: expect.closeTo(2 / 3, 6), integrity: 1 },
      { capability: 'other', trust_score: expect.closeTo(1 / 3, 6), integrity: 1 },
    ]);
    expect(trust_score).toBeCloseTo(0.5, 9);
    await expect(getTrust(ctx, 'agent_none')).rejects.toMatchObject({ code: 'not-found' });
    const sure = [0, 1, 5, 50, 500].map((dependable) => confidence({ dependable, undependable: 0 }));
    expect(sure).toEqual([...sure].sort((a, b) => a - b));
    expect(sure[0]).toBeCloseTo(0.1, 6);
  });

  test('from what an agent is trusted now the way leads back six hundred pieces of evidence', async () => {
    const said = Array.from({ length: 1_010 }, (_, n) => ({ word: WORDS[n % 3 ? 0 : 1]!, who: 0, capability: 'echo' }));
    const agent = await it.agent({ slots: 2_000 });
    const rows = await Promise.all(said.map(() => it.task({ ...agent })));
    const { fences } = await insertTasks(it.db.hot, rows);
    await applyResults(
      it.db.hot,
      said.map(({ word: { status, fault } }, n) => ({
        ...agent,
        fence: fences.get(n)!,
        status,
        fault,
        retryable: false,
        result_data: null,
        error: null,
      })),
    );
    const oldest = async () => {
      const all = [];
      for (let cursor: string | null = ''; cursor !== null; ) {
        const page = await history(agent.agent_id, { limit: 200, ...(cursor ? { cursor } : {}) });
        all.push(...page.data);
        cursor = page.next_cursor;
      }
      return all.reverse();
    };
    const whole = await oldest();
    await forget(agent.agent_id, 1, 1);
    const left = await oldest();
    expect(left).toHaveLength(1_009);
    const known = left.map((row) => row.trust_score_before !== null);
    // Of 1010 pieces the last 600 lead back from now; those before have too little before them.
    expect(known.indexOf(true)).toBe(409);
    for (const [n, row] of left.entries())
      if (row.trust_score_after !== null)
        expect(row.trust_score_after).toBeCloseTo(whole[n + 1]!.trust_score_after!, 6);
  });

  test('the leaderboard has the best first, and those with enough runs only', async () => {
    const [good, bad] = await say(
      [0, 0, 1, 1, 1].map((who) => ({ word: WORDS[who]!, who, capability: 'echo' })),
      [5],
    );
    const board = async (min_runs: number, capability?: string) => {
      const input = { params: {}, body: {}, query: { min_runs, limit: 10, capability } };
      return (await getLeaderboard(ctx, input as Parameters<typeof getLeaderboard>[1])).data.map((row) => row.agent_id);
    };
    expect(await board(0)).toEqual([good, bad]);
    expect(await board(3)).toEqual([bad]);
    expect(await board(0, 'other')).toEqual([]);
  });
});
