import type { Trust } from './model.ts';
import { DEFAULTS, type Parameters } from './parameters.ts';
import { integrity } from './score.ts';

/** What is asked of an agent before its work is looked at: an anchor is one that an admin vouches for. */
export type Known = Pick<Trust, 'right' | 'wrong' | 'streak' | 'standing'> & { anchor: boolean };

/** Whether an agent's agreement vouches for another's work. */
export const vouches = ({ anchor, standing }: Pick<Known, 'anchor' | 'standing'>): boolean =>
  anchor || standing === 'TRUSTED';

/** Whether an agent may be given work at all. */
export const mayWork = ({ standing }: Pick<Known, 'standing'>): boolean =>
  standing !== 'QUARANTINED' && standing !== 'BANNED';

/**
 * How likely a task that an agent claims is given to another, too. Always, until the agent is trusted; then less with each agreement
 * (adaptive replication, BOINC: 1 / streak), more with doubt, and never so little that waiting and then cheating pays.
 */
export function replicationProbability(agent: Known, p: Parameters = DEFAULTS): number {
  if (agent.anchor) return 0;
  if (agent.standing !== 'TRUSTED') return 1;
  return Math.min(1, Math.max(p.replicate_least, 1 / agent.streak, p.replicate_doubt * (1 - integrity(agent))));
}

/** How likely two who agree are judged by a third (Sarmenta 2001, spot-checking): what finds those who lie together. */
export const auditProbability = (p: Parameters = DEFAULTS): number => p.audit_share;

/** How likely a claim is answered with a task whose right answer is known. Each is issued once more, ever: gold that repeats is recognised. */
export const canaryProbability = ({ anchor }: Pick<Known, 'anchor'>, p: Parameters = DEFAULTS): number =>
  anchor ? 0 : p.canary_share;

/**
 * Whether a caught agent's unchecked results are looked at further back (Sarmenta 2001, backtracking), after `looked` of them, of
 * which the last `clean` were right.
 */
export const looksFurther = (looked: number, clean: number, p: Parameters = DEFAULTS): boolean =>
  looked < p.look_back && clean < p.look_back_clean;
