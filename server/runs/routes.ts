import * as contract from '@muster/shared/contract/runs';
import { type Route, route } from '../platform/endpoint.ts';
import { cleanupRuns } from './cleanup.ts';
import { deleteRun } from './delete.ts';
import { exportRuns, getRun, listRuns } from './read.ts';

export const runRoutes: Route[] = [
  route(contract.listRuns, listRuns),
  route(contract.exportRuns, exportRuns),
  route(contract.getRun, (ctx, { params }) => getRun(ctx, params.run_id)),
  route(contract.deleteRun, (ctx, { params }) => deleteRun(ctx, params.run_id)),
  route(contract.cleanupRuns, cleanupRuns),
];
