import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '@muster/testing/eventually';
import { createDatabase, startTestPostgres } from '@muster/testing/postgres';
import { openRows, type Rows } from '@muster/testing/rows';
import { type ScratchFolder, scratchFolder } from '@muster/testing/scratch';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openSigningKeys } from '../access/signing-keys.ts';
import { createClock } from '../platform/clock.ts';
import { parseConfig } from '../platform/config.ts';
import type { Ctx } from '../platform/ctx.ts';
import { type Database, openDatabase, type Sql } from '../platform/database.ts';
import { createLog } from '../platform/log.ts';
import { createLoops } from '../platform/look.ts';
import { type Heads, openHeads } from './heads.ts';
import { pruneAuditLoop, sealLoop } from './loops.ts';
import { listAuditLogs, verifyAuditLogs } from './read.ts';
import { type Seal, type Signer, sealRows } from './seal.ts';
import * as store from './store.ts';

const log = createLog('silent');
let it: Rows;
let folder: ScratchFolder;
let signer: Signer;
let heads: Heads;
const signerOf = async (sql: Sql) =>
  (await openSigningKeys(sql, parseConfig({ MUSTER_DATA_DIR: folder.path }), createClock(sql))).seal;

beforeEach(async () => {
  it = await openRows();
  folder = scratchFolder('audit');
  heads = openHeads(folder.path);
  signer = await signerOf(it.sql);
});
afterEach(async () => {
  await it.close();
  folder.remove();
});

/** Audits something; the row's id is drawn a while before the commit, so that rows appear out of order. */
const audit = (sql: Sql = it.sql, { owner = 'admin', action = 'task.cancel', subject = 'task_1' } = {}) => sql`
  with row as (
    insert into audit_logs (tx, at, action, actor, address, request_id, owner, subject_id, before, after)
    values (pg_current_xact_id(), (select muster_now()), ${action}, 'admin', '::1', 'req_1', ${owner}, ${subject}, '{"status":"PENDING"}', null) returning audit_id)
  select audit_id, pg_sleep(random() * 0.003) from row`;
const sealer = (db: Database = it.db, to = heads) => sealLoop({ db, log }, signer, to);
/** Seals until nothing is left; other tests of the server may hold the end of the log open for a moment. */
const seal = (db: Database = it.db, to = heads) =>
  eventually(async () => {
    await sealer(db, to).tick();
    return (await verify({}, db, to)).unsealed === 0;
  });
const verify = (query = {}, db: Database = it.db, to = heads) =>
  verifyAuditLogs({ db } as Ctx, signer, to, { params: {}, query, body: {} });
/** As the owner of the tables who lifts their protection. */
const tamper = (statement: string) =>
  it.sql
    .unsafe(`alter table audit_logs disable trigger all; alter table audit_seals disable trigger all; ${statement}`)
    .simple();

test('two coordinators seal while eight connections write and it is verified all the while: one chain over every row, never a false alarm', async () => {
  const writing = it.openMore({ adminConnections: 8 });
  const sealers = [sealer(it.db), sealer(it.openMore(), openHeads(`${folder.path}/other`))];
  const sealed = [0, 0];
  let [left, rows] = [8, 0];
  // Until both have sealed some: on a busy machine one may come to nothing for long.
  const writer = async () => {
    for (let n = 0; n < 40 || Math.min(...sealed) === 0; n += 1, rows += 1) await audit(writing.admin);
    left -= 1;
  };
  const run = async (loop: (typeof sealers)[0], which: number) => {
    while (left > 0) sealed[which]! += await loop.tick();
  };
  const reader = async () => {
    let verified = 0;
    for (; left > 0; verified += 1) expect(await verify()).toMatchObject({ valid: true, problems: [] });
    return verified;
  };
  const [verified] = await Promise.all([reader(), ...sealers.map(run), ...Array.from({ length: 8 }, writer)]);
  expect(verified).toBeGreaterThan(3);
  await seal();
  expect(await verify()).toMatchObject({ valid: true, rows, unsealed: 0, problems: [] });
  const [sum] =
    await it.sql`select sum(count)::int as rows, count(*)::int as seals, max(seal)::int as last from audit_seals`;
  expect(sum).toMatchObject({ rows, last: sum!.seals });
});

test('a row whose transaction is still open is not passed by', async () => {
  const { admin } = it.openMore({ adminConnections: 1 });
  await admin`begin`;
  await audit(admin);
  await audit();
  expect(await sealer().tick()).toBe(0);
  expect(await verify()).toMatchObject({ valid: true, rows: 1, unsealed: 1, head: null });
  await admin`commit`;
  await seal();
  expect(await verify()).toMatchObject({ valid: true, rows: 2, unsealed: 0 });
});

test('a thousand rows go under one seal at most', async () => {
  await it.sql`
    insert into audit_logs (tx, at, action, actor, request_id, owner, subject_id)
    select pg_current_xact_id(), muster_now(), 'a', 'admin', 'req_1', 'admin', 's' from generate_series(1, 2500)`;
  await seal();
  expect(await it.sql`select count from audit_seals order by audit_seals.seal`).toEqual([
    { count: 1000 },
    { count: 1000 },
    { count: 500 },
  ]);
  expect(await verify()).toMatchObject({ valid: true, rows: 2500, seals: 3 });
});

test('a chain is read page by page', async () => {
  await it.sql`
    insert into audit_logs (tx, at, action, actor, request_id, owner, subject_id)
    select pg_current_xact_id(), muster_now(), 'a', 'admin', 'req_1', 'admin', 's' from generate_series(1, 230)`;
  let last: Seal | undefined;
  for (const row of await store.listRows(it.sql, { after: undefined }, 1_000)) {
    last = await sealRows(last, [row], await it.clock.now(), signer);
    await store.insertSeal(it.sql, last);
  }
  expect(await verify()).toMatchObject({ valid: true, rows: 230, seals: 230, problems: [] });
  await tamper('delete from audit_logs where audit_id = 150');
  expect(await verify()).toMatchObject({ valid: false, rows: 229, problems: [{ seal: 150 }] });
});

test('a row that nobody seals is a problem after a minute', async () => {
  await audit();
  expect(await verify()).toMatchObject({ valid: true, unsealed: 1 });
  await it.clock.advance('61s');
  const { valid, problems } = await verify();
  expect({ valid, problems }).toMatchObject({
    valid: false,
    problems: [{ seal: 1, detail: expect.stringContaining('not sealed') }],
  });
});

describe('the loop on a server of its own', () => {
  const server = startTestPostgres();
  afterAll(async () => (await server).stop());

  test('rows are sealed within seconds while more arrive', async () => {
    const { url } = await createDatabase((await server).url);
    const [a, b] = [openDatabase(url), openDatabase(url)];
    signer = await signerOf(a.admin);
    const loops = [
      ...createLoops([sealer(a)], a.hot, log),
      ...createLoops([sealer(b, openHeads(`${folder.path}/other`))], b.hot, log),
    ];
    for (const loop of loops) loop.start();
    const sealed = async () => Number((await a.admin`select coalesce(sum(count), 0) as n from audit_seals`)[0]!.n);
    while ((await sealed()) < 100) await audit(a.admin);
    await eventually(async () => (await verify({}, a)).unsealed === 0);
    await Promise.all(loops.map((loop) => loop.stop()));
    const [latest] = await a.admin`
      select count(*)::int as rows, max(extract(epoch from s.sealed_at - l.at))::float8 as seconds from audit_logs l, lateral (
        select sealed_at from audit_seals where (tx, audit_id) >= (l.tx, l.audit_id) order by tx, audit_id limit 1) s`;
    // About one, on a machine of one's own.
    expect(latest!.seconds).toBeLessThan(10);
    expect(await verify({}, a)).toMatchObject({ valid: true, rows: latest!.rows });
    await Promise.all([a.close(), b.close()]);
  });
});

describe('the remembered head', () => {
  const file = () => join(folder.path, 'audit-head.json');
  const chainOf = async (length: number) => {
    for (let n = 0; n < length; n += 1) {
      await audit();
      await seal();
    }
  };
  /** It is written once a second at most. */
  const saved = async (number: number) => {
    await eventually(async () => {
      await sealer().tick();
      const kept = Object.values(JSON.parse(readFileSync(file(), 'utf8'))) as { seal: number }[];
      return kept.some((head) => head.seal === number);
    });
  };
  const cut = (from: number) =>
    tamper(`
    delete from audit_logs where (tx, audit_id) > (select tx, audit_id from audit_seals where seal = ${from - 1}); delete from audit_seals where seal >= ${from}`);
  const lost = (number: number) => ({
    valid: false,
    problems: [{ seal: number, detail: expect.stringMatching(/this coordinator remembers.* the chain ends at seal/) }],
  });

  test('tells a chain that was cut off at its end, also after a restart, also when it has grown again', async () => {
    await chainOf(4);
    await saved(4);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    await cut(3);
    expect(await verify()).toMatchObject(lost(4));
    await sealer().tick();
    expect(await verify()).toMatchObject(lost(4));
    heads = openHeads(folder.path);
    expect(await verify()).toMatchObject(lost(4));
    await chainOf(4);
    await sealer().tick();
    const grown = await verify();
    expect(grown).toMatchObject({
      valid: false,
      head: { seal: 6 },
      problems: [{ seal: 4, detail: expect.stringContaining('this coordinator remembers') }],
    });
    rmSync(file());
    heads = openHeads(folder.path);
    await sealer().tick();
    expect(await verify(), 'the operator has settled it').toMatchObject({ valid: true });
  });

  test('of another database is told until the operator removes it, and this one has its own', async () => {
    await chainOf(2);
    await saved(2);
    const other = await openRows();
    try {
      signer = await signerOf(other.sql);
      heads = openHeads(folder.path);
      const foreign = { seal: 2, detail: expect.stringContaining('another database') };
      expect(await verify({}, other.db)).toMatchObject({ valid: false, seals: 0, problems: [foreign] });
      await audit(other.sql);
      await seal(other.db);
      expect(await verify({}, other.db)).toMatchObject({ valid: false, seals: 1, problems: [foreign] });
      rmSync(file());
      heads = openHeads(folder.path);
      await seal(other.db);
      expect(await verify({}, other.db)).toMatchObject({ valid: true, seals: 1 });
      expect(Object.values(JSON.parse(readFileSync(file(), 'utf8')))).toMatchObject([{ seal: 1 }]);
    } finally {
      await other.close();
    }
  });

  test('does not move to a seal that no coordinator signed', async () => {
    await chainOf(2);
    await it.sql`insert into audit_seals select 3, tx, audit_id + 1, 1, hash, repeat('0', 64), kid, signature, sealed_at from audit_seals where seal = 2`;
    await sealer().tick();
    await tamper('delete from audit_seals where seal = 3');
    expect(await verify()).toMatchObject({ valid: true, head: { seal: 2 } });
  });

  test('a file that cannot be read stops the start, by its name', async () => {
    writeFileSync(file(), '{"x":1}');
    expect(() => openHeads(folder.path)).toThrow('audit-head.json');
  });

  test('that an auditor kept is looked for too', async () => {
    await chainOf(3);
    const { head } = await verify();
    await chainOf(1);
    const fresh = openHeads(`${folder.path}/fresh`);
    const asked = (seal: number, hash: string) => verify({ seal, hash }, it.db, fresh);
    expect(await asked(head!.seal, head!.hash)).toMatchObject({ valid: true });
    expect(await asked(2, head!.hash)).toMatchObject({ valid: false, problems: [{ seal: 2 }] });
    await cut(3);
    expect(await verify({}, it.db, fresh), 'without a memory nobody can tell').toMatchObject({ valid: true });
    expect(await asked(head!.seal, head!.hash)).toMatchObject({ valid: false, problems: [{ seal: 3 }] });
  });
});

describe('after a year', () => {
  const prune = () => pruneAuditLoop(it).tick();
  const counts = async () => {
    const [row] =
      await it.sql`select (select count(*) from audit_logs)::int as rows, (select count(*) from audit_seals)::int as seals`;
    return row;
  };
  /** Five seals of two rows each, hundred days apart. */
  const fiveSeals = async () => {
    for (let n = 0; n < 5; n += 1) {
      if (n > 0) await it.clock.advance('100d');
      await it.sql`
        insert into audit_logs (tx, at, action, actor, request_id, owner, subject_id)
        select pg_current_xact_id(), muster_now(), 'a', 'admin', 'req_1', 'admin', 's' from generate_series(1, 2)`;
      await seal();
    }
  };

  test('whole seals are forgotten, the last of them stays for the chain to hang on', async () => {
    await fiveSeals();
    expect(await prune()).toBe(2);
    expect(await counts()).toEqual({ rows: 8, seals: 5 });
    expect(await verify()).toMatchObject({ valid: true, rows: 8, seals: 5 });
    await it.clock.advance('110d');
    expect(await prune()).toBe(3);
    expect(await counts()).toEqual({ rows: 6, seals: 4 });
    expect(await verify()).toMatchObject({ valid: true, problems: [] });
    await it.clock.advance('1000d');
    await prune();
    expect(await prune()).toBe(0);
    expect(await counts()).toEqual({ rows: 0, seals: 1 });
    await audit();
    await seal();
    expect(await verify()).toMatchObject({ valid: true, rows: 1, seals: 2, head: { seal: 6 } });
  });

  test('what was never sealed is not forgotten', async () => {
    await audit();
    await it.clock.advance('400d');
    expect(await prune()).toBe(0);
    expect(await counts()).toEqual({ rows: 1, seals: 0 });
  });

  test('what is missing that was to be kept is told', async () => {
    await fiveSeals();
    await prune();
    const young = await it.sql`select audit_id from audit_logs order by audit_id limit 2`;
    await tamper(`delete from audit_logs where audit_id in (${young.map((row) => row.audit_id).join()})`);
    expect(await verify()).toMatchObject({ valid: false, problems: [{ seal: 2 }] });
    await tamper('delete from audit_seals where seal < 3');
    expect(await verify()).toMatchObject({
      valid: false,
      problems: [{ seal: 3, detail: expect.stringContaining('was to be kept') }, { seal: 3 }],
    });
  });

  test('a head that was forgotten meanwhile is no false alarm; to an auditor who asks for it, it is told', async () => {
    await audit();
    await seal();
    const { head } = await verify();
    await pause(1_000);
    await sealer().tick();
    await it.clock.advance('300d');
    const elsewhere = openHeads(`${folder.path}/elsewhere`);
    for (const by of ['0d', '100d', '300d']) {
      await it.clock.advance(by);
      await audit();
      await seal(it.db, elsewhere);
    }
    await prune();
    heads = openHeads(folder.path);
    expect(await verify()).toMatchObject({ valid: true, problems: [] });
    await sealer().tick();
    expect(await verify()).toMatchObject({ valid: true, head: { seal: 4 } });
    expect(await verify({ seal: head!.seal, hash: head!.hash })).toMatchObject({
      valid: false,
      problems: [{ seal: 1, detail: expect.stringContaining('begins at seal') }],
    });
  });
});

describe('the list', () => {
  const list = async (query = {}, owner?: string) => {
    const principal = owner
      ? { kind: 'key', owner, scopes: ['audit:read'] }
      : { kind: 'key', owner: 'admin', scopes: ['admin'] };
    return listAuditLogs({ db: it.db, principal } as unknown as Ctx, {
      params: {},
      query: { limit: 50, ...query },
      body: {},
    });
  };
  const subjects = async (query = {}, owner?: string) => (await list(query, owner)).data.map((row) => row.subject_id);

  test('newest first, page by page, with the seal of each row', async () => {
    // In one transaction two go under one seal, whatever holds up what may be read.
    for (const two of [
      [1, 2],
      [3, 4],
    ]) {
      await it.sql.begin(async (sql) => {
        for (const n of two) await audit(sql as unknown as Sql, { subject: `task_${n}` });
      });
      await seal();
    }
    await audit(it.sql, { subject: 'task_5' });
    const all = await list();
    expect(all.data.map((row) => [row.subject_id, row.seal])).toEqual([
      ['task_5', null],
      ['task_4', 2],
      ['task_3', 2],
      ['task_2', 1],
      ['task_1', 1],
    ]);
    expect(all.data[0]).toMatchObject({
      actor: 'admin',
      address: '::1',
      request_id: 'req_1',
      before: { status: 'PENDING' },
      after: null,
    });
    const first = await list({ limit: 2 });
    const second = await list({ limit: 2, cursor: first.next_cursor! });
    const third = await list({ limit: 2, cursor: second.next_cursor! });
    expect([...first.data, ...second.data, ...third.data]).toEqual(all.data);
    expect(third.next_cursor).toBeNull();
    await expect(list({ cursor: Buffer.from('["x"]').toString('base64url') })).rejects.toMatchObject({
      code: 'validation-failed',
    });
  });

  test('by its filters, and each owner its own', async () => {
    await audit(it.sql, { subject: 'task_a', owner: 'acme' });
    const between = await it.clock.now();
    await it.clock.advance('1m');
    await audit(it.sql, { subject: 'agent_b', owner: 'other', action: 'agent.revoke' });
    expect(await subjects()).toEqual(['agent_b', 'task_a']);
    expect(await subjects({ owner: 'acme' })).toEqual(['task_a']);
    expect(await subjects({ action: 'agent.revoke' })).toEqual(['agent_b']);
    expect(await subjects({ subject_id: 'task_a', actor: 'admin' })).toEqual(['task_a']);
    expect(await subjects({ actor: 'key_1' })).toEqual([]);
    const at = new Date(between.getTime() + 1_000).toISOString();
    expect(await subjects({ from: at })).toEqual(['agent_b']);
    expect(await subjects({ to: at })).toEqual(['task_a']);
    expect(await subjects({}, 'acme')).toEqual(['task_a']);
    expect(await subjects({ owner: 'other' }, 'acme')).toEqual([]);
  });
});
