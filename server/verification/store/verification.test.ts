import type { Json } from '@muster/shared/contract/fields';
import type { Verified } from '@muster/shared/contract/verification';
import { runIdOf } from '@muster/shared/ids';
import { eventually } from '@muster/testing/eventually';
import { type Life, lane, openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createReporter, reportResult } from '../../dispatch/report.ts';
import { claimTasks } from '../../dispatch/store/claim.ts';
import type { Deps } from '../../platform/ctx.ts';
import { createClasses } from '../../tasks/classes.ts';
import { createLimits } from '../../tasks/limits.ts';
import { countLimits, type Limit, putLimit } from '../../tasks/store/limits.ts';
import { cancelTask } from '../../tasks/store/transitions.ts';
import { createVerification, type Verification } from '../verifier.ts';
import { wantCanary } from './canary.ts';
import { disputeTask, postpone, settleTask } from './decide.ts';
import { type Checking, listDue } from './due.ts';
import { openVerifications } from './open.ts';
import { takeResults } from './review.ts';

const quiet = { tell() {}, on() {} } as unknown as Deps['notifier'];
const log = { warn() {} } as unknown as Deps['log'];

const checkerOf = (task_type: string) =>
  ({ kind: 'checker', task_type, labels_required: {}, min_trust: 0, timeout_seconds: 9, settings: null }) as const;

describe.each([18, 15] as const)('checks on Postgres %i', (major) => {
  let it: Rows;
  let classId: number;
  beforeAll(async () => {
    it = await openRows(major);
    classId = await it.classOf('echo');
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  /** A coordinator's part in it, on pools of its own. */
  async function coordinator(mostClasses?: number): Promise<Verification> {
    const db = it.openMore();
    const classes = createClasses(db.admin, mostClasses);
    await classes.refresh();
    const limits = createLimits(db.admin);
    await limits.refresh();
    const verification = createVerification({ db, notifier: quiet, log }, classes, limits, () => 0.999);
    await verification.refresh();
    return verification;
  }
  const asked = (more: Partial<Verified> = {}) =>
    JSON.stringify({
      policy: 'always',
      quorum: 2,
      max_runs: 6,
      comparator: { kind: 'exact' },
      deadline_seconds: 100,
      otherwise: 'wait',
      ...more,
    });
  const agents = (n: number) => Promise.all(Array.from({ length: n }, (_, i) => it.agent({ owner: `owner${i}` })));
  const report = async (life: Life, fence: number, result_data: Json) =>
    createReporter({ db: it.db, notifier: quiet }, { reported() {} }).report(life, [
      { run_id: runIdOf(fence), fence, outcome: 'COMPLETED', result_data },
    ]);
  /** A task that has an answer and is wanted of `partners` more. */
  async function answered(
    first: Life,
    { partners = 1, more = {} }: { partners?: number; more?: Partial<Verified> } = {},
  ) {
    const [task_id] = await it.submit({ verification: asked(more) });
    const standings = await it.claim(it.db.hot, [{ ...first, want: 1 }], [classId]);
    const { fence } = standings.get(first.agent_id)!.runs[0]!;
    await openVerifications(it.db.hot, [{ fence, wanted: partners, trusted: false, apart: 'owner' }]);
    await report(first, fence, 'x');
    expect(await it.status(task_id!)).toBe(partners > 0 ? 'VERIFYING' : 'COMPLETED');
    return { task_id: task_id!, fence };
  }
  const take = (of: Verification, life: Life, want = 1) => of.claim({ ...life, want }, [classId]);

  test('two coordinators that judge at once decide once, with each verdict once', async () => {
    const lives = await agents(2);
    const [one, two] = [await coordinator(), await coordinator()];
    const tasks: string[] = [];
    for (let n = 0; n < 10; n += 1) {
      const { task_id } = await answered(lives[0]!);
      tasks.push(task_id);
      await one.refresh();
      const [run] = await take(one, lives[1]!);
      await report(lives[1]!, run!.fence, 'x');
    }
    await Promise.all([one.check(), two.check(), one.check(), two.check()]);
    await Promise.all([one.check(), two.check()]);
    for (const task_id of tasks) {
      expect(await it.status(task_id)).toBe('COMPLETED');
      expect((await it.eventsOf(task_id)).filter((kind) => kind === 'task.verified')).toHaveLength(1);
    }
    expect(await it.sql`select found, count(*)::int as n from verdicts group by 1`).toEqual([
      { found: 'RIGHT', n: 20 },
    ]);
    expect(await it.sql`select agent_id, "right" from integrity`).toHaveLength(2);
  });

  test('two coordinators that look at once ask one checker, and one that comes after them goes on from there', async () => {
    const [first, second, third] = await agents(3);
    const comparator = checkerOf('compare');
    const { task_id } = await answered(first!, { more: { comparator } });
    const [one, two] = [await coordinator(), await coordinator()];
    const [run] = await take(one, second!);
    await report(second!, run!.fence, 'y');
    await Promise.all([one.check(), two.check(), one.check(), two.check()]);
    const asked_for = await it.sql<{ class_id: string }[]>`select class_id from replicas where kind = 'checker'`;
    expect(asked_for).toHaveLength(1);
    const compare = [Number(asked_for[0]!.class_id)];
    const later = await coordinator();
    const claims = await Promise.all(
      [first!, second!, third!].map((life) => later.claim({ ...life, want: 1 }, compare)),
    );
    expect(claims).toMatchObject([[], [], [{ task_id, task_type: 'compare', timeout_seconds: 9 }]]);
    await report(third!, claims[2]![0]!.fence, { equal: [[0, 1]] });
    expect(await it.status(task_id)).toBe('VERIFYING');
    await Promise.all([later.check(), one.check()]);
    expect(await it.status(task_id)).toBe('COMPLETED');
    expect(await it.sql`select capability from verifications`).toEqual([{ capability: 'echo' }]);
  });

  test('where its owner has so many classes that there is none for its checker the task says why it waits', async () => {
    const [first, second] = await agents(2);
    const comparator = checkerOf('too-many');
    const { task_id } = await answered(first!, { more: { comparator } });
    const full = await coordinator(1);
    const [run] = await take(full, second!);
    await report(second!, run!.fence, 'y');
    await full.check();
    const noteOf = async () => (await it.sql`select state, note from verifications where task_id = ${task_id}`)[0];
    expect(await noteOf()).toEqual({ state: 'VERIFYING', note: expect.stringContaining('the most there may be') });
    await it.clock.advance('10s');
    await (await coordinator()).check();
    expect(
      await it.sql`select kind, note from replicas join verifications using (task_id) where kind = 'checker'`,
    ).toEqual([{ kind: 'checker', note: null }]);
  });

  test('one that cannot be looked at keeps no other from being decided, and is looked at again later', async () => {
    const [first, second] = await agents(2);
    const one = await coordinator();
    const answers = async () => {
      const { task_id } = await answered(first!);
      await one.refresh();
      const [run] = await take(one, second!);
      await report(second!, run!.fence, 'x');
      return task_id;
    };
    const [odd, plain] = [await answers(), await answers()];
    const compareBy = (of: string) => it.sql`
      update tasks set verification = jsonb_set(verification, '{comparator}', ${of}::text::jsonb) where task_id = ${odd}`;
    await compareBy('null');
    await one.check();
    expect([await it.status(odd), await it.status(plain)]).toEqual(['VERIFYING', 'COMPLETED']);
    await compareBy('{"kind":"exact"}');
    await it.clock.advance('10s');
    await one.check();
    expect(await it.status(odd)).toBe('COMPLETED');
  });

  test('twenty of one owner that ask at once for two runs that are wanted get one', async () => {
    const first = await it.agent({ owner: 'first' });
    await answered(first, { partners: 2 });
    const twins = await Promise.all(Array.from({ length: 20 }, () => it.agent({ owner: 'second' })));
    const coordinators = [await coordinator(), await coordinator()];
    const given = await Promise.all(twins.map((life, n) => take(coordinators[n % 2]!, life, 2)));
    expect(given.flat()).toHaveLength(1);
    expect(await take(coordinators[0]!, first)).toEqual([]);
    const [other] = await take(coordinators[0]!, await it.agent({ owner: 'third' }));
    expect(other).toMatchObject({ attempt: 1, checkpoint: null });
  });

  test('however many are wanted that are not for an agent, a look goes through so many, and looks come to what is for it', async () => {
    const [first, second] = await agents(2);
    const { task_id } = await answered(first!);
    await it.sql`
      insert into replicas (task_id, replica, kind, class_id, rank, trusted, since)
      select task_id, replica + n, kind, class_id, rank - n * interval '1 second', false, since
      from replicas, generate_series(1, 900) n where task_id = ${task_id}`;
    const last = await answered(second!);
    const one = await coordinator();
    const twin = await it.agent({ owner: 'owner0' });
    const looks = [await take(one, twin), await take(one, twin)];
    expect(looks).toMatchObject([[], [{ task_id: last.task_id }]]);
    // From the first again, and past the last.
    for (let n = 0; n < 3; n += 1) expect(await take(one, twin)).toEqual([]);
    const [head] = await take(one, await it.agent({ owner: 'third' }));
    const [given] = await it.sql<{ replica: number }[]>`select replica from replicas where fence = ${head!.fence}`;
    expect(given!.replica).toBeGreaterThan(890);
  });

  test('a run that is wanted takes the slots it costs, and no more than are free', async () => {
    const [first, second] = await agents(2);
    await answered(first!);
    await answered(first!);
    const full = await it.agent({ owner: 'full', slots: 1 });
    const one = await coordinator();
    expect(await take(one, full, 4)).toHaveLength(1);
    expect(await take(one, full, 4)).toHaveLength(0);
    expect(await take(one, { ...second!, boot_id: 'boot_other' })).toHaveLength(0);
    expect(await take(one, await it.agent({ owner: 'late', lease_seconds: -1 }))).toHaveLength(0);
    expect(await take(one, second!)).toHaveLength(1);
  });

  describe('a decision is made about what was seen, or not at all', () => {
    /** A check with two answers, as it was seen before something happened to it. */
    async function stale(happens: (check: Checking, life: Life) => Promise<unknown>): Promise<Checking> {
      const [first, second] = await agents(2);
      const { task_id } = await answered(first!, { partners: 2 });
      const one = await coordinator();
      const [run] = await take(one, second!);
      await report(second!, run!.fence, 'x');
      const seen = (await listDue(it.sql, 10)).find((check) => check.task_id === task_id)!;
      expect(seen.answers).toHaveLength(2);
      await happens(seen, second!);
      return seen;
    }
    const settlement = (seen: Checking) => ({
      winner: seen.answers[0]!.fence,
      finality: 'verified' as const,
      note: null,
      audited: false,
      verdicts: [],
    });
    const dispute = { code: 'disputed', reason: 'because' };
    const happenings: Record<string, (seen: Checking) => Promise<unknown>> = {
      'another answer came': async () => {
        const third = await it.agent({ owner: 'third' });
        const [run] = await take(await coordinator(), third);
        await report(third, run!.fence, 'y');
      },
      'it was cancelled': (seen) => cancelTask(it.sql, seen.task_id, null),
      'another coordinator decided': (seen) => settleTask(it.sql, seen, settlement(seen)),
      'another coordinator disputed it': (seen) => disputeTask(it.sql, seen, dispute),
    };
    test.each(Object.entries(happenings))('%s', async (_, happens) => {
      const seen = await stale(happens);
      const before = await it.status(seen.task_id);
      const events = await it.eventsOf(seen.task_id);
      expect(await settleTask(it.sql, seen, settlement(seen))).toBeUndefined();
      expect(await disputeTask(it.sql, seen, dispute)).toBeUndefined();
      expect(await postpone(it.sql, seen, { until: null, note: null })).toBe(false);
      expect(await it.status(seen.task_id)).toBe(before);
      expect(await it.eventsOf(seen.task_id)).toEqual(events);
    });
  });

  test('a claim that what ends a check was in the way of is made again', async () => {
    const [first, second] = await agents(2);
    const { task_id } = await answered(first!);
    const one = await coordinator();
    const { admin } = it.openMore({ adminConnections: 1 });
    await admin`begin`;
    // It waits longer than the claim, which loses.
    await admin`set local deadlock_timeout = '1min'`;
    await admin`delete from verifications where task_id = ${task_id}`;
    const taking = take(one, second!);
    await eventually(
      async () =>
        (await it.sql`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
          .length > 0,
    );
    await admin`delete from replicas where task_id = ${task_id} and fence is null`;
    await admin`rollback`;
    // Sent again before the roll back, it passes over what is still locked.
    expect([...(await taking), ...(await take(one, second!))]).toMatchObject([{ task_id }]);
  });

  test('who gives back a run that checks another is told what it would be of any, however often it says so', async () => {
    const [first, second] = await agents(2);
    await answered(first!);
    const [run] = await take(await coordinator(), second!);
    const { fence } = run!;
    const give = () =>
      reportResult(
        { db: it.db, reporter: createReporter({ db: it.db, notifier: quiet }, { reported() {} }) },
        second!,
        { run_id: runIdOf(fence), fence, outcome: 'RETURNED' },
      );
    expect(await give()).toEqual({ applied: true, task_status: 'PENDING' });
    expect(await give()).toEqual({ applied: false, task_status: 'PENDING' });
  });

  test('where nobody else comes in time who gave a run back may have it again, and who has answered not', async () => {
    const [first, second] = await agents(2);
    const { task_id } = await answered(first!);
    const one = await coordinator();
    const [run] = await take(one, second!);
    await createReporter({ db: it.db, notifier: quiet }, { reported() {} }).report(second!, [
      { run_id: runIdOf(run!.fence), fence: run!.fence, outcome: 'RETURNED' },
    ]);
    const look = async (after: string) => {
      await it.clock.advance(after);
      await it.sql`update presence set lease_expires_at = muster_now() + interval '1 hour'`;
      await one.check();
      await one.refresh();
      return { own: await take(one, first!), other: await take(one, second!) };
    };
    expect(await look('0s')).toEqual({ own: [], other: [] });
    expect(await look('60s')).toEqual({ own: [], other: [] });
    const { own, other } = await look('60s');
    expect(own).toEqual([]);
    await report(second!, other[0]!.fence, 'x');
    await one.check();
    expect(await it.status(task_id)).toBe('COMPLETED');
  });

  test('who is looked back at is not believed in all it did for one result that was right', async () => {
    const [liar, good] = await agents(2);
    for (let n = 0; n < 10; n += 1) await answered(liar!, { partners: 0 });
    await it.sql`insert into look_backs values (${liar!.agent_id}, 'echo', false, 0, 0, muster_now())`;
    expect(await takeResults(it.sql, 1)).toBe(8);
    const one = await coordinator();
    await one.check();
    await one.refresh();
    const [run] = await take(one, good!);
    await report(good!, run!.fence, 'x');
    await one.check();
    expect(
      await it.sql`select state, finality, count(*)::int as n from verifications group by 1, 2 order by 1`,
    ).toEqual([
      { state: 'ACCEPTED', finality: 'provisional', n: 2 },
      { state: 'AGREED', finality: 'verified', n: 1 },
      { state: 'REVIEWING', finality: 'provisional', n: 7 },
    ]);
  });

  test('however many draw a canary at once, a task has one', async () => {
    const [first, second] = await agents(2);
    const standing = { streak: 10, standing: 'TRUSTED', faults: 0, wrong: 0, right: 5, quarantines: 0, fold_seq: 0 };
    await it.sql`
      insert into integrity ${it.sql({ agent_id: second!.agent_id, capability: 'echo', checked_at: new Date(), updated_at: new Date(), ...standing })}`;
    const one = await coordinator();
    for (let n = 0; n < 8; n += 1) {
      await answered(first!);
      await one.refresh();
      const [run] = await take(one, second!);
      await report(second!, run!.fence, 'x');
      await one.check();
    }
    const pools = [it.openMore(), it.openMore(), it.openMore()];
    const draws = Array.from({ length: 150 }, (_, n) =>
      wantCanary(pools[n % 3]!.hot, { capability: 'echo', alias: `task_${n}` }),
    );
    const wanted = (await Promise.all(draws)).flat();
    expect(wanted.length).toBeGreaterThan(0);
    expect(await it.sql`select 1 from replicas where kind = 'canary'`).toHaveLength(wanted.length);
  });

  test('a check that begins twice is begun once; of a task that is claimed again it goes on', async () => {
    const [first, second] = await agents(2);
    const [task_id] = await it.submit({ verification: asked(), retry_policy: 'fixed' });
    const claim = async (life: Life) =>
      (await it.claim(it.db.hot, [{ ...life, want: 1 }], [classId])).get(life.agent_id)!.runs[0]!.fence;
    const begin = (fence: number, wanted: number) =>
      openVerifications(it.db.hot, [{ fence, wanted, trusted: false, apart: 'owner' }]);
    const fence = await claim(first!);
    expect(await begin(fence, 0)).toEqual([]);
    expect(await begin(fence, 1)).toEqual([]);
    expect(await it.sql`select state, cardinality(parties) as n from verifications`).toEqual([
      { state: 'ALONE', n: 3 },
    ]);
    await createReporter({ db: it.db, notifier: quiet }, { reported() {} }).report(first!, [
      { run_id: runIdOf(fence), fence, outcome: 'RETURNED' },
    ]);
    const again = await claim(second!);
    expect(await begin(again, 1)).toEqual([classId]);
    expect(await begin(again, 1)).toEqual([]);
    expect(await it.sql`select state, cardinality(parties) as n from verifications`).toEqual([{ state: 'OPEN', n: 6 }]);
    expect(await it.sql`select replica, fence from replicas where task_id = ${task_id!}`).toEqual([
      { replica: 1, fence: null },
    ]);
    // What was drawn for the first does not hold for the second.
    await report(second!, again, 'x');
    expect(await it.status(task_id!)).toBe('VERIFYING');
  });

  describe('what is wanted of limited classes', () => {
    const limit = (scope: Limit['scope'], name: string, max_running: number) =>
      putLimit(it.sql, { scope, name, max_running, starts_per_second: null, weight: null });
    const running = async () => (await countLimits(it.sql)).map((row) => row.running);
    const ended = (life: Life, fence: number) => report(life, fence, 'x');

    test.each([
      ['owner', 'admin'],
      ['capability', 'echo'],
      ['global', '*'],
    ] as const)('no more runs of it at a time than the limit of the %s lets, however many ask', async (scope, name) => {
      const first = await it.agent({ owner: 'first', slots: 10 });
      for (let n = 0; n < 5; n += 1) await answered(first);
      await limit(scope, name, 2);
      const coordinators = [await coordinator(), await coordinator()];
      const others = await agents(8);
      const ask = async () =>
        (
          await Promise.all(others.map(async (life, n) => ({ life, runs: await take(coordinators[n % 2]!, life, 4) })))
        ).flatMap(({ life, runs }) => runs.map(({ fence }) => ({ life, fence })));
      const given = await ask();
      expect(given).toHaveLength(2);
      expect(await running()).toEqual([2]);
      expect(await ask()).toEqual([]);
      await ended(given[0]!.life, given[0]!.fence);
      expect(await ask()).toHaveLength(1);
      expect(await running()).toEqual([2]);
    });

    test('a run of several slots takes them, and one that does not fit is not taken', async () => {
      const heavy = await it.classOf('echo', 'admin', 3);
      const [first, second] = [await it.agent({ owner: 'first' }), await it.agent({ owner: 'second', slots: 5 })];
      for (let n = 0; n < 2; n += 1) {
        await it.submit({ verification: asked(), class_id: heavy });
        const lanes = [lane(heavy, { slot_cost: 3 })];
        const { standings } = await claimTasks(it.db.hot, [{ ...first, want: 1 }], lanes);
        const { fence } = standings.get(first.agent_id)!.runs[0]!;
        await openVerifications(it.db.hot, [{ fence, wanted: 1, trusted: false, apart: 'owner' }]);
        await report(first, fence, 'x');
      }
      const one = await coordinator();
      const takeHeavy = () => one.claim({ ...second, want: 5 }, [heavy]);
      expect(await takeHeavy()).toMatchObject([{ slot_cost: 3 }]);
      expect(await takeHeavy()).toEqual([]);
      expect(await it.sql`select slots_used from agents where agent_id = ${second.agent_id}`).toEqual([
        { slots_used: 3 },
      ]);
    });

    test('a canary takes no place of its owner’s, but of the capability’s', async () => {
      const [first, second] = await agents(2);
      await it.sql`
        insert into integrity (agent_id, capability, "right", wrong, checked_at, streak, faults, standing, quarantines, fold_seq, updated_at)
        select ${second!.agent_id}, 'echo', 5, 0, muster_now(), 10, 0, 'TRUSTED', 0, 0, muster_now()`;
      await answered(first!);
      const one = await coordinator();
      const [run] = await take(one, second!);
      await report(second!, run!.fence, 'x');
      await one.check();
      await limit('capability', 'echo', 5);
      await limit('owner', 'admin', 1);
      expect(await wantCanary(it.db.hot, { capability: 'echo', alias: 'task_alias' })).toEqual([classId]);
      expect(await wantCanary(it.db.hot, { capability: 'echo', alias: 'task_again' })).toEqual([]);
      const limited = await coordinator();
      const [canary] = await take(limited, await it.agent({ owner: 'third' }));
      expect(canary).toMatchObject({ task_id: 'task_alias' });
      expect(await it.sql`select scope from limit_holds`).toEqual([{ scope: 'capability' }]);
      expect(await running()).toEqual([1, 0]);
      await it.sql`delete from integrity where fold_seq = 0`;
    });
  });
});
