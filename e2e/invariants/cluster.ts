import { setTimeout as pause } from 'node:timers/promises';
import { type Client, createClient } from '@muster/shared/client';
import { ProblemError } from '@muster/shared/errors';
import { type CoordinatorProcess, createSupervisor, startProxy, type TestProxy } from '@muster/testing';
import { auditRows } from '@muster/testing/auditor';
import { randomOf } from '@muster/testing/random';
import postgres, { type Sql } from 'postgres';
import { WHOLE } from '../proof/scale.ts';

/** Between two kills, at least, in milliseconds, and in times of what the last start took: a coordinator that starts takes of a small machine what the work is to be done with. */
const [CALM_MS, CALM_STARTS] = WHOLE ? [600, 1] : [1_500, 3];
/** How long a call is made again where nobody answers, in milliseconds: longer than a coordinator takes to come back. */
const PATIENCE_MS = 90_000;

/** Coordinators in processes of their own on one database, each behind a bad piece of network. */
export interface Cluster {
  /** A coordinator's address, for what is bought once. */
  url: string;
  adminKey: string;
  databaseUrl: string;
  sql: Sql;
  coordinators: readonly CoordinatorProcess[];
  /** A client whose every request goes to any of the coordinators. */
  client(credential: string | (() => string)): Client;
  /** Does the work while coordinators are killed one after another, replies are dropped after the commit and requests come twice; how many were killed. */
  harassed(work: () => Promise<unknown>): Promise<number>;
  /** Throws where rows contradict each other. */
  audit(): Promise<void>;
  stop(): Promise<void>;
}

export async function startCluster(count = 3): Promise<Cluster> {
  const supervisor = createSupervisor();
  const coordinators = await supervisor.coordinators(count);
  const [{ url: first, databaseUrl, adminKey }] = coordinators as [CoordinatorProcess];
  const proxies = await Promise.all(coordinators.map(({ url }) => startProxy(url)));
  const sql = postgres(databaseUrl!, { max: 2, onnotice: () => {} });
  const random = randomOf(20261120);
  const spread = (url: unknown, init?: RequestInit) =>
    fetch(String(url).replace(first, random.pick(proxies).url), init);
  return {
    url: first,
    adminKey,
    databaseUrl: databaseUrl!,
    sql,
    coordinators,
    client: (credential) => createClient({ url: first, credential, fetch: spread as typeof fetch }),
    async harassed(work) {
      let over = false;
      const harassment = harass(coordinators, proxies, () => over);
      try {
        await work();
      } finally {
        over = true;
        await harassment;
      }
      return harassment;
    },
    audit: () => auditRows(sql),
    async stop() {
      await sql.end({ timeout: 1 });
      await Promise.all(proxies.map((proxy) => proxy.stop()));
      await supervisor.stop();
    },
  };
}

/** At least one is killed; all are back at the end. */
async function harass(
  coordinators: readonly CoordinatorProcess[],
  proxies: readonly TestProxy[],
  over: () => boolean,
): Promise<number> {
  let kills = 0;
  do {
    for (const proxy of proxies) {
      proxy.dropReplies(3);
      proxy.duplicate(3);
    }
    await pause(200);
    const killedAt = performance.now();
    await coordinators[kills % coordinators.length]!.restart('SIGKILL');
    kills += 1;
    const calmMs = Math.max(CALM_MS, CALM_STARTS * (performance.now() - killedAt));
    for (const until = performance.now() + calmMs; performance.now() < until && !over(); ) await pause(50);
  } while (!over());
  await Promise.all(proxies.map((proxy) => proxy.restore()));
  return kills;
}

/** Makes a call until it is answered, be it by a refusal. */
export async function persist<T>(make: () => Promise<T>): Promise<T> {
  for (const until = performance.now() + PATIENCE_MS; ; ) {
    try {
      return await make();
    } catch (error) {
      const refused = error instanceof ProblemError && error.status < 500 && error.status !== 429;
      if (refused || performance.now() > until) throw error;
      await pause(20);
    }
  }
}
