// Our side of `bench/edge.mjs`: everything a request passes in the coordinator except the verb, which answers at once.
// Started by it with IPC; says where it listens and two credentials, and its CPU time when asked.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { adminAuthenticator } from '@muster/server/access/admin-key';
import { createApiKeyAuth, hashOf } from '@muster/server/access/api-key-auth';
import { makeKey } from '@muster/server/access/key-format';
import { openSigningKeys } from '@muster/server/access/signing-keys';
import { insertApiKey } from '@muster/server/access/store/api-keys';
import { agentAuthenticator } from '@muster/server/agents/access-token';
import { createProofs } from '@muster/server/agents/dpop';
import { createRevocations } from '@muster/server/agents/revocations';
import { grantSession } from '@muster/server/agents/session';
import { createAdmission } from '@muster/server/platform/admission';
import { createClock } from '@muster/server/platform/clock';
import { parseConfig } from '@muster/server/platform/config';
import { migrateDatabase, openDatabase } from '@muster/server/platform/database';
import { startEmbeddedPostgres } from '@muster/server/platform/embedded-postgres/start';
import { bind, route } from '@muster/server/platform/endpoint';
import { Direct } from '@muster/server/platform/http-direct';
import { countFlights } from '@muster/server/platform/http-drain';
import { StaticFirstRouter } from '@muster/server/platform/http-router';
import { listen } from '@muster/server/platform/http-server';
import { createLog } from '@muster/server/platform/log';
import { createNotifier } from '@muster/server/platform/notify';
import { createRateLimit } from '@muster/server/platform/rate-limit';
import { securityHeaders } from '@muster/server/platform/security-headers';
import { ENDPOINTS } from '@muster/shared/contract/index';
import { createTask } from '@muster/shared/contract/tasks';
import { newId } from '@muster/shared/ids';
import { Hono } from 'hono';

const dataDir = mkdtempSync(join(tmpdir(), 'muster-bench-'));
const postgres = await startEmbeddedPostgres({ dataDir });
await migrateDatabase(postgres.url);
const config = parseConfig({ MUSTER_DATA_DIR: dataDir, MUSTER_PORT: '0', MUSTER_LOG_LEVEL: 'error' });
const log = createLog(config.logLevel);
const db = openDatabase(postgres.url);
const clock = createClock(db.hot);
await clock.sync();
const coordinatorId = newId('coord');
const deps = { coordinatorId, config, db, log, clock, notifier: createNotifier(db, coordinatorId, log) };

/** An API key that may make so many requests that they are counted but never too many. */
async function apiKey() {
  const api_key_id = newId('key');
  const key = makeKey(api_key_id.slice('key_'.length));
  const scopes = ['tasks:read', 'tasks:write'];
  const row = { api_key_id, name: 'bench', owner: 'bench', scopes, requests_per_minute: 1_000_000_000 };
  await insertApiKey(db.admin, { ...row, allowed_addresses: null, secret_hash: hashOf(key), expires_at: null });
  return key;
}

const keys = await openSigningKeys(db.admin, config, clock);
const revocations = createRevocations(deps);
await revocations.refresh();
const proofs = createProofs(deps, () => '');
const edge = {
  deps,
  authenticators: [
    adminAuthenticator(makeKey('admin')),
    createApiKeyAuth(deps).authenticator,
    agentAuthenticator({ keys, clock, revocations, proofs, config }),
  ],
  owners: {},
  requests: createRateLimit('requests with this key'),
  admission: createAdmission(),
  headers: securityHeaders(config),
};
const app = new Hono({ router: new StaticFirstRouter() });
const direct = new Direct();
const answer = async (_, { body }) => ({ ok: true, n: body.priority });
const measured = { ...createTask, path: '/bench', principals: ['key', 'agent'], status: 200 };
// Beside all the others, for what finding it among them takes.
for (const endpoint of [...Object.values(ENDPOINTS), measured]) bind(app, direct, edge, route(endpoint, answer));

const flights = countFlights({ fetch: (request, env) => app.fetch(request, env), direct: direct.answer });
const server = await listen(config, flights, log);
const holder = { agent_id: newId('agent'), boot_id: newId('boot'), token_epoch: 0, jkt: undefined };
const { access_token: token } = await grantSession(keys, clock, holder);
process.send({ port: server.address().port, key: await apiKey(), token });
process.on('message', () => process.send({ cpu: process.cpuUsage() }));
process.on('disconnect', async () => {
  await db.close();
  await postgres.stop();
  rmSync(dataDir, { recursive: true, force: true });
  process.exit();
});
