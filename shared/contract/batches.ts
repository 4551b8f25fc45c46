import { z } from 'zod';
import { states, TASK } from '../lifecycle.ts';
import { endpoint } from './endpoint.ts';
import { id, json, page, pageQuery, text, timestamp } from './fields.ts';
import { newTask } from './tasks.ts';

const count = z.int().min(0);
const status = z.enum(states(TASK));
const ref = text(64).min(1);

/** A task of a batch: all that a task may say, and a name that others of the batch may call it by. */
export const batchTask = newTask.extend({
  ref: ref.optional().describe('What others of this batch call it'),
  depends_on_refs: z
    .array(ref)
    .max(100)
    .optional()
    .describe('As depends_on: tasks of this batch by their `ref`, wherever in it they are'),
});
export type BatchTask = z.output<typeof batchTask>;

/** One of them as it comes: each is judged by itself, for one that is wrong need not spoil the others. */
const { $schema: _, ...shape } = z.toJSONSchema(batchTask, { io: 'input', unrepresentable: 'any' });
const anyTask = z.custom<z.input<typeof batchTask>>(() => true).meta(shape);

const batchParams = z.object({ batch_id: id('batch') });
const batches = { tag: 'Batches', principals: ['key'] } as const;

export const createBatch = endpoint({
  ...batches,
  method: 'POST',
  path: '/aitp/tasks/batch',
  summary: 'Submit many tasks at once: all of them or, where it is not `atomic`, those that can be',
  scope: 'tasks:write',
  ownership: 'new',
  idempotent: true,
  status: 201,
  // A thousand tasks of four kilobytes: taken apart in about as long as any other request may be held up for.
  bodyBytes: 4_194_304,
  body: z.strictObject({
    tasks: z.array(anyTask).min(1).max(1_000),
    atomic: z.boolean().default(true).describe('One that is refused refuses all'),
  }),
  response: z.object({
    batch_id: id('batch'),
    atomic: z.boolean(),
    created: count,
    refused: count,
    results: z
      .array(
        z.object({
          index: count,
          task_id: id('task').optional(),
          status: status.optional(),
          problem: z
            .object({
              code: z.string(),
              detail: z.string(),
              errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).optional(),
            })
            .optional(),
        }),
      )
      .describe('In the order of `tasks`'),
  }),
  problems: ['conflict', 'idempotency-mismatch'],
});

export const getBatch = endpoint({
  ...batches,
  method: 'GET',
  path: '/aitp/tasks/batch/{batch_id}',
  summary: 'How far a batch is',
  scope: 'tasks:read',
  ownership: 'path',
  params: batchParams,
  response: z.object({
    batch_id: id('batch'),
    owner: z.string(),
    atomic: z.boolean(),
    created: count,
    refused: count,
    by_status: z.partialRecord(status, count).describe('Of its tasks that are still kept'),
    done: z.boolean().describe('All of them have ended'),
    created_at: timestamp,
  }),
  problems: ['not-found'],
});

export const listBatchResults = endpoint({
  ...batches,
  method: 'GET',
  path: '/aitp/tasks/batch/{batch_id}/results',
  summary: 'What became of the tasks of a batch, in their order',
  scope: 'tasks:read',
  ownership: 'path',
  params: batchParams,
  query: z.strictObject({ ...pageQuery }),
  response: page(
    z.object({
      index: count,
      task_id: id('task'),
      status,
      result_data: json.nullable(),
      error: json.nullable(),
      finality: z.enum(['provisional', 'verified']).nullable(),
      result_version: count,
    }),
  ),
  problems: ['not-found'],
});
