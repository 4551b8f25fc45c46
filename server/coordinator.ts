import { newId } from '@muster/shared/ids';
import { type AdminKey, adminAuthenticator, loadAdminKey } from './access/admin-key.ts';
import { createApiKeyAuth } from './access/api-key-auth.ts';
import { openSigningKeys } from './access/signing-keys.ts';
import { agentAuthenticator } from './agents/access-token.ts';
import { createProofs } from './agents/dpop.ts';
import { createRevocations } from './agents/revocations.ts';
import { createApp, ownersIn } from './app.ts';
import { openHeads } from './audit/heads.ts';
import { createDispatch } from './dispatch/dispatch.ts';
import { loopsOf } from './loops.ts';
import { leaveCluster } from './ops/store.ts';
import { createAdmission } from './platform/admission.ts';
import { createClock } from './platform/clock.ts';
import type { Config } from './platform/config.ts';
import type { Deps } from './platform/ctx.ts';
import { checkServer, migrateDatabase, openDatabase } from './platform/database.ts';
import { withDeadline } from './platform/deadline.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from './platform/embedded-postgres/start.ts';
import type { Edge } from './platform/endpoint.ts';
import { countFlights, drainServer, watchSilent } from './platform/http-drain.ts';
import { listen, urlOf } from './platform/http-server.ts';
import { createLog, type Log } from './platform/log.ts';
import { createNotifier } from './platform/notify.ts';
import { createRateLimit } from './platform/rate-limit.ts';
import { securityHeaders } from './platform/security-headers.ts';
import { ensureOutcomeReader } from './schedules/store/outcomes.ts';
import { createClasses } from './tasks/classes.ts';
import { createLimits } from './tasks/limits.ts';
import { createSubmitter } from './tasks/submit.ts';
import type { Random } from './trust/draw.ts';
import { createVerification } from './verification/verifier.ts';

/** A running coordinator. */
export interface Coordinator {
  url: string;
  adminKey: AdminKey['key'];
  /** Where the admin key was put, when it was made at this start. */
  adminKeyMade: string | undefined;
  /** Runs every loop once, the clock's first. */
  tick(): Promise<void>;
  /** Takes no new requests, answers those it has, then closes everything it opened. */
  stop(): Promise<void>;
}

/** How long requests in flight are waited for at a stop, in milliseconds. */
const DRAIN_MS = 10_000;
/** How long a stop waits to be known as gone, in milliseconds: it would be forgotten anyway. */
const LEAVE_MS = 2_000;

/** Starts a coordinator: database, tables, keys, loops, HTTP. Whatever was opened before something failed is closed again. */
export async function startCoordinator(
  config: Config,
  {
    log = createLog(config.logLevel),
    postgres,
    random = Math.random,
  }: { log?: Log; postgres?: Promise<EmbeddedPostgres>; random?: Random } = {},
): Promise<Coordinator> {
  const opened: (() => Promise<unknown>)[] = [];
  const close = async () => {
    for (const undo of opened.splice(0).reverse())
      await undo().catch((error) => log.error({ err: error }, 'could not close'));
  };
  try {
    const databaseUrl = await findDatabase(config, log, opened, postgres);
    return await open({ config, databaseUrl, log, random }, opened, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function open(
  { config, databaseUrl, log, random }: { config: Config; databaseUrl: string; log: Log; random: Random },
  opened: (() => Promise<unknown>)[],
  close: () => Promise<void>,
): Promise<Coordinator> {
  await migrateDatabase(databaseUrl);
  const db = openDatabase(databaseUrl);
  opened.push(() => db.close());
  // By the pool that gives up first: the coordinator's beat waits for it.
  const clock = createClock(db.hot);
  await clock.sync();
  const coordinatorId = newId('coord');
  const notifier = createNotifier(db, coordinatorId, log);
  await notifier.start();
  opened.push(() => notifier.stop());

  const deps: Deps = { coordinatorId, config, db, log, clock, notifier };
  const admin = loadAdminKey(config);
  const keys = await openSigningKeys(db.admin, config, clock);
  const classes = createClasses(db.admin, config.maxClasses);
  const limits = createLimits(db.admin);
  await Promise.all([classes.refresh(), limits.refresh(), ensureOutcomeReader(db.admin)]);
  let url = '';
  const proofs = createProofs(deps, () => url);
  const verification = createVerification(deps, classes, limits, random);
  const dispatch = createDispatch(deps, { classes, limits, random, verifier: verification }, keys, proofs);
  const submitter = createSubmitter(deps, classes, dispatch.handOff);

  let draining = false;
  const apiKeys = createApiKeyAuth(deps);
  const revocations = createRevocations(deps);
  await revocations.refresh();
  const heads = openHeads(config.dataDir);
  const edge: Edge = {
    deps,
    authenticators: [
      adminAuthenticator(admin.key),
      apiKeys.authenticator,
      agentAuthenticator({ keys, clock, config, revocations, proofs }),
    ],
    owners: ownersIn(db.admin),
    requests: createRateLimit('requests with this key'),
    admission: createAdmission(),
    headers: securityHeaders(config),
  };
  const loops = loopsOf(deps, { dispatch, verification, apiKeys, revocations, heads, url: () => url });
  const tick = async () => {
    for (const loop of loops) await loop.tick();
  };
  // Before the first request: whether there was a gap, and what became due meanwhile.
  await loops[0]?.tick();
  opened.push(() => withDeadline(leaveCluster(db.loops, coordinatorId), LEAVE_MS));
  const flights = countFlights(createApp({ edge, heads, dispatch, submitter, draining: () => draining }));
  const server = await listen(config, flights, log);
  const silent = watchSilent(server);
  url = urlOf(config, server);
  for (const loop of loops) loop.start();
  opened.push(() => withDeadline(apiKeys.loop.tick(), LEAVE_MS));
  opened.push(() => Promise.all(loops.map((loop) => loop.stop())));
  opened.push(() => {
    draining = true;
    dispatch.parking.close();
    return drainServer(server, { flights, silent }, DRAIN_MS);
  });
  return { url, adminKey: admin.key, adminKeyMade: admin.made ? admin.path : undefined, tick, stop: close };
}

async function findDatabase(
  config: Config,
  log: Log,
  opened: (() => Promise<unknown>)[],
  starting: Promise<EmbeddedPostgres> | undefined,
): Promise<string> {
  if (config.databaseUrl) {
    await checkServer(config.databaseUrl);
    return config.databaseUrl;
  }
  const postgres = await (starting ?? startEmbeddedPostgres({ dataDir: config.dataDir }));
  opened.push(() => postgres.stop());
  log.info({ pid: postgres.pid, adopted: postgres.adopted }, 'embedded Postgres runs');
  return postgres.url;
}
