import * as contract from '@muster/shared/contract/trust';
import { whileCurrent } from '../agents/current.ts';
import { type Route, route } from '../platform/endpoint.ts';
import { adjustTrust } from './adjust.ts';
import { getTrustHistory } from './history.ts';
import { getLeaderboard, getTrust } from './read.ts';
import { replayTrust } from './replay.ts';
import { sayOfAgent } from './word.ts';

export const trustRoutes: Route[] = [
  route(contract.getLeaderboard, getLeaderboard),
  route(
    contract.getTrust,
    whileCurrent((ctx, { params }) => getTrust(ctx, params.agent_id)),
  ),
  route(contract.getTrustHistory, whileCurrent(getTrustHistory)),
  route(contract.adjustTrust, adjustTrust),
  route(contract.quarantineAgent, (ctx, { params, body }) => sayOfAgent(ctx, 'quarantine', params.agent_id, body)),
  route(contract.releaseAgent, (ctx, { params, body }) => sayOfAgent(ctx, 'release', params.agent_id, body)),
  route(contract.banAgent, (ctx, { params, body }) => sayOfAgent(ctx, 'ban', params.agent_id, body)),
  route(contract.replayTrust, replayTrust),
];
