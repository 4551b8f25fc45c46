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
  standing_reason: z.string().nullable().describe('What put it in quarantine or had it banned, while it is'),
  quarantined_until: nullableTimestamp.describe('When it comes back by itself'),
};

/** How a word moved a standing. */
const MOVES = ['PROMOTED', 'REFUTED', 'QUARANTINED', 'BANNED', 'RELEASED', 'BACK'] as const;

const trust = z.object({
  agent_id: id('agent'),
  trust_score: z.number(),
  level: score.level,
  confidence: z.number(),
  standing: score.standing.describe('The worst it has in anything that others looked at'),
  standing_reason: score.standing_reason,
  quarantined_until: score.quarantined_until,
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
      run_id: id('run').nullable().describe("Null for an admin's word and for time's, which are nobody's run"),
      task_id: id('task').nullable(),
      capability: z.string().describe('`*` where an admin spoke of all'),
      outcome: z
        .enum([...states(RUN), 'ADJUSTED', 'RIGHT', 'WRONG', 'COLLUDED', ...MOVES])
        .describe('How a run ended; RIGHT, WRONG or COLLUDED what others found of it; else what an admin or time said'),
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
  summary: 'Move a score or a standing by hand: a piece of evidence, which a score lets fade like any other',
  principals: ['key'],
  scope: 'admin',
  ownership: 'path',
  audit: 'trust.adjust',
  params: agentParams,
  body: z
    .strictObject({
      capability,
      delta: z
        .number()
        .min(-1)
        .max(1)
        .refine((delta) => delta !== 0, { error: 'must move something' })
        .optional()
        .describe('By how much the score moves; it is moved to between 0.01 and 0.99'),
      standing: z
        .enum(['TRUSTED', 'PROBATION', 'QUARANTINED', 'BANNED'])
        .optional()
        .describe('Where it stands from now on, as the lifecycle allows'),
      reason: text(500).min(1),
    })
    .refine(({ delta, standing }) => (delta === undefined) !== (standing === undefined), {
      path: ['delta'],
      error: 'exactly one of delta and standing must be given',
    })
    .meta({ oneOf: ['delta', 'standing'].map((name) => ({ required: [name] })) }),
  response: trust,
  problems: ['not-found', 'conflict'],
});
const standingVerb = <const V extends 'quarantine' | 'release' | 'ban'>(verb: V, summary: string) =>
  endpoint({
    method: 'POST',
    path: `/ains/agents/{agent_id}/${verb}` as const,
    tag: 'Trust',
    summary,
    principals: ['key'],
    scope: 'admin',
    ownership: 'path',
    audit: `agent.${verb}` as const,
    params: agentParams,
    body: z.strictObject({
      capability: capability.optional().describe('All it can do, now and later, unless said'),
      reason: text(500).min(1),
    }),
    response: trust,
    problems: ['not-found', 'conflict'],
  });
export const quarantineAgent = standingVerb(
  'quarantine',
  'Take the work from an agent for a day, the second time for two, the third for good',
);
export const releaseAgent = standingVerb(
  'release',
  'End a quarantine or a ban: the agent is on probation; without a capability all of them end',
);
export const banAgent = standingVerb('ban', 'Give an agent no work any more, until it is released');
const evidence = z.object({ dependable: z.number(), undependable: z.number(), trust_score: z.number() });
const checked = z.object({
  right: z.number(),
  wrong: z.number(),
  streak: z.number(),
  faults: z.number(),
  standing: score.standing,
  quarantines: z.int(),
  quarantined_until: nullableTimestamp,
});
const replayOf = <S extends z.ZodType>(kept: S) => ({
  kept,
  replayed: kept.nullable().describe('Null where too much of the evidence has been deleted'),
  difference: z.number().nullable().describe('The greatest of what is counted'),
  corrected: z.boolean(),
});
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
        ...replayOf(evidence),
        integrity: z.object(replayOf(checked)).nullable().describe('Null where nobody ever looked'),
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
        standing: score.standing,
        completed: z.int(),
        failed: z.int(),
        timed_out: z.int(),
        lost: z.int(),
        success_rate: z.number().nullable(),
      }),
    ),
  }),
});
