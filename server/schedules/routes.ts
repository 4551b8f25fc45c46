import * as operations from '@muster/shared/contract/schedule-operations';
import * as contract from '@muster/shared/contract/schedules';
import { type Route, route } from '../platform/endpoint.ts';
import type { Classes } from '../tasks/classes.ts';
import { backfillSchedule, triggerSchedule } from './asked.ts';
import { pauseSchedules, resumeSchedules } from './bulk.ts';
import { listCalendar } from './calendar.ts';
import { createSchedule, validateSchedule } from './create.ts';
import { exportSchedules, importSchedules } from './file.ts';
import { deleteSchedule, pauseSchedule, resumeSchedule } from './move.ts';
import { previewSchedule } from './preview.ts';
import { getSchedule, listExecutions, listSchedules } from './read.ts';
import { updateSchedule } from './update.ts';

export const scheduleRoutes = (classes: Classes): Route[] => [
  route(contract.createSchedule, createSchedule),
  route(contract.validateSchedule, validateSchedule),
  route(contract.listSchedules, listSchedules),
  route(contract.getSchedule, (ctx, { params }) => getSchedule(ctx, params.schedule_id)),
  route(contract.deleteSchedule, (ctx, { params }) => deleteSchedule(ctx, params.schedule_id)),
  route(contract.pauseSchedule, pauseSchedule),
  route(contract.resumeSchedule, (ctx, { params }) => resumeSchedule(ctx, params.schedule_id)),
  route(contract.listExecutions, listExecutions),
  route(operations.updateSchedule, updateSchedule),
  route(operations.triggerSchedule, (ctx, input) => triggerSchedule(ctx, classes, input)),
  route(operations.backfillSchedule, (ctx, input) => backfillSchedule(ctx, classes, input)),
  route(operations.previewSchedule, previewSchedule),
  route(operations.listCalendar, listCalendar),
  route(operations.pauseSchedules, pauseSchedules),
  route(operations.resumeSchedules, resumeSchedules),
  route(operations.exportSchedules, exportSchedules),
  route(operations.importSchedules, importSchedules),
];
