/** The Muster worker: make an agent, give it handlers, start it. */
export { type Agent, createAgent } from './agent.ts';
export type { AgentEvents, EndReason, EventName, EventSink, Listener } from './events.ts';
export type { BuiltInOptions } from './executors/registry.ts';
export {
  type AbortReason,
  type Handler,
  type Progress,
  RunAborted,
  type RunContext,
  TaskError,
  type TaskErrorOptions,
} from './handler.ts';
export type { AgentOptions } from './options.ts';
