import * as batches from '@muster/shared/contract/batches';
import * as bulk from '@muster/shared/contract/bulk';
import * as queue from '@muster/shared/contract/queue';
import * as contract from '@muster/shared/contract/tasks';
import { type Route, route } from '../platform/endpoint.ts';
import { createBatch } from './batch.ts';
import { getBatch, listBatchResults } from './batch-read.ts';
import { cancelTasks, prioritiseTasks, retryTasks } from './bulk.ts';
import { cancelTask } from './cancel.ts';
import { createTask } from './create.ts';
import { listDeadLetters, retryDeadLetters } from './dead-letters.ts';
import { listQueueCapabilities } from './pause.ts';
import { prioritiseTask } from './priority.ts';
import { getTask, listTasks } from './read.ts';
import { retryTask } from './retry.ts';
import type { Submitter } from './submit.ts';

export const taskRoutes = (submitter: Submitter): Route[] => [
  route(contract.createTask, (ctx, input) => createTask(ctx, submitter, input)),
  route(contract.listTasks, listTasks),
  route(contract.getTask, (ctx, { params }) => getTask(ctx, params.task_id)),
  route(contract.cancelTask, cancelTask),
  route(contract.retryTask, (ctx, { params }) => retryTask(ctx, params.task_id)),
  route(batches.createBatch, (ctx, input) => createBatch(ctx, submitter, input)),
  route(batches.getBatch, (ctx, { params }) => getBatch(ctx, params.batch_id)),
  route(batches.listBatchResults, listBatchResults),
  route(bulk.cancelBatch, (ctx, { params, query, body }) => cancelTasks(ctx, { query, body: { ...params, ...body } })),
  route(bulk.cancelTasks, cancelTasks),
  route(bulk.retryTasks, retryTasks),
  route(bulk.prioritiseTasks, prioritiseTasks),
  route(queue.prioritiseTask, prioritiseTask),
  route(queue.listQueueCapabilities, listQueueCapabilities),
  route(queue.listDeadLetters, listDeadLetters),
  route(queue.retryDeadLetters, retryDeadLetters),
];
