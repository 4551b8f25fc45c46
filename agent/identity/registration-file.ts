import { join } from 'node:path';
import { writePrivateFile } from './atomic-file.ts';
import { readIfThere } from './key-file.ts';

/** How an agent presents itself. */
export interface Announcement {
  display_name: string;
  capabilities: string[];
  slots: number;
  labels: Record<string, string>;
}

/** What the coordinator dictates; kept because a restart's token answer does not repeat it. */
export interface Terms {
  heartbeat_interval_ms: number;
  lease_ttl_ms: number;
  poll_wait_ms: number;
}

/** What is remembered of a registration, so that a restart is the same agent. */
export interface Registration {
  agent_id: string;
  /** The life that is known to the coordinator: the newest one whose proof it took. */
  boot_id?: string | undefined;
  terms: Terms;
  /** What the coordinator was last told, so that a restart tells only what changed. */
  announced: Announcement;
}

const pathOf = (keyDir: string) => join(keyDir, 'agent.json');

/** Who this agent was, if it ever registered. A damaged file counts as never. */
export async function loadRegistration(keyDir: string): Promise<Registration | undefined> {
  const text = await readIfThere(pathOf(keyDir));
  try {
    const registration = JSON.parse(text ?? '{}') as Partial<Registration>;
    const { agent_id, boot_id, terms, announced } = registration;
    return agent_id && terms && announced ? { agent_id, boot_id, terms, announced } : undefined;
  } catch {
    return undefined;
  }
}

export const saveRegistration = (keyDir: string, registration: Registration): Promise<void> =>
  writePrivateFile(pathOf(keyDir), `${JSON.stringify(registration, undefined, 2)}\n`);
