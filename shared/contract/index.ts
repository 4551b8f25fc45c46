import * as access from './access.ts';
import * as agents from './agents.ts';
import * as audit from './audit.ts';
import * as batches from './batches.ts';
import * as bulk from './bulk.ts';
import * as dispatch from './dispatch.ts';
import type { Endpoint } from './endpoint.ts';
import * as enrollment from './enrollment.ts';
import * as ops from './ops.ts';
import * as queue from './queue.ts';
import * as routing from './routing.ts';
import * as runs from './runs.ts';
import * as scheduleOperations from './schedule-operations.ts';
import * as schedules from './schedules.ts';
import * as tasks from './tasks.ts';
import * as trust from './trust.ts';

/** Every endpoint by slice and name. The modules also export schemas, so whoever walks them keeps only endpoints. */
const endpointsOf = (module: Record<string, unknown>): Record<string, Endpoint> =>
  Object.fromEntries(
    Object.entries(module).filter((entry): entry is [string, Endpoint] => {
      const value = entry[1] as Partial<Endpoint> | undefined;
      return typeof value?.path === 'string' && typeof value.method === 'string';
    }),
  );

/** All endpoints by their operation id, static paths before those with parameters. */
export const ENDPOINTS: Record<string, Endpoint> = Object.assign(
  {},
  ...[
    access,
    audit,
    enrollment,
    agents,
    trust,
    schedules,
    scheduleOperations,
    tasks,
    batches,
    bulk,
    queue,
    routing,
    runs,
    dispatch,
    ops,
  ].map((module) => endpointsOf(module)),
);

export {
  access,
  agents,
  audit,
  batches,
  bulk,
  dispatch,
  enrollment,
  ops,
  queue,
  routing,
  runs,
  scheduleOperations,
  schedules,
  tasks,
  trust,
};
