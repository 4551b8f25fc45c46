import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { AgentOptions } from '../options.ts';

/** What the sample agent was told. */
export interface SampleConfig {
  agent: AgentOptions;
  logFormat: 'text' | 'json';
  exitWithParent: boolean;
}

/** A flag or variable whose value cannot be. Its message is for whoever typed it. */
export class ConfigError extends Error {}

const FLAGS = {
  url: { type: 'string' },
  'enrollment-token': { type: 'string' },
  name: { type: 'string' },
  slots: { type: 'string' },
  'key-dir': { type: 'string' },
  capabilities: { type: 'string' },
  'proof-of-possession': { type: 'boolean' },
  ca: { type: 'string' },
  'enable-script': { type: 'boolean' },
  'enable-http': { type: 'boolean' },
  'allow-private-http': { type: 'boolean' },
  'log-format': { type: 'string' },
  'exit-with-parent': { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

export const USAGE = `muster-agent: runs tasks for a Muster coordinator

  --url URL                  the coordinator            MUSTER_URL               http://127.0.0.1:8000
  --enrollment-token TOKEN   needed to register once    MUSTER_ENROLLMENT_TOKEN
  --name NAME                how it is shown            MUSTER_AGENT_NAME        host name and process id
  --slots N                  runs at a time, 1..10000   MUSTER_AGENT_SLOTS       4
  --key-dir FOLDER           key and registration       MUSTER_AGENT_KEY_DIR     .muster/agent
  --capabilities A,B:v1      what it offers                                      all it has handlers for
  --proof-of-possession      prove with every request that it has its key: MUSTER_AGENT_PROOF_OF_POSSESSION=true
  --ca FILE                  PEM of the authority to trust
  --enable-script            run tasks of type script on this machine
  --enable-http              make requests for tasks of type http
  --allow-private-http       ... also to private addresses
  --log-format text|json                                                         text
  --exit-with-parent         stop now at the end of standard input: it is a pipe of the process that started this one`;

/** Reads flags, then the environment, then defaults. */
export function readConfig(argv: string[], env: NodeJS.ProcessEnv): SampleConfig | 'help' {
  const flags = parseFlags(argv);
  if (flags.help) return 'help';
  const token = flags['enrollment-token'] ?? env.MUSTER_ENROLLMENT_TOKEN;
  const name = flags.name ?? env.MUSTER_AGENT_NAME;
  const proven = env.MUSTER_AGENT_PROOF_OF_POSSESSION || 'false';
  const enable = {
    ...(flags['enable-script'] ? { script: {} } : {}),
    ...(flags['enable-http'] ? { http: { allow_private: flags['allow-private-http'] ?? false } } : {}),
  };
  return {
    logFormat: oneOf('--log-format', flags['log-format'] ?? 'text', ['text', 'json']),
    exitWithParent: flags['exit-with-parent'] ?? false,
    agent: {
      url: urlOf(...given('--url', flags.url, 'MUSTER_URL', env.MUSTER_URL, 'http://127.0.0.1:8000')),
      slots: slotsOf(...given('--slots', flags.slots, 'MUSTER_AGENT_SLOTS', env.MUSTER_AGENT_SLOTS, '4')),
      key_dir: flags['key-dir'] ?? env.MUSTER_AGENT_KEY_DIR ?? '.muster/agent',
      proof_of_possession:
        flags['proof-of-possession'] || oneOf('MUSTER_AGENT_PROOF_OF_POSSESSION', proven, ['true', 'false']) === 'true',
      enable,
      ...(token ? { enrollment_token: token } : {}),
      ...(name ? { display_name: name } : {}),
      ...(flags.ca ? { ca: fileOf('--ca', flags.ca) } : {}),
      ...(flags.capabilities ? { capabilities: flags.capabilities.split(',').map((one) => one.trim()) } : {}),
    },
  };
}

function parseFlags(argv: string[]) {
  try {
    return parseArgs({ args: argv, options: FLAGS, strict: true }).values;
  } catch (error) {
    throw new ConfigError((error as Error).message);
  }
}

/** The value, and where it came from, for the message. */
const given = (flag: string, value: string | undefined, variable: string, set: string | undefined, fallback: string) =>
  value !== undefined ? ([flag, value] as const) : ([variable, set || fallback] as const);

const wrong = (source: string, value: string, allowed: string): ConfigError =>
  new ConfigError(`${source} is ${JSON.stringify(value)}; allowed: ${allowed}`);

function urlOf(source: string, value: string): string {
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol))
    throw wrong(source, value, 'an http or https URL');
  return value;
}

function slotsOf(source: string, value: string): number {
  const slots = Number(value);
  if (!/^\d+$/.test(value) || slots < 1 || slots > 10_000) throw wrong(source, value, 'a whole number from 1 to 10000');
  return slots;
}

function oneOf<const T extends string>(source: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value);
  if (!found) throw wrong(source, value, allowed.join(', '));
  return found;
}

function fileOf(source: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    throw wrong(source, path, 'a PEM file that can be read');
  }
}
