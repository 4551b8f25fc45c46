// What Postgres alone costs: the least that is a queue (a table of what waits, one of what is held, one of what is done), as
// many rows a statement and as many commits a task, from a process beside the server. No fences, no retries, no trust.
import postgres from 'postgres';
import { cpuOf } from '../cpu.mjs';
import { atPace, inLanes, nowMs } from '../pace.mjs';
import { answer } from '../process.mjs';

/** Sessions that claim while agents would poll in batches; for one task at a time there are as many as submit. */
const CLAIMERS = 2;
const SINGLE_CLAIMERS = 16;

const TABLES = `
  create table waiting (id bigint generated always as identity primary key, input json not null);
  create table held (id bigint primary key, input json not null);
  create table done (id bigint primary key, input json not null, at timestamptz not null)`;
const INSERT = 'insert into waiting (input) select unnest($1::text[])::json';
const CLAIM = `
  with taken as (
    delete from waiting where ctid = any(array(select ctid from waiting order by id limit $1::int for update skip locked)) returning id, input
  ) insert into held select id, input from taken returning id, input`;
const FINISH = `
  with ended as (delete from held where id = any($1::bigint[]) returning id, input) insert into done select id, input, now() from ended`;

let sql;
const input = () => JSON.stringify({ at: nowMs() });
const insert = (inputs) => sql.unsafe(INSERT, [inputs], { prepare: true });
const claim = (limit) => sql.unsafe(CLAIM, [limit], { prepare: true });
const finish = (ids) => sql.unsafe(FINISH, [ids], { prepare: true });

/** Claims and finishes until nothing waits. */
async function work(max) {
  for (let rows = [1]; rows.length > 0; ) {
    rows = await claim(max);
    if (rows.length > 0) await finish(rows.map(({ id }) => id));
  }
}

answer(
  {
    async open({ databaseUrl }) {
      sql = postgres(databaseUrl, { max: SINGLE_CLAIMERS, onnotice: () => {} });
      await sql.unsafe(TABLES);
    },
    async fill({ count }) {
      for (let left = count; left > 0; left -= 1_000) await insert(Array(Math.min(left, 1_000)).fill('{"at":0}'));
    },
    drain({ max }) {
      const claimers = max > 1 ? CLAIMERS : SINGLE_CLAIMERS;
      return inLanes(claimers, claimers, () => work(max));
    },
    flood: ({ count, inFlight }) => inLanes(inFlight, count, () => insert([input()])),
    bulk: ({ count, size, inFlight }) =>
      inLanes(inFlight, count / size, () => insert(Array.from({ length: size }, input))),
    async trickle({ count, warmUp, perSecond }) {
      const took = [];
      await atPace(perSecond, count + warmUp, async () => {
        await insert([input()]);
        const [row] = await claim(1);
        took.push(nowMs() - row.input.at);
        await finish([row.id]);
      });
      return took.slice(warmUp);
    },
    empty: async () => void (await sql`truncate waiting`),
    rest: async () => {},
    cpu: async () => cpuOf(process.pid),
  },
  async () => sql?.end({ timeout: 1 }),
);
