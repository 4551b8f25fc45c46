import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { phase } from './load.ts';
import { PERSONAS, type PersonaInput, persona } from './persona.ts';

/** A fleet and its load, as a file says it. */
const profile = z.strictObject({
  agents: z.int().min(1).max(100_000).default(10),
  owners: z.int().min(1).max(10_000).default(1).describe('How many owners the agents have'),
  seed: z.int().default(1),
  personas: z
    .record(z.string().regex(/^[a-z][a-z0-9-]*$/), persona)
    .optional()
    .describe(`By name; these are known and may be changed: ${Object.keys(PERSONAS).join(', ')}`),
  task: z
    .record(z.string(), z.unknown())
    .default({})
    .describe('What its tasks say beside task_type: as the body of POST /aitp/tasks'),
  phases: z.array(phase).min(1).describe('How many tasks a second come, and for how long'),
  think_time_ms: z.number().min(0).max(3_600_000).default(0).describe('Each submit waits a random part of it'),
});
export type Profile = Omit<z.output<typeof profile>, 'personas'> & { personas: Record<string, PersonaInput> };

/** What is wrong with a profile, each fault with its place. */
export class ProfileError extends Error {}

/** Reads a profile from YAML (or JSON, which is YAML too). Throws a {@link ProfileError} that names every fault and its line. */
export function parseProfile(text: string): Profile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const [fault] = document.errors;
  if (fault) throw new ProfileError(fault.message);
  const said = document.toJS() ?? {};
  const parsed = profile.safeParse(said);
  // What a persona leaves open is for the one it changes to say.
  if (parsed.success) return { ...parsed.data, personas: said.personas ?? { honest: {} } };
  const faults = parsed.error.issues.map(({ path, message }) => {
    const node = document.getIn(path, true) as { range?: [number, number, number] } | undefined;
    const line = node?.range ? `line ${lines.linePos(node.range[0]).line}, ` : '';
    return `${line}${path.join('.') || 'the whole'}: ${message}`;
  });
  throw new ProfileError(faults.join('\n'));
}
