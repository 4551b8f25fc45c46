import type { AgentEvents, EventName, EventSink } from '../events.ts';

type Level = 'debug' | 'info' | 'warn' | 'error';
type Lines = { [N in EventName]: (detail: AgentEvents[N]) => readonly [Level, string] };

/** How each event reads in the log; the words are those of the system whose users come here. */
const LINES: Lines = {
  registered: ({ agent_id }) => ['info', `Agent registered: ${agent_id}`],
  started: ({ agent_id }) => ['info', `Agent started: ${agent_id}`],
  beat: () => ['debug', 'Heartbeat sent (active)'],
  'beat-failed': ({ message }) => ['warn', `Heartbeat failed: ${message}`],
  polling: () => ['debug', 'Polling for tasks...'],
  assigned: ({ task_id }) => ['info', `Task ${task_id} assigned`],
  executing: ({ task_type }) => ['info', `Executing task... (${task_type})`],
  log: ({ message }) => ['info', message],
  aborted: ({ task_id, reason }) => ['warn', `Task ${task_id} aborted: ${reason}`],
  finished: ({ task_id, outcome, duration_ms, message }) =>
    outcome === 'COMPLETED'
      ? ['info', `Task ${task_id} completed in ${duration_ms} ms`]
      : ['warn', `Task ${task_id} ended ${outcome}${message ? `: ${message}` : ''}`],
  discarded: ({ task_id }) => ['warn', `Task ${task_id} is no longer ours: its result is thrown away`],
  reported: ({ applied, run_id, code }) =>
    applied
      ? ['info', 'Result reported successfully']
      : ['warn', `Result of ${run_id} was not applied${code ? `: ${code}` : ''}`],
  unreachable: ({ message, retry_in_ms }) => [
    'warn',
    `Coordinator unreachable (${message}), next try in ${retry_in_ms} ms`,
  ],
  fenced: ({ runs }) => ['error', `No heartbeat got through in time: ${runs} runs stopped`],
  recovered: () => ['info', 'Heartbeats get through again'],
  warning: ({ message }) => ['warn', message],
  draining: ({ runs }) => ['info', `Draining: ${runs} runs to finish`],
  superseded: () => ['error', 'Another process runs as this agent now'],
  revoked: () => ['error', 'This agent was revoked'],
  ended: ({ reason }) => ['info', `Agent stopped (${reason})`],
};

/** Writes events as log lines: words for people, or one JSON object a line. */
export function logLines(format: 'text' | 'json', write: (line: string) => void): EventSink {
  return (name, detail) => {
    const [level, message] = LINES[name](detail);
    const time = new Date().toISOString();
    if (format === 'json') write(JSON.stringify({ time, level, event: name, message, ...detail }));
    else write(`${time} ${level.toUpperCase().padEnd(5)} ${message}`);
  };
}
