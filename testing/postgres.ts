import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { migrateDatabase } from '@muster/server/platform/database';
import { platformName } from '@muster/server/platform/embedded-postgres/binaries';
import { startEmbeddedPostgres } from '@muster/server/platform/embedded-postgres/start';
import { packageFile } from '@muster/server/platform/package-file';
import postgres from 'postgres';
import { isInMemory, scratchFolder } from './scratch.ts';

/** A Postgres release the product is tested on: the one it brings, and the oldest it runs on. */
export type PostgresMajor = 18 | 15;

/** Where a run that shares its servers between processes names them. */
export const POSTGRES_ENV = { 18: 'MUSTER_TEST_POSTGRES_URL', 15: 'MUSTER_TEST_POSTGRES15_URL' } as const;

/** Shared memory as files of the cluster, which go when its folder goes, instead of segments that outlive a kill. */
export const LEAVE_NO_MEMORY = ['-c', 'dynamic_shared_memory_type=mmap'];

/** What a commit means is not what most tests are about, and not waiting for the disk makes them two or three times as fast. */
const COMMITS = ['-c', 'synchronous_commit=off'];
/** Without followers a table that is locked is no write: one would hold back, in every database, what may be read of the outbox. */
const NO_FOLLOWERS = ['-c', 'wal_level=minimal', '-c', 'max_wal_senders=0'];
const FLAGS = [...COMMITS, ...NO_FOLLOWERS, ...LEAVE_NO_MEMORY];

const started = new Map<PostgresMajor, Promise<string>>();

/** The URL of a Postgres for tests: the run's, else one that this process starts and that ends with it. */
export function testPostgres(major: PostgresMajor = 18): Promise<string> {
  const shared = process.env[POSTGRES_ENV[major]];
  if (shared) return Promise.resolve(shared);
  let own = started.get(major);
  if (!own) {
    own = startTestPostgres(major).then(({ url }) => url);
    started.set(major, own);
  }
  return own;
}

/** A Postgres of one's own in a scratch folder. */
export async function startTestPostgres(major: PostgresMajor = 18) {
  const scratch = scratchFolder(`postgres-${major}`);
  const packageName = major === 18 ? {} : { packageName: `embedded-postgres-${major}-${platformName}` };
  const server = await startEmbeddedPostgres({
    dataDir: scratch.path,
    flags: FLAGS,
    database: 'postgres',
    ...packageName,
  });
  if (major === 18) await quickLogin(server.url);
  return {
    url: server.url,
    async stop() {
      await server.stop();
      scratch.remove();
    },
  };
}

/** A proof of the password in one round instead of 4,096: each coordinator opens more than a dozen connections. (Postgres 15 has no such setting.) */
export const quickLogin = (url: string): Promise<void> =>
  run(url, (sql) =>
    sql.unsafe(`set scram_iterations = 1; alter role current_user password '${new URL(url).password}'`),
  );

/** The clock tests can move, in place of the one the migrations make. STABLE like that one, and one time per statement too. */
const MOVABLE_CLOCK = `
  create table muster_clock (one boolean primary key default true check (one), ahead interval not null default '0');
  insert into muster_clock default values;
  create or replace function muster_now() returns timestamptz language plpgsql stable parallel safe
    as $$ begin return statement_timestamp() + (select ahead from muster_clock); end $$;`;

/** In tests a status that changes without exactly one event beside it fails, at the commit. What a schedule did at its due times is no change of its status. */
const ONE_EVENT = `
  create function muster_one_event() returns trigger language plpgsql as $$
  declare
    subject text := to_jsonb(new) ->> tg_argv[0];
    told bigint := (select count(*) from events where tx = pg_current_xact_id() and subject = any(subject_ids)
      and kind !~ '^schedule.(fired|late|skipped|missed|triggered|backfilled)$');
  begin
    if told <> 1 then raise exception '% changed its status with % events, not one', subject, told; end if;
    return null;
  end $$;
  create constraint trigger one_event after update of mode on agents deferrable initially deferred
    for each row when (old.mode is distinct from new.mode) execute function muster_one_event('agent_id');
  create constraint trigger one_event after update of status on schedules deferrable initially deferred
    for each row when (old.status is distinct from new.status) execute function muster_one_event('schedule_id');
  create constraint trigger one_event after update of closed_status on tasks deferrable initially deferred
    for each row when (old.closed_status is distinct from new.closed_status) execute function muster_one_event('task_id');`;

export interface TestDatabase {
  url: string;
  drop(): Promise<void>;
}

/** A new database with all migrations and a clock that can be moved, cloned from a template made once per server. */
export async function createDatabase(serverUrl?: string): Promise<TestDatabase> {
  const server = serverUrl ?? (await testPostgres());
  const name = `muster_test_${randomBytes(6).toString('hex')}`;
  const { template, strategy } = await templateOn(server);
  const sql = keeperOf(server);
  await sql`create database ${sql(name)} template ${sql(template)} strategy ${sql(strategy)}`;
  return {
    url: urlOf(server, name),
    async drop() {
      await sql`drop database if exists ${sql(name)} with (force)`;
    },
  };
}

const keepers = new Map<string, postgres.Sql>();

/** Makes and drops a server's databases on connections that end by themselves, soon after the last. */
function keeperOf(server: string): postgres.Sql {
  const keeper =
    keepers.get(server) ?? postgres(server, { max: 4, idle_timeout: 1, fetch_types: false, onnotice: () => {} });
  keepers.set(server, keeper);
  return keeper;
}

interface Template {
  template: string;
  /** How it is copied: files are twice as fast as the log where they are in memory, and slower by far where a disk is waited for. */
  strategy: 'file_copy' | 'wal_log';
}

const templates = new Map<string, Promise<Template>>();

/** The template of a server, looked for once in a process. */
function templateOn(server: string): Promise<Template> {
  const template = templates.get(server) ?? prepareTemplate(server);
  templates.set(server, template);
  return template;
}

/** Named after the migrations' content, so that a change of them makes a new one. */
async function prepareTemplate(server: string): Promise<Template> {
  const template = `muster_template_${migrationsHash()}`;
  let strategy: Template['strategy'] = 'wal_log';
  await run(server, async (sql) => {
    const [place] = await sql<[{ folder: string }]>`select current_setting('data_directory') as folder`;
    if (isInMemory(place.folder)) strategy = 'file_copy';
    await sql`select pg_advisory_lock(hashtext('muster-template'))`;
    const found = await sql`select 1 from pg_database where datname = ${template}`;
    if (found.length > 0) return;
    // Made under another name: what was cut short is never taken for the template.
    const draft = `${template}_draft`;
    await sql`drop database if exists ${sql(draft)} with (force)`;
    await sql`create database ${sql(draft)}`;
    await migrateDatabase(urlOf(server, draft));
    await run(urlOf(server, draft), (own) => own.unsafe(MOVABLE_CLOCK + ONE_EVENT));
    // Closed to sessions, autovacuum's too: any would stand in the way of a clone.
    await sql`alter database ${sql(draft)} with allow_connections false`;
    await sql`alter database ${sql(draft)} rename to ${sql(template)}`;
  });
  return { template, strategy };
}

function migrationsHash(): string {
  const folder = packageFile('drizzle');
  const hash = createHash('sha256').update(MOVABLE_CLOCK + ONE_EVENT);
  for (const name of readdirSync(fileURLToPath(folder), { recursive: true, encoding: 'utf8' }).sort()) {
    if (/\.(sql|json)$/.test(name)) hash.update(name).update(readFileSync(new URL(`${folder}/${name}`)));
  }
  return hash.digest('hex').slice(0, 12);
}

async function run(url: string, work: (sql: postgres.Sql) => PromiseLike<unknown>): Promise<void> {
  const sql = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });
  try {
    await work(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

function urlOf(server: string, database: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}
