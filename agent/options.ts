import { hostname } from 'node:os';
import type { EventSink } from './events.ts';
import { BUILT_IN, type BuiltInOptions, isBuiltIn } from './executors/registry.ts';
import { type Handler, TaskError } from './handler.ts';
import type { Announcement } from './identity/registration-file.ts';

export interface AgentOptions {
  /** Where the coordinator answers, e.g. `http://127.0.0.1:8000`. */
  url: string;
  /** Needed until the agent has registered once. */
  enrollment_token?: string;
  /** What runs tasks, by `task_type`. */
  handlers?: Record<string, Handler>;
  /** What this agent can do: `name` or `name:version`. The handlers' names and the built-ins enabled unless said. */
  capabilities?: string[];
  /** How many runs at a time; 1 unless said. */
  slots?: number;
  display_name?: string;
  labels?: Record<string, string>;
  /** Where key, registration and undelivered results are kept; `.muster/agent` unless said. One folder, one agent. */
  key_dir?: string;
  /**
   * Whether to prove possession of the key with every request (DPoP, RFC 9449), so that a stolen access token is of no use; false
   * unless said. Needed where the coordinator requires it; `url` must then be the one the coordinator is known by.
   */
  proof_of_possession?: boolean;
  /** PEM of the authority that signed the coordinator's certificate. */
  ca?: string;
  /** Built-in executors to offer. One that is not named here refuses its tasks. */
  enable?: Partial<BuiltInOptions>;
  /** How long `drain` lets runs go on before they are returned; no limit unless said. */
  drain_timeout_ms?: number;
  /** Hears every event. */
  onEvent?: EventSink;
}

/** Options with nothing left open. */
export interface Settings {
  url: string;
  enrollmentToken: string | undefined;
  keyDir: string;
  proofOfPossession: boolean;
  ca: string | undefined;
  drainTimeoutMs: number | undefined;
  announcement: Announcement;
  handlerFor(taskType: string): Handler;
}

/** Fills in what an author left out. */
export function settingsOf(options: AgentOptions): Settings {
  const { handlers = {}, enable = {} } = options;
  const able = handlersOf(handlers, enable);
  const capabilities = options.capabilities ?? [...able.keys()];
  if (capabilities.length === 0) throw new Error('an agent needs a handler or an enabled built-in executor');
  return {
    url: urlOf(options.url),
    enrollmentToken: options.enrollment_token,
    keyDir: options.key_dir ?? '.muster/agent',
    proofOfPossession: options.proof_of_possession ?? false,
    ca: options.ca,
    drainTimeoutMs: options.drain_timeout_ms,
    announcement: {
      display_name: options.display_name ?? `${hostname()}-${process.pid}`,
      capabilities,
      slots: options.slots ?? 1,
      labels: options.labels ?? {},
    },
    handlerFor: (taskType) => able.get(taskType) ?? refuse(taskType),
  };
}

function urlOf(url: string): string {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new Error(`url: ${JSON.stringify(url)} is no URL that begins with http:// or https://`);
  return url.replace(/\/+$/, '');
}

function handlersOf(handlers: Record<string, Handler>, enable: Partial<BuiltInOptions>): Map<string, Handler> {
  const able = new Map<string, Handler>();
  if (enable.script) able.set('script', BUILT_IN.script(enable.script));
  if (enable.http) able.set('http', BUILT_IN.http(enable.http));
  for (const [taskType, handler] of Object.entries(handlers)) able.set(taskType, handler);
  return able;
}

/** Another agent may be able to: the task is not at fault. */
const refuse =
  (taskType: string): Handler =>
  () => {
    const [code, why] = isBuiltIn(taskType)
      ? ['executor-disabled', `this agent does not have the ${taskType} executor enabled`]
      : ['unknown-task-type', `this agent has no handler for ${taskType}`];
    throw new TaskError(why, { code, fault: 'agent', retryable: true });
  };
