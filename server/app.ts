import { ENDPOINTS } from '@muster/shared/contract/index';
import { ProblemError } from '@muster/shared/errors';
import { Hono } from 'hono';
import { agentRoutes } from './agents/routes.ts';
import type { Dispatch } from './dispatch/dispatch.ts';
import { dispatchRoutes } from './dispatch/routes.ts';
import { docsPage } from './ops/docs.ts';
import { opsRoutes } from './ops/routes.ts';
import { bind, type Edge, problemResponse, type Route, requestIdOf } from './platform/endpoint.ts';
import { openApiDocument } from './platform/openapi.ts';
import { scheduleRoutes } from './schedules/routes.ts';
import { taskRoutes } from './tasks/routes.ts';
import type { Submitter } from './tasks/submit.ts';
import { trustRoutes } from './trust/routes.ts';

export interface AppParts {
  edge: Edge;
  dispatch: Dispatch;
  submitter: Submitter;
  draining: () => boolean;
}

/** All routes of the coordinator. */
export function createApp({ edge, dispatch, submitter, draining }: AppParts): Hono {
  const app = new Hono();
  const routes = [
    ...agentRoutes(dispatch.keys),
    ...trustRoutes,
    ...taskRoutes(submitter),
    ...scheduleRoutes,
    ...dispatchRoutes(dispatch),
    ...opsRoutes(dispatch.keys, { draining, openApi: () => openApiDocument(ENDPOINTS) }),
  ];
  for (const route of routes.sort(staticFirst)) bind(app, edge, route);
  app.get('/docs/:file?', (c) => {
    const page = docsPage(c.req.param('file'));
    return page ? new Response(page.body, { headers: { 'content-type': page.type } }) : c.notFound();
  });
  app.notFound((c) => refuse(c.req.path, c.req.method, requestIdOf(c), edge, routes));
  app.onError((error, c) => problemResponse(error, requestIdOf(c), edge.deps));
  return app;
}

/** `/agents/leaderboard` before `/agents/{agent_id}`: the longer the static beginning, the earlier. */
const staticFirst = (a: Route, b: Route) => depth(b.endpoint.path) - depth(a.endpoint.path);
const depth = (path: string) => (path.includes('{') ? path.indexOf('{') : 1_000);

/** A path that is not there, or one that does not take this method. */
function refuse(path: string, method: string, requestId: string, { deps }: Edge, routes: readonly Route[]): Response {
  const known = routes.filter(({ endpoint }) =>
    new RegExp(`^${endpoint.path.replace(/\{\w+\}/g, '[^/]+')}$`).test(path),
  );
  if (known.length === 0)
    return problemResponse(new ProblemError('not-found', `there is no ${path.slice(0, 200)}`), requestId, deps);
  const allow = [...new Set(known.map(({ endpoint }) => endpoint.method))].join(', ');
  return problemResponse(
    new ProblemError('method-not-allowed', `${path.slice(0, 200)} takes ${allow}, not ${method}`),
    requestId,
    deps,
    { allow },
  );
}
