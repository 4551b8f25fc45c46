import { z } from 'zod';
import { RUN, STANDING, states } from '../lifecycle.ts';
import { endpoint } from './endpoint.ts';
import { capability, id, nullableTimestamp, page, pageQuery, text, timestamp } from './fields.ts';

const agentParams = z.object({ agent_id: id('agent') });
const score = {
  trust_score: z.number().describe('0..1, 0.5 for a newcomer'),
  level: z
    .enum(['excellent', 'high', 'medium', 'low', 'very_low'])
    .describe('The score in a word: from 0.9, 0.7, 0.5, 0.3'),
  dependability: z.number().describe('How likely it finishes what it takes'),
  integrity: z.number().describe('How likely what it returns is right, as far as others could check'),
  confidence: z.number().describe('0..1: how much evidence there is'),
  standing: z.enum(states(STANDING)),
};

const trust = z.object({
  agent_id: id('agent'),
  trust_score: z.number(),
  level: score.level,
  confidence: z.number(),
  standing: score.standing,
  capabilities: z.array(
    z.object({
      capability: z.string(),
      ...score,
      completed: z.int(),
      failed: z.int(),
      timed_out: z.int(),
      lost: z.int(),
      last_evidence_at: nullableTimestamp,
    }),
  ),
});

export const getTrust = endpoint({
  method: 'GET',
  path: '/ains/agents/{agent_id}/trust',
  tag: 'Trust',
  summary: 'How far an agent is trusted, and in what',
  principals: ['key', 'agent'],
  scope: 'agents:read',
  ownership: 'path',
  params: agentParams,
  response: trust,
  problems: ['not-found'],
});
export const getTrustHistory = endpoint({
  method: 'GET',
  path: '/ains/agents/{agent_id}/trust/history',
  tag: 'Trust',
  summary: 'The evidence and what each piece did to the score, newest first',
  principals: ['key', 'agent'],
  scope: 'agents:read',
  ownership: 'path',
  params: agentParams,
  query: z.strictObject({ capability: capability.optional(), ...pageQuery }),
  response: page(
    z.object({
      run_id: id('run').nullable().describe("Null for an adjustment, which is nobody's run"),
      task_id: id('task').nullable(),
      capability: z.string(),
      outcome: z.enum([...states(RUN), 'ADJUSTED']),
      fault: z.string().nullable(),
      trust_score_before: z.number().nullable().describe('Null where too much of what came before has been deleted'),
      trust_score_after: z.number().nullable(),
      trust_delta: z.number().nullable(),
      reason: z.string(),
      at: timestamp,
    }),
  ),
  problems: ['not-found'],
});
export const adjustTrust = endpoint({
  method: 'POST',
  path: '/ains/agents/{agent_id}/trust/adjust',
  tag: 'Trust',
  summary: 'Move a score by hand: a piece of evidence, which fades like any other',
  principals: ['key'],
  scope: 'admin',
  ownership: 'path',
  audit: 'trust.adjust',
  params: agentParams,
  body: z.strictObject({
    capability,
    delta: z
      .number()
      .min(-1)
      .max(1)
      .refine((delta) => delta !== 0, { error: 'must move something' })
      .describe('By how much; a score is moved to between 0.01 and 0.99'),
    reason: text(500).min(1),
  }),
  response: trust,
  problems: ['not-found'],
});
const evidence = z.object({ dependable: z.number(), undependable: z.number(), trust_score: z.number() });
export const replayTrust = endpoint({
  method: 'POST',
  path: '/ains/agents/{agent_id}/trust/replay',
  tag: 'Trust',
  summary: 'Fold all evidence anew, and correct what differs from what is kept',
  principals: ['key'],
  scope: 'admin',
  ownership: 'path',
  audit: 'trust.replay',
  params: agentParams,
  query: z.strictObject({
    dry_run: z.enum(['true', 'false']).default('false').describe('Show the difference only'),
  }),
  response: z.object({
    agent_id: id('agent'),
    dry_run: z.boolean(),
    capabilities: z.array(
      z.object({
        capability: z.string(),
        kept: evidence,
        replayed: evidence.nullable().describe('Null where too much of the evidence has been deleted'),
        difference: z.number().nullable().describe('The greatest of what is kept'),
        corrected: z.boolean(),
      }),
    ),
  }),
  problems: ['not-found'],
});
export const getLeaderboard = endpoint({
  method: 'GET',
  path: '/ains/agents/leaderboard',
  tag: 'Trust',
  summary: 'The most trusted agents',
  principals: ['key'],
  scope: 'agents:read',
  ownership: 'list',
  query: z.strictObject({
    capability: capability.optional(),
    min_runs: z.coerce.number().int().min(0).default(0),
    limit: z.coerce.number().int().min(1).max(200).default(10),
  }),
  response: z.object({
    data: z.array(
      z.object({
        agent_id: id('agent'),
        display_name: z.string(),
        trust_score: z.number(),
        level: score.level,
        confidence: z.number(),
        completed: z.int(),
        failed: z.int(),
        timed_out: z.int(),
        lost: z.int(),
        success_rate: z.number().nullable(),
      }),
    ),
  }),
});
