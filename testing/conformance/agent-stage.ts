import { type Agent, listAgents } from '@muster/shared/contract/agents';
import type { CallOf } from '@muster/shared/contract/endpoint';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { createTask, getTask, type Task } from '@muster/shared/contract/tasks';
import type { TaskStatus } from '@muster/shared/lifecycle';
import { startCoordinator, type TestCoordinator } from '../coordinator.ts';
import { eventually } from '../eventually.ts';
import { type Exchange, type HttpProxy, startHttpProxy } from '../http-proxy.ts';
import { scratchFolder } from '../scratch.ts';
import { createUndo } from '../undo.ts';

type NewTask = NonNullable<CallOf<typeof createTask>['body']>;

/** The agent under test, in whatever language: started with these in its environment, it connects and works until it is told to end. */
export interface AgentEnvironment {
  MUSTER_URL: string;
  MUSTER_ENROLLMENT_TOKEN: string;
  /** Its identity is kept there: with the same folder it is the same agent. */
  MUSTER_AGENT_KEY_DIR: string;
  MUSTER_AGENT_SLOTS: '2';
}

/** One life of it. */
export interface AgentLife {
  signal(name: 'SIGTERM' | 'SIGKILL'): void;
  /** Resolves with its exit code, null where a signal ended it. */
  ended: Promise<number | null>;
}

/** Starts the agent under test. It offers `echo` (answers its input) and `sleep` (`{seconds}`; wakes when it is told to stop). */
export type StartAgent = (environment: AgentEnvironment) => AgentLife;

/** A result as it went over the wire, by itself or with a poll. */
export interface SaidResult {
  at: number;
  fence: number;
  outcome: string;
}

/** A coordinator with a clock to move, a proxy that hears all the agent says, and the agent. */
export interface AgentStage extends AsyncDisposable {
  coordinator: TestCoordinator;
  proxy: HttpProxy;
  life: AgentLife;
  /** Starts it again, with the identity it has. */
  restart(): void;
  /** The agent as the coordinator sees it. */
  agent(): Promise<Agent>;
  submit(task: NewTask): Promise<string>;
  until(taskId: string, status: TaskStatus, timeoutMs?: number): Promise<Task>;
  /** What it asked for by this path's end since then. */
  said(path: string, since?: number): Exchange[];
  results(since?: number): SaidResult[];
  /** Milliseconds, on the clock of the exchanges. */
  now(): number;
}

export async function openAgentStage(start: StartAgent): Promise<AgentStage> {
  const undo = createUndo();
  try {
    const coordinator = await startCoordinator();
    undo.push(() => coordinator.stop());
    const proxy = await startHttpProxy(coordinator.url);
    undo.push(() => proxy.stop());
    const began = performance.now();
    const scratch = scratchFolder('conformance');
    undo.push(() => scratch.remove());
    const { enrollment_token } = await coordinator.admin(createEnrollmentToken, { body: {} });
    const environment: AgentEnvironment = {
      MUSTER_URL: proxy.url,
      MUSTER_ENROLLMENT_TOKEN: enrollment_token,
      MUSTER_AGENT_KEY_DIR: scratch.path,
      MUSTER_AGENT_SLOTS: '2',
    };
    const agent = async () => {
      const { data } = await coordinator.admin(listAgents, { query: {} });
      if (data.length !== 1) throw new Error(`${data.length} agents have registered, not one`);
      return data[0]!;
    };
    const said = (path: string, since = 0) => proxy.exchanges.filter((it) => it.at >= since && it.path.endsWith(path));
    const stage: AgentStage = {
      coordinator,
      proxy,
      life: start(environment),
      restart() {
        stage.life = start(environment);
      },
      agent,
      submit: async (body) => (await coordinator.admin(createTask, { body })).task_id,
      until: (task_id, status, timeoutMs = 15_000) =>
        eventually(
          async () => {
            const task = await coordinator.admin(getTask, { params: { task_id } });
            if (task.status !== status) throw new Error(`a task is ${task.status}, not ${status}`);
            return task;
          },
          { timeoutMs },
        ),
      said,
      results: (since) => resultsIn(said('/poll', since), said('/result', since)),
      now: () => performance.now() - began,
      [Symbol.asyncDispose]: () => undo.all(),
    };
    undo.push(async () => {
      stage.life.signal('SIGKILL');
      await stage.life.ended;
    });
    await eventually(async () => (await agent()).status === 'ACTIVE', { timeoutMs: 30_000 });
    return stage;
  } catch (error) {
    await undo.all().catch(() => {});
    throw error;
  }
}

function resultsIn(polls: Exchange[], reports: Exchange[]): SaidResult[] {
  const inPolls = polls.flatMap(({ at, body }) =>
    ((body as { results?: SaidResult[] })?.results ?? []).map(({ fence, outcome }) => ({ at, fence, outcome })),
  );
  const alone = reports.map(({ at, body }) => ({ at, ...(body as Omit<SaidResult, 'at'>) }));
  return [...inPolls, ...alone].sort((a, b) => a.at - b.at);
}
