import * as contract from '@muster/shared/contract/schedules';
import { type Route, route } from '../platform/endpoint.ts';
import { createSchedule, validateSchedule } from './create.ts';
import { deleteSchedule, pauseSchedule, resumeSchedule } from './move.ts';
import { getSchedule, listExecutions, listSchedules } from './read.ts';

export const scheduleRoutes: Route[] = [
  route(contract.createSchedule, createSchedule),
  route(contract.validateSchedule, validateSchedule),
  route(contract.listSchedules, listSchedules),
  route(contract.getSchedule, (ctx, { params }) => getSchedule(ctx, params.schedule_id)),
  route(contract.deleteSchedule, (ctx, { params }) => deleteSchedule(ctx, params.schedule_id)),
  route(contract.pauseSchedule, pauseSchedule),
  route(contract.resumeSchedule, (ctx, { params }) => resumeSchedule(ctx, params.schedule_id)),
  route(contract.listExecutions, listExecutions),
];
