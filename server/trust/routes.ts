import * as contract from '@muster/shared/contract/trust';
import { whileCurrent } from '../agents/current.ts';
import { type Route, route } from '../platform/endpoint.ts';
import { getLeaderboard, getTrust, getTrustHistory } from './read.ts';

export const trustRoutes: Route[] = [
  route(contract.getLeaderboard, getLeaderboard),
  route(
    contract.getTrust,
    whileCurrent((ctx, { params }) => getTrust(ctx, params.agent_id)),
  ),
  route(contract.getTrustHistory, whileCurrent(getTrustHistory)),
];
