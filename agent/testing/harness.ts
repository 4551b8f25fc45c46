import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type Agent, createAgent } from '../agent.ts';
import type { AgentEvents, EventName } from '../events.ts';
import type { AbortReason, Handler } from '../handler.ts';
import type { AgentOptions } from '../options.ts';
import { FakeCoordinator } from './fake-coordinator.ts';

/** A folder that is gone after the test. */
export function aFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'muster-agent-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A fake coordinator that listens, and is closed after the test. */
export async function aCoordinator(terms: Partial<FakeCoordinator> = {}): Promise<FakeCoordinator> {
  const coordinator = Object.assign(new FakeCoordinator(), terms);
  await coordinator.listen();
  onTestFinished(() => coordinator.close());
  return coordinator;
}

/** An agent that is stopped after the test, and keeps all it says. */
export interface TestAgent extends Agent {
  heard<N extends EventName>(name: N): AgentEvents[N][];
  /** The first such event, past or to come. */
  hears<N extends EventName>(name: N): Promise<AgentEvents[N]>;
}

export function anAgent(coordinator: { url: string }, options: Partial<AgentOptions> = {}): TestAgent {
  const said: { name: EventName; detail: unknown }[] = [];
  const agent = createAgent({
    url: coordinator.url,
    enrollment_token: 'enrol-me',
    key_dir: aFolder(),
    handlers: { echo: ({ input_data }) => input_data },
    ...options,
    onEvent: (name, detail) => said.push({ name, detail }),
  });
  onTestFinished(() => agent.stop());
  const heard = <N extends EventName>(name: N) =>
    said.filter((one) => one.name === name).map((one) => one.detail as AgentEvents[N]);
  const hears = <N extends EventName>(name: N) =>
    new Promise<AgentEvents[N]>((resolve) => {
      const [past] = heard(name);
      if (past) resolve(past);
      else agent.on(name, resolve);
    });
  return {
    ...agent,
    get agentId() {
      return agent.agentId;
    },
    heard,
    hears,
  };
}

/** A handler that waits for its signal, and tells why it came. */
export function untilAborted(): { handler: Handler; reason: Promise<AbortReason>; running: Promise<void> } {
  let aborted!: (reason: AbortReason) => void;
  let runs!: () => void;
  const reason = new Promise<AbortReason>((resolve) => {
    aborted = resolve;
  });
  const running = new Promise<void>((resolve) => {
    runs = resolve;
  });
  const handler: Handler = ({ signal }) =>
    new Promise((_, reject) => {
      runs();
      signal.addEventListener('abort', () => {
        aborted(signal.reason.reason);
        reject(signal.reason);
      });
    });
  return { handler, reason, running };
}
