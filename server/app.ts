import { ENDPOINTS } from '@muster/shared/contract/index';
import { ProblemError } from '@muster/shared/errors';
import { fenceOf } from '@muster/shared/ids';
import { Hono } from 'hono';
import { accessRoutes } from './access/routes.ts';
import { ownerOfApiKey } from './access/store/api-keys.ts';
import { agentRoutes } from './agents/routes.ts';
import { ownerOfEnrollmentToken } from './agents/store/enrollment-tokens.ts';
import { ownerOfAgent } from './agents/store/read.ts';
import type { Heads } from './audit/heads.ts';
import { auditRoutes } from './audit/routes.ts';
import type { Dispatch } from './dispatch/dispatch.ts';
import { dispatchRoutes } from './dispatch/routes.ts';
import { docsPage } from './ops/docs.ts';
import { opsRoutes } from './ops/routes.ts';
import type { Sql } from './platform/database.ts';
import { bind, type Edge, type Env, type Route, requestIdOf } from './platform/endpoint.ts';
import { type Exchange, flat, problemAnswer, toResponse } from './platform/http-answer.ts';
import { Direct } from './platform/http-direct.ts';
import type { Handler } from './platform/http-drain.ts';
import { StaticFirstRouter } from './platform/http-router.ts';
import { openApiDocument } from './platform/openapi.ts';
import type { Owners } from './platform/ownership.ts';
import { docsHeaders } from './platform/security-headers.ts';
import { runRoutes } from './runs/routes.ts';
import { ownerOfRun } from './runs/store/read.ts';
import { scheduleRoutes } from './schedules/routes.ts';
import { ownerOfSchedule } from './schedules/store/schedules.ts';
import { taskRoutes } from './tasks/routes.ts';
import { ownerOfBatch } from './tasks/store/batches.ts';
import { ownerOfTask } from './tasks/store/read.ts';
import type { Submitter } from './tasks/submit.ts';
import { trustRoutes } from './trust/routes.ts';

export interface AppParts {
  edge: Edge;
  heads: Heads;
  dispatch: Dispatch;
  submitter: Submitter;
  draining: () => boolean;
}

/** All routes of the coordinator. */
export function createApp({ edge, heads, dispatch, submitter, draining }: AppParts): Handler {
  const app = new Hono<Env>({ router: new StaticFirstRouter() });
  const direct = new Direct();
  const routes = [
    ...accessRoutes,
    ...auditRoutes(dispatch.keys.seal, heads),
    ...agentRoutes(dispatch.keys),
    ...trustRoutes,
    ...taskRoutes(submitter),
    ...runRoutes,
    ...scheduleRoutes(dispatch.classes),
    ...dispatchRoutes(dispatch),
    ...opsRoutes(dispatch.keys, { draining, openApi: () => openApiDocument(ENDPOINTS) }),
  ];
  for (const route of routes.sort(staticFirst)) bind(app, direct, edge, route);
  for (const path of ['/docs', '/docs/:file'])
    app.get(path, (c) => {
      const page = docsPage(c.req.param('file'));
      const headers = { ...docsHeaders(edge.deps.config), 'content-type': page?.type ?? '' };
      return page ? new Response(page.body, { headers }) : c.notFound();
    });
  const { clock, log } = edge.deps;
  const refused = (error: unknown, { incoming }: Exchange, headers = edge.headers) => {
    const dated = ['date', clock.date(), ...flat(headers)];
    return toResponse(problemAnswer(error, requestIdOf(incoming), log, dated), incoming);
  };
  app.notFound(({ req, env }) => {
    const allow = methodsOf(req.path, routes);
    if (!allow) return refused(new ProblemError('not-found', `there is no ${req.path.slice(0, 200)}`), env);
    const detail = `${req.path.slice(0, 200)} takes ${allow}, not ${req.method}`;
    return refused(new ProblemError('method-not-allowed', detail), env, { ...edge.headers, allow });
  });
  app.onError((error, c) => refused(error, c.env));
  return { fetch: (request, env) => app.fetch(request, env), direct: direct.answer };
}

/** Whose a thing is, by the name of the path parameter that names it. */
export const ownersIn = (sql: Sql): Owners => ({
  agent_id: { thing: 'agent', ownerOf: (id) => ownerOfAgent(sql, id) },
  api_key_id: { thing: 'API key', ownerOf: (id) => ownerOfApiKey(sql, id) },
  batch_id: { thing: 'batch', ownerOf: (id) => ownerOfBatch(sql, id) },
  enrollment_token_id: { thing: 'enrolment token', ownerOf: (id) => ownerOfEnrollmentToken(sql, id) },
  run_id: { thing: 'run', ownerOf: (id) => ownerOfRun(sql, fenceOf(id)) },
  schedule_id: { thing: 'schedule', ownerOf: (id) => ownerOfSchedule(sql, id) },
  task_id: { thing: 'task', ownerOf: (id) => ownerOfTask(sql, id) },
});

/** `/agents/leaderboard` before `/agents/{agent_id}`: the longer the static beginning, the earlier. */
const staticFirst = (a: Route, b: Route) => depth(b.endpoint.path) - depth(a.endpoint.path);
const depth = (path: string) => (path.includes('{') ? path.indexOf('{') : 1_000);

/** The methods a path takes; empty where it is not there. */
const methodsOf = (path: string, routes: readonly Route[]): string =>
  [
    ...new Set(
      routes
        .filter(({ endpoint }) => new RegExp(`^${endpoint.path.replace(/\{\w+\}/g, '[^/]+')}$`).test(path))
        .map(({ endpoint }) => endpoint.method),
    ),
  ].join(', ');
