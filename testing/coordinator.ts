import { startCoordinator as start } from '@muster/server/coordinator';
import { parseConfig } from '@muster/server/platform/config';
import { type Client, createClient } from '@muster/shared/client';
import postgres, { type Sql } from 'postgres';
import { type TestClock, testClock, tickWithClock } from './clock.ts';
import { createDatabase, type PostgresMajor, testPostgres } from './postgres.ts';
import { scratchFolder } from './scratch.ts';
import { createUndo, type Undo } from './undo.ts';

export interface TestCoordinatorOptions {
  /** A database that is already there, to run two coordinators on one; made for this one, and dropped with it, unless said. */
  databaseUrl?: string;
  /** The Postgres release to make it on. */
  postgres?: PostgresMajor;
  /** What its clock shows at first; the time of now unless said. */
  now?: Date | string;
  /** Settings by their names in the environment, over those of a test. */
  env?: Record<string, string | undefined>;
  /** What is left to chance, in [0, 1). */
  random?: () => number;
}

/** A real coordinator in this process, on a database of its own with a clock that can be moved. */
export interface TestCoordinator {
  url: string;
  adminKey: string;
  /** Calls any endpoint of the contract with the admin key. */
  admin: Client;
  databaseUrl: string;
  /** For looking at rows, and for making ones that no endpoint can. */
  sql: Sql;
  clock: TestClock;
  /** Runs every loop once, after the tick in flight. */
  tick(): Promise<void>;
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a coordinator on a free port. Stop it, or say `await using`. */
export async function startCoordinator(options: TestCoordinatorOptions = {}): Promise<TestCoordinator> {
  const undo = createUndo();
  const stop = () => undo.all();
  try {
    const scratch = scratchFolder('coordinator');
    undo.push(() => scratch.remove());
    const databaseUrl = options.databaseUrl ?? (await ownDatabase(options.postgres, undo));
    const sql = postgres(databaseUrl, { max: 2, onnotice: () => {} });
    undo.push(() => sql.end({ timeout: 1 }));
    if (options.now !== undefined)
      await sql`update muster_clock set ahead = ${new Date(options.now)}::timestamptz - statement_timestamp()`;
    const config = parseConfig(environment(databaseUrl, scratch.path, options.env));
    const running = await start(config, options.random ? { random: options.random } : {});
    undo.push(() => running.stop());
    undo.push(tickWithClock(databaseUrl, () => running.tick()));
    // A network that has been steady for long: what a test's agent loses is taken back at once, not after a first lease time.
    await sql`update cluster set steady_since = (select muster_now()) - interval '1 hour'`;
    return {
      url: running.url,
      adminKey: running.adminKey,
      admin: createClient({ url: running.url, credential: running.adminKey }),
      databaseUrl,
      sql,
      clock: testClock(sql, databaseUrl),
      tick: () => running.tick(),
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
}

async function ownDatabase(major: PostgresMajor | undefined, undo: Undo): Promise<string> {
  const database = await createDatabase(await testPostgres(major));
  undo.push(database.drop);
  return database.url;
}

function environment(databaseUrl: string, dataDir: string, env: TestCoordinatorOptions['env']) {
  return {
    MUSTER_HOST: '127.0.0.1',
    MUSTER_PORT: '0',
    MUSTER_DATA_DIR: dataDir,
    MUSTER_LOG_LEVEL: 'warn',
    DATABASE_URL: databaseUrl,
    ...env,
  };
}
