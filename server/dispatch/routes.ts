import * as agents from '@muster/shared/contract/agents';
import * as contract from '@muster/shared/contract/dispatch';
import * as queue from '@muster/shared/contract/queue';
import * as routing from '@muster/shared/contract/routing';
import { type Route, route } from '../platform/endpoint.ts';
import { deleteLimit, listLimits, putLimit } from '../tasks/limit.ts';
import { pauseCapability, resumeCapability } from '../tasks/pause.ts';
import { deleteAgent, leave } from './depart.ts';
import type { Dispatch } from './dispatch.ts';
import { explainTask } from './explain.ts';
import { heartbeat } from './heartbeat.ts';
import { poll } from './poll.ts';
import { listStrategies, previewRouting } from './preview.ts';
import { getQueueStats } from './queue-stats.ts';
import { createAccessToken, registerAgent } from './register.ts';
import { rotateAgentKey } from './rotate-key.ts';
import { progressRun, resultOfRun, startRun } from './runs.ts';
import { getWorkload } from './workload.ts';

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
  route(queue.getQueueStats, getQueueStats),
  route(queue.getWorkload, (ctx, { params }) => getWorkload(ctx, dispatch.classes, params.agent_id)),
  route(queue.explainTask, (ctx, { params }) => explainTask(ctx, dispatch.classes, params.task_id)),
  route(routing.listStrategies, listStrategies),
  route(routing.previewRouting, (ctx, input) => previewRouting(ctx, dispatch, input)),
  route(queue.pauseCapability, (ctx, { params }) => pauseCapability(ctx, dispatch.classes, params.capability)),
  route(queue.resumeCapability, (ctx, { params }) => resumeCapability(ctx, dispatch.classes, params.capability)),
  route(queue.listLimits, listLimits),
  route(queue.putLimit, (ctx, input) => putLimit(ctx, dispatch.limits, input)),
  route(queue.deleteLimit, (ctx, input) => deleteLimit(ctx, dispatch.limits, input)),
  route(contract.reportResult, (ctx, input) => resultOfRun(ctx, dispatch, input)),
];
