import * as contract from '@muster/shared/contract/trust';
import { whileCurrent } from '../agents/current.ts';
import { type Route, route } from '../platform/endpoint.ts';
import { adjustTrust } from './adjust.ts';
import { getLeaderboard, getTrust, getTrustHistory } from './read.ts';
import { replayTrust } from './replay.ts';

export const trustRoutes: Route[] = [
  route(contract.getLeaderboard, getLeaderboard),
  route(
    contract.getTrust,
    whileCurrent((ctx, { params }) => getTrust(ctx, params.agent_id)),
  ),
  route(contract.getTrustHistory, whileCurrent(getTrustHistory)),
  route(contract.adjustTrust, adjustTrust),
  route(contract.replayTrust, replayTrust),
];
