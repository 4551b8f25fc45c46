import { setTimeout as pause } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { drainAgent } from '@muster/shared/contract/agents';
import { cancelTask } from '@muster/shared/contract/tasks';
import { fenceOf } from '@muster/shared/ids';
import { eventually } from '../eventually.ts';
import type { AgentStage } from './agent-stage.ts';
import { type Check, must } from './check.ts';

const echo = (input: object) => ({ task_type: 'echo', input_data: { ...input } });
const sleep = (seconds: number, more: object = {}) => ({ task_type: 'sleep', input_data: { seconds }, ...more });

/** The fence of a task's newest run, once the agent has it. */
async function running(stage: AgentStage, taskId: string): Promise<number> {
  return eventually(async () => {
    const exchange = stage
      .said('/poll')
      .flatMap(({ answer }) => (answer as { runs?: { run_id: string; task_id: string }[] })?.runs ?? [])
      .filter((run) => run.task_id === taskId)
      .at(-1);
    if (!exchange) throw new Error('the agent does not poll for its work');
    return fenceOf(exchange.run_id);
  });
}

const ended = async ({ life }: AgentStage, timeoutMs: number): Promise<number | null> => {
  const code = await Promise.race([life.ended, pause(timeoutMs, 'late' as const)]);
  must(code !== 'late', `it still runs ${timeoutMs / 1_000} s later`);
  return code;
};

/** What docs/protocol.md asks of an agent, as far as it can be seen from outside. */
export const AGENT_CHECKS: readonly Check<AgentStage>[] = [
  {
    name: 'does what it is given and reports it',
    async run(stage) {
      const input = { text: 'Ünïcödé \u2028 "quoted"', list: [1, 2.5, null, true], nested: { a: {} } };
      const task = await stage.until(await stage.submit(echo(input)), 'COMPLETED');
      must(isDeepStrictEqual(task.result_data, input), `echo answered ${JSON.stringify(task.result_data)}`);
    },
  },
  {
    name: 'asks for no more than its slots, and names what it holds',
    async run(stage) {
      const ids = await Promise.all(Array.from({ length: 6 }, () => stage.submit(sleep(0.3))));
      for (const id of ids) await stage.until(id, 'COMPLETED');
      const results = stage.results();
      for (const { at, body } of stage.said('/poll')) {
        const { slots, holding = [] } = body as { slots: number; holding?: string[] };
        // What it has said the end of it does not have any more.
        const over = new Set(results.filter((it) => it.at <= at).map(({ fence }) => fence));
        const has = holding.filter((runId) => !over.has(fenceOf(runId))).length;
        must(slots + has <= 2, `a poll that had ${has} runs asked for ${slots} more, with 2 slots`);
      }
      must(
        stage.said('/poll').some(({ body }) => (body as { holding?: string[] }).holding?.length),
        'no poll ever named a run',
      );
    },
  },
  {
    name: 'repeats a result until it is answered',
    async run(stage) {
      let lost: number | undefined;
      stage.proxy.judge(({ path, body }) => {
        const fence = path.endsWith('/result')
          ? (body as { fence: number }).fence
          : (body as { results?: { fence: number }[] })?.results?.[0]?.fence;
        if (fence === undefined || lost !== undefined) return 'pass';
        lost = fence;
        return 'lose';
      });
      await stage.until(await stage.submit(echo({})), 'COMPLETED');
      await eventually(() => stage.results().filter(({ fence }) => fence === lost).length > 1, { timeoutMs: 20_000 });
    },
  },
  {
    name: 'runs once what it was handed without hearing of it',
    async run(stage) {
      let lost = 0;
      stage.proxy.judge(({ path }) => {
        if (!path.endsWith('/poll') || lost > 0) return 'pass';
        lost += 1;
        return 'lose';
      });
      // Wakes the poll that waits; the next to come is the one whose answer is lost.
      await stage.until(await stage.submit(echo({ n: 1 })), 'COMPLETED', 40_000);
      const second = await stage.until(await stage.submit(echo({ n: 2 })), 'COMPLETED', 40_000);
      must(lost === 1, 'it has not polled again');
      must(second.runs.length === 1, `its task has ${second.runs.length} runs`);
    },
  },
  {
    name: 'stops what is cancelled, says so, and has its slot free again',
    async run(stage) {
      const taskId = await stage.submit(sleep(120));
      const fence = await running(stage, taskId);
      await stage.coordinator.admin(cancelTask, { params: { task_id: taskId } });
      const word = await eventually(() => stage.results().find((it) => it.fence === fence) ?? false, {
        timeoutMs: 15_000,
      });
      must(word.outcome === 'CANCELLED', `it reported ${word.outcome} of what was cancelled`);
      await eventually(async () => (await stage.agent()).slots_used === 0);
    },
  },
  {
    name: 'stops what it has lost, and says nothing more about it',
    seconds: 25,
    async run(stage) {
      const taskId = await stage.submit(sleep(18, { max_retries: 0 }));
      const fence = await running(stage, taskId);
      await stage.coordinator.clock.advance('31s', { beats: 'missed' });
      await stage.until(taskId, 'FAILED');
      const since = stage.now();
      await pause(20_000);
      const word = stage.results(since).find((it) => it.fence === fence);
      must(!word, `it reported ${word?.outcome} of a run that was taken from it`);
    },
  },
  {
    name: 'stops its work by itself before its lease ends, when it cannot be heard',
    seconds: 50,
    async run(stage) {
      const taskId = await stage.submit(sleep(33));
      const fence = await running(stage, taskId);
      stage.proxy.judge(() => 'hang');
      await pause(40_000);
      const since = stage.now();
      stage.proxy.judge(() => 'pass');
      await pause(5_000);
      const word = stage.results(since).find((it) => it.fence === fence && it.outcome === 'COMPLETED');
      must(!word, 'it finished a run whose lease was over');
    },
  },
  {
    name: 'beats as often as it is told, whatever it is doing',
    seconds: 25,
    async run(stage) {
      await stage.submit(sleep(30));
      const since = stage.now();
      await pause(22_000);
      const beats = stage.said('/heartbeat', since).length;
      must(beats >= 2 && beats <= 4, `it beat ${beats} times in 22 s, with an interval of 10 s`);
    },
  },
  {
    name: 'leaves a coordinator alone that has no time, and comes back',
    seconds: 15,
    async run(stage) {
      const body = { type: 'about:blank', title: 'Overloaded', status: 503, code: 'overloaded', detail: 'later' };
      stage.proxy.judge(() => ({ status: 503, headers: { 'retry-after': '2' }, body }));
      const since = stage.now();
      await pause(10_000);
      const tries = stage.said('', since).length;
      must(tries <= 20, `it asked ${tries} times in 10 s though told to wait 2 s`);
      stage.proxy.judge(() => 'pass');
      await stage.until(await stage.submit(echo({})), 'COMPLETED', 40_000);
    },
  },
  {
    name: 'finishes what it has at SIGTERM, takes nothing new, leaves, and ends well',
    async run(stage) {
      const first = await stage.submit(sleep(2));
      await running(stage, first);
      stage.life.signal('SIGTERM');
      await pause(500);
      const late = await stage.submit(echo({}));
      must((await ended(stage, 15_000)) === 0, 'its exit code is not 0');
      await stage.until(first, 'COMPLETED');
      must((await stage.until(late, 'PENDING')).runs.length === 0, 'it took work after SIGTERM');
      must(stage.said('/leave').length > 0, 'it did not leave');
    },
  },
  {
    name: 'drains when an admin says so',
    seconds: 15,
    async run(stage) {
      const first = await stage.submit(sleep(1));
      await running(stage, first);
      await stage.coordinator.admin(drainAgent, { params: { agent_id: (await stage.agent()).agent_id } });
      await stage.until(first, 'COMPLETED');
      await eventually(() => stage.said('/leave').length > 0, { timeoutMs: 20_000 });
    },
  },
  {
    name: 'comes back after a crash as who it was, with a new boot',
    async run(stage) {
      const before = await stage.agent();
      const taskId = await stage.submit(sleep(1));
      await running(stage, taskId);
      stage.life.signal('SIGKILL');
      await stage.life.ended;
      stage.restart();
      await eventually(async () => (await stage.agent()).boot_id !== before.boot_id, { timeoutMs: 20_000 });
      must((await stage.agent()).agent_id === before.agent_id, 'it is another agent');
      await stage.until(taskId, 'COMPLETED', 20_000);
    },
  },
];
