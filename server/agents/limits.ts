import { ProblemError } from '@muster/shared/errors';
import { meets } from './capability.ts';
import { matchesPattern } from './name-pattern.ts';

/** What an agent was enrolled for; null: anything. */
export interface Limits {
  capabilities: readonly string[] | null;
  name_pattern: string | null;
  max_slots: number | null;
}

/** What an agent says of itself, or is to be. */
export interface Wish {
  capabilities?: readonly string[] | undefined;
  display_name?: string | undefined;
  slots?: number | undefined;
}

/** Refuses an agent that would be more than it was enrolled for. */
export function withinEnrolment({ capabilities, display_name, slots }: Wish, limits: Limits): void {
  const enrolled = limits.capabilities;
  const beyond = enrolled && capabilities?.find((has) => !enrolled.some((allowed) => meets(has, allowed)));
  if (beyond) throw refused(`capability ${beyond} is not in the enrolment, which has ${enrolled.join(', ')}`);
  if (limits.max_slots !== null && slots !== undefined && slots > limits.max_slots)
    throw refused(`${slots} slots are more than the ${limits.max_slots} of the enrolment`);
  const pattern = limits.name_pattern;
  if (pattern !== null && display_name !== undefined && !matchesPattern(display_name, pattern))
    throw refused(
      `the name ${JSON.stringify(display_name)} is not as the enrolment has it, ${JSON.stringify(pattern)}`,
    );
}

const refused = (detail: string) => new ProblemError('insufficient-scope', detail);
