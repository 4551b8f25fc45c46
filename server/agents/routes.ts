import * as contract from '@muster/shared/contract/agents';
import * as enrollment from '@muster/shared/contract/enrollment';
import type { SigningKeys } from '../access/signing-keys.ts';
import { type Route, route } from '../platform/endpoint.ts';
import { changeMode, getCapabilities, putCapabilities, updateAgent } from './change.ts';
import { whileCurrent } from './current.ts';
import {
  createEnrollmentToken,
  getEnrollmentToken,
  listEnrollmentTokens,
  revokeEnrollmentToken,
} from './enrollment.ts';
import { getAgent, listAgents, searchAgents } from './read.ts';

export const agentRoutes = (keys: SigningKeys): Route[] => [
  route(enrollment.createEnrollmentToken, (ctx, input) => createEnrollmentToken(ctx, keys, input)),
  route(enrollment.listEnrollmentTokens, listEnrollmentTokens),
  route(enrollment.getEnrollmentToken, (ctx, { params }) => getEnrollmentToken(ctx, params.enrollment_token_id)),
  route(enrollment.revokeEnrollmentToken, (ctx, { params }) => revokeEnrollmentToken(ctx, params.enrollment_token_id)),
  route(contract.listAgents, listAgents),
  route(contract.searchAgents, searchAgents),
  route(
    contract.getAgent,
    whileCurrent((ctx, { params }) => getAgent(ctx, params.agent_id)),
  ),
  route(contract.updateAgent, whileCurrent(updateAgent)),
  route(contract.cordonAgent, (ctx, { params }) => changeMode(ctx, params.agent_id, 'cordon')),
  route(contract.uncordonAgent, (ctx, { params }) => changeMode(ctx, params.agent_id, 'uncordon')),
  route(contract.drainAgent, (ctx, { params }) => changeMode(ctx, params.agent_id, 'drain')),
  route(
    contract.getCapabilities,
    whileCurrent((ctx, { params }) => getCapabilities(ctx, params.agent_id)),
  ),
  route(contract.putCapabilities, whileCurrent(putCapabilities)),
];
