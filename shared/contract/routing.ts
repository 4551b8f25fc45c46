import { z } from 'zod';
import { endpoint } from './endpoint.ts';
import { id, owner } from './fields.ts';
import { ROUTINGS, taskSettings } from './tasks.ts';

export const listStrategies = endpoint({
  method: 'GET',
  path: '/aitp/routing/strategies',
  tag: 'Routing',
  summary: 'The ways to decide who of several agents that wait is given a task',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'none',
  response: z.object({
    data: z.array(
      z.object({
        name: z.enum(ROUTINGS).describe('What `routing` of a task says'),
        description: z.string(),
        default: z.boolean(),
      }),
    ),
  }),
});

const { task_type, capability_required, labels_required, labels_preferred, slot_cost } = taskSettings;
const { min_trust, min_integrity, routing, verification } = taskSettings;
export const previewRouting = endpoint({
  method: 'POST',
  path: '/aitp/routing/preview',
  tag: 'Routing',
  summary:
    'Who would be given a task that is submitted now, and why not the others. It changes nothing: nobody loses a turn, and what is drawn is drawn anew for the task itself',
  principals: ['key'],
  scope: 'tasks:read',
  ownership: 'list',
  body: z.strictObject({
    ...{ task_type, capability_required, labels_required, labels_preferred, slot_cost },
    ...{ min_trust, min_integrity, routing, verification },
    owner: owner.optional().describe('Whose task it would be; an admin may say others than itself'),
  }),
  response: z.object({
    owner: z.string(),
    capability_required: z.string(),
    routing: z.enum(ROUTINGS),
    agent_id: z.string().nullable().describe('Who would be given it; null where it would wait for an agent to ask'),
    reason: z.string(),
    paused: z.boolean(),
    candidates: z
      .array(
        z.object({
          agent_id: id('agent'),
          able: z.boolean(),
          waits: z.boolean().describe('A poll of it waits at this coordinator: who waits is given tasks before others'),
          reason: z.string().describe('Why it would be given the task, or the first reason why not'),
          slots_free: z.int().min(0).nullable(),
          trust_score: z.number().nullable().describe('What `min_trust` compares'),
          integrity_at_least: z.number().nullable().describe('What `min_integrity` compares'),
          score: z
            .number()
            .nullable()
            .describe(
              'What the strategy compares: the draw, the greatest first; the part of its slots in use, the number of its last turn (0: none) or milliseconds, the least first (null: it completed none). None of who may not have the task',
            ),
        }),
      )
      .describe(
        'Agents that serve the owner, in the order they would be given the task; at most 200. Figures are of agents the caller may see: its own, or all to an admin',
      ),
  }),
});
