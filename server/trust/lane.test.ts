import { STANDING, type Standing } from '@muster/shared/lifecycle';
import { openRows, type Rows } from '@muster/testing/rows';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { applyResults } from '../dispatch/store/results.ts';
import type { News } from '../platform/notify.ts';
import { forgetTasks } from '../runs/store/delete.ts';
import { foldVerdicts, returnQuarantined } from './lane.ts';
import { checked, newcomer, type Trust, told, type Verdict, type Word } from './model.ts';
import { findKnown, findLedger } from './store/integrity.ts';
import { insertVerdicts, type NewVerdict } from './store/verdicts.ts';

const DAY_MS = 86_400_000;
const VERDICTS: Verdict[] = [
  { found: 'RIGHT', vouched: true },
  { found: 'RIGHT', vouched: false },
  { found: 'WRONG' },
  { found: 'COLLUDED' },
];
const [RIGHT, STRANGERS, WRONG, COLLUDED] = VERDICTS as [Verdict, Verdict, Verdict, Verdict];

describe.each([18, 15] as const)('the lane on Postgres %i', (major) => {
  let it: Rows;
  let fence = 0;
  const heard: News['standing'][] = [];
  const notifier = { tell: (kind: string, what: News['standing']) => kind === 'standing' && heard.push(what) };
  const depsOf = (db = it.db) => ({ db, notifier }) as unknown as Parameters<typeof foldVerdicts>[0];
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const verdictOf = (agent_id: string, verdict: Verdict, more: Partial<NewVerdict> = {}): NewVerdict => {
    fence += 1;
    const vouched = verdict.found === 'RIGHT' && verdict.vouched;
    return {
      fence,
      kind: 'quorum',
      task_id: 'task_x',
      agent_id,
      capability: 'echo',
      found: verdict.found,
      vouched,
      judge: 'quorum',
      ...more,
    };
  };
  const find = (agent_id: string, ...found: Verdict[]) =>
    insertVerdicts(
      it.sql,
      found.map((verdict) => verdictOf(agent_id, verdict)),
    );
  const ledgerOf = async (agent_id: string, capability = 'echo') =>
    (await findLedger(it.sql, { agent_id, capability }))!;
  /** The ledger folded by the pure model, in the order in which it was folded. */
  const refolded = async (agent_id: string, capability = 'echo'): Promise<Trust> => {
    const rows = await it.sql<{ kind: string; found: string | null; vouched: boolean; at: Date }[]>`
      select kind, found, vouched, at from verdicts where agent_id = ${agent_id} and capability = ${capability} and fold_seq is not null order by fold_seq`;
    return rows.reduce(
      (so, { kind, found, vouched, at }) =>
        found === null
          ? told(so, kind as Word, at.getTime())
          : checked(so, { found, vouched } as Verdict, at.getTime()),
      newcomer(0),
    );
  };
  const expectSame = (found: Trust, wanted: Trust) => {
    for (const name of ['right', 'wrong', 'streak', 'faults'] as const)
      expect(Math.abs(found[name] - wanted[name]), name).toBeLessThanOrEqual(1e-12);
    for (const name of ['checked_at', 'standing', 'quarantines', 'quarantined_until'] as const)
      expect(found[name], name).toBe(wanted[name]);
  };

  test('what is folded, however it is cut and whatever time passes, is what the model says; and every move of a standing is one the lifecycle has', async () => {
    const piece = fc.record({
      n: fc.nat(3),
      other: fc.boolean(),
      wait_ms: fc.integer({ min: 0, max: 3 * DAY_MS }),
      folds: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 25 }), async (pieces) => {
        const agents = [(await it.agent()).agent_id, (await it.agent()).agent_id];
        for (const { n, other, wait_ms, folds } of pieces) {
          await it.clock.advance(`${wait_ms}ms`);
          await find(agents[Number(other)]!, VERDICTS[n]!);
          if (folds) await foldVerdicts(depsOf());
          if (n === 1) await returnQuarantined(depsOf());
        }
        await foldVerdicts(depsOf());
        for (const agent_id of agents) expectSame((await ledgerOf(agent_id)).trust, await refolded(agent_id));
        const moves = await it.sql<{ kind: string; from: Standing; to: Standing }[]>`
          select kind, d ->> 'from' as from, d ->> 'to' as to from events, jsonb_array_elements(detail) d where kind like 'agent.%' and d ? 'from'`;
        for (const { from, to } of moves) expect(Object.values(STANDING[from]).flat()).toContain(to);
        await it.finish();
      }),
      { numRuns: 15, seed: 1 },
    );
  });

  test('lanes that fold the same verdicts at once fold each once', async () => {
    const lanes = [it.db, it.openMore(), it.openMore(), it.openMore()];
    const agents = await Promise.all([1, 2, 3].map(() => it.agent()));
    for (let round = 0; round < 15; round += 1) {
      await Promise.all(
        lanes.flatMap((db) => [
          ...agents.map(({ agent_id }) => find(agent_id, ...(round === 9 ? [WRONG] : [RIGHT, STRANGERS]))),
          foldVerdicts(depsOf(db)),
        ]),
      );
      const said = await Promise.all(lanes.map((db) => foldVerdicts(depsOf(db))));
      if (round === 9) expect(said.flatMap(({ caught }) => caught).length).toBeLessThanOrEqual(12);
    }
    await foldVerdicts(depsOf());
    const rows = await it.sql<{ n: number; folded: number; most: number; told: number }[]>`
      select count(*)::int as n, count(distinct fold_seq)::int as folded, max(fold_seq)::int as most, (
        select count(*)::int from events, unnest(subject_ids) as id where kind = 'trust.verdict' and id = agent_id) as told
      from verdicts group by agent_id`;
    // Fourteen rounds of two by each of four, and one of one.
    expect(rows).toEqual(agents.map(() => ({ n: 116, folded: 116, most: 116, told: 116 })));
    for (const { agent_id } of agents) expectSame((await ledgerOf(agent_id)).trust, await refolded(agent_id));
  });

  test('a run is judged once by each kind of judge, and a verdict said twice counts once', async () => {
    const { agent_id } = await it.agent();
    const verdict = verdictOf(agent_id, WRONG);
    expect(await insertVerdicts(it.sql, [verdict, verdict])).toBe(1);
    expect(await insertVerdicts(it.sql, [{ ...verdict, found: 'RIGHT' }])).toBe(0);
    expect(await insertVerdicts(it.sql, [{ ...verdict, kind: 'audit' }])).toBe(1);
    expect(await foldVerdicts(depsOf())).toMatchObject({ folded: 2 });
    expect(await foldVerdicts(depsOf())).toEqual({ folded: 0, caught: [] });
    expect((await ledgerOf(agent_id)).fold_seq).toBe(2);
  });

  test('who is caught is told: by whom it was asked to fold, in the events, and where it stands to whoever listens', async () => {
    const { agent_id } = await it.agent();
    const other = (await it.agent()).agent_id;
    await find(agent_id, RIGHT, WRONG);
    await find(other, RIGHT);
    heard.length = 0;
    const { caught } = await foldVerdicts(depsOf(), { agentIds: [agent_id] });
    expect(caught).toMatchObject([
      { agent_id, capability: 'echo', found: 'WRONG', before: 'NEWCOMER', after: 'PROBATION' },
    ]);
    expect((await ledgerOf(other)).fold_seq).toBe(0);
    await find(agent_id, COLLUDED);
    expect((await foldVerdicts(depsOf())).caught).toMatchObject([{ before: 'PROBATION', after: 'QUARANTINED' }]);
    expect(heard.map(({ standing }) => standing)).toEqual(['PROBATION', 'QUARANTINED']);
    expect(await it.eventsOf(agent_id)).toEqual(
      expect.arrayContaining(['trust.verdict', 'agent.refuted', 'agent.quarantined']),
    );
  });

  test('a quarantine ends by itself: after a day, then two; the third does not', async () => {
    const { agent_id } = await it.agent();
    for (const days of [1, 2]) {
      await find(agent_id, COLLUDED);
      await foldVerdicts(depsOf());
      const { trust, now } = await ledgerOf(agent_id);
      expect(trust.standing).toBe('QUARANTINED');
      expect(trust.quarantined_until! - now).toBeGreaterThan((days - 1) * DAY_MS);
      await it.clock.advance(`${days * DAY_MS - 60_000}ms`);
      expect(await returnQuarantined(depsOf())).toBe(0);
      await it.clock.advance('61s');
      expect(await Promise.all([returnQuarantined(depsOf()), returnQuarantined(depsOf(it.openMore()))])).toEqual(
        expect.arrayContaining([1]),
      );
      expect((await ledgerOf(agent_id)).trust.standing).toBe('PROBATION');
      expectSame((await ledgerOf(agent_id)).trust, await refolded(agent_id));
    }
    await find(agent_id, COLLUDED);
    await foldVerdicts(depsOf());
    expect((await ledgerOf(agent_id)).trust).toMatchObject({ standing: 'BANNED', quarantined_until: null });
    await it.clock.advance('365d');
    expect(await returnQuarantined(depsOf())).toBe(0);
    const events = (await it.eventsOf(agent_id)).filter((kind) => kind !== 'trust.verdict');
    expect(events).toEqual([
      'agent.quarantined',
      'agent.returned',
      'agent.quarantined',
      'agent.returned',
      'agent.banned',
    ]);
  });

  test('what is known fades while nobody looks, and a quarantine does not', async () => {
    const { agent_id } = await it.agent();
    await it.sql`update agents set anchor = true where agent_id = ${agent_id}`;
    const pair = { agent_id, capability: 'echo' };
    const known = async () => [
      ...(await findKnown(it.sql, [pair, { agent_id: 'agent_none', capability: 'echo' }])).values(),
    ];
    expect(await known()).toEqual([{ right: 0, wrong: 0, streak: 0, standing: 'NEWCOMER', anchor: true }]);
    await find(agent_id, RIGHT, COLLUDED);
    await foldVerdicts(depsOf());
    await it.clock.advance('30d');
    const [later] = await known();
    expect(later!.right).toBeCloseTo(0.99 / 2, 5);
    expect(later!.wrong).toBeCloseTo(3 / 2, 5);
    expect(later).toMatchObject({ streak: 0, standing: 'QUARANTINED' });
  });

  test('a verdict is never changed, and goes only with its run', async () => {
    const agent = await it.agent();
    const [task_id] = await it.submit({});
    const claimed = await it.claim(it.db.hot, [{ ...agent, want: 1 }], [await it.classOf('echo')]);
    const { fence } = claimed.get(agent.agent_id)!.runs[0]!;
    const result = {
      ...agent,
      fence,
      status: 'COMPLETED',
      fault: null,
      retryable: false,
      result_data: null,
      error: null,
    };
    await applyResults(it.db.hot, [result]);
    await insertVerdicts(it.sql, [verdictOf(agent.agent_id, RIGHT, { fence, task_id: task_id! })]);
    const refused = { code: '42501', message: expect.stringContaining('evidence is append-only') };
    for (const role of ['origin', 'replica']) {
      const { admin } = it.openMore({ adminConnections: 1 });
      await admin.unsafe(`set session_replication_role = ${role}`);
      for (const statement of [
        `update verdicts set found = 'WRONG'`,
        `update verdicts set fold_seq = 1, weight = 0`,
        'truncate verdicts',
        'delete from verdicts',
      ])
        await expect(admin.unsafe(statement), `${role}: ${statement}`).rejects.toMatchObject(refused);
    }
    await it.sql`update verdicts set fold_seq = 1`;
    await expect(it.sql`update verdicts set fold_seq = 2`).rejects.toMatchObject(refused);
    await it.clock.advance('40d');
    expect(await forgetTasks(it.sql, { olderThanDays: 30, after: '', limit: 10 })).toMatchObject({ runs: 1 });
    expect(await it.sql`select from verdicts`).toHaveLength(0);
  });
});
