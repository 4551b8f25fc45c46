import * as agents from '@muster/shared/contract/agents';
import * as contract from '@muster/shared/contract/dispatch';
import { type Route, route } from '../platform/endpoint.ts';
import { deleteAgent, leave } from './depart.ts';
import type { Dispatch } from './dispatch.ts';
import { heartbeat } from './heartbeat.ts';
import { poll } from './poll.ts';
import { createAccessToken, registerAgent } from './register.ts';
import { rotateAgentKey } from './rotate-key.ts';
import { progressRun, resultOfRun, startRun } from './runs.ts';

export const dispatchRoutes = (dispatch: Dispatch): Route[] => [
  route(agents.registerAgent, (ctx, input) =>
    dispatch.door.fromOutside(ctx.address, () => registerAgent(ctx, dispatch, input)),
  ),
  route(agents.createAccessToken, (ctx, input) => dispatch.door.inTurn(() => createAccessToken(ctx, dispatch, input))),
  route(agents.rotateAgentKey, (ctx, input) => dispatch.door.inTurn(() => rotateAgentKey(ctx, dispatch, input))),
  route(agents.deleteAgent, (ctx, { params }) => deleteAgent(ctx, params.agent_id)),
  route(contract.heartbeat, (ctx, input) => heartbeat(ctx, dispatch, input)),
  route(contract.poll, (ctx, input) => poll(ctx, dispatch, input)),
  route(contract.leave, leave),
  route(contract.startRun, (ctx, input) => startRun(ctx, dispatch, input)),
  route(contract.progressRun, (ctx, input) => progressRun(ctx, dispatch, input)),
  route(contract.reportResult, (ctx, input) => resultOfRun(ctx, dispatch, input)),
];
