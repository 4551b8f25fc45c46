import { createClient } from '@muster/shared/client';
import * as protocol from '@muster/shared/contract/dispatch';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { cancelTask, createTask, getTask } from '@muster/shared/contract/tasks';
import { ProblemError } from '@muster/shared/errors';
import { newId, runIdOf } from '@muster/shared/ids';
import { Session } from '../fleet/session.ts';
import { type Check, must } from './check.ts';

/** A coordinator somewhere, and a capability that only this check's agents have. */
export interface CoordinatorStage extends AsyncDisposable {
  url: string;
  capability: string;
  /** A registered agent; it leaves at the end. */
  agent(slots?: number): Promise<Session>;
  submit(more?: object): Promise<string>;
  admin: ReturnType<typeof createClient>;
}

export async function openCoordinatorStage(url: string, key: string): Promise<CoordinatorStage> {
  const admin = createClient({ url, credential: key });
  const capability = `conformance-${newId('task').slice(-12)}`;
  const sessions: Session[] = [];
  return {
    url,
    capability,
    admin,
    async agent(slots = 1) {
      const { enrollment_token } = await admin(createEnrollmentToken, { body: { capabilities: [capability] } });
      const options = { url, enrollmentToken: enrollment_token, now: async () => new Date(), random: Math.random };
      const session = new Session({ ...options, onRetry: () => {} });
      await session.open({ display_name: 'conformance', capabilities: [capability], slots, labels: {} });
      sessions.push(session);
      return session;
    },
    async submit(more = {}) {
      return (await admin(createTask, { body: { task_type: capability, input_data: {}, ...more } })).task_id;
    },
    async [Symbol.asyncDispose]() {
      for (const it of sessions)
        await it.call(protocol.leave, { params: it.params, body: { boot_id: it.bootId } }).catch(() => {});
    },
  };
}

const poll = (it: Session, more: object = {}) =>
  it.call(protocol.poll, { params: it.params, body: { boot_id: it.bootId, slots: 1, wait_ms: 0, ...more } });

async function take(it: Session): Promise<protocol.AssignedRun> {
  const { runs } = await poll(it, { wait_ms: 10_000 });
  must(runs.length === 1, `a poll for one run was answered with ${runs.length}`);
  return runs[0]!;
}

const report = (it: Session, run: { run_id: string; fence: number }, more: object = {}) =>
  it.call(protocol.reportResult, {
    params: { run_id: run.run_id },
    body: { fence: run.fence, outcome: 'COMPLETED', ...more },
  });

const beat = (it: Session, runs: { run_id: string; fence: number }[] = []) =>
  it.call(protocol.heartbeat, {
    params: it.params,
    body: {
      boot_id: it.bootId,
      status: 'ACTIVE',
      slots_free: 0,
      runs: runs.map(({ run_id, fence }) => ({ run_id, fence })),
    },
  });

async function refused(call: Promise<unknown>, ...codes: string[]): Promise<void> {
  const error = await call.then(
    (answer) => new Error(`it was accepted: ${JSON.stringify(answer)}`),
    (error: unknown) => error,
  );
  must(
    error instanceof ProblemError && codes.includes(error.code),
    `not refused as ${codes.join(' or ')} but: ${(error as ProblemError).code ?? ''} ${(error as Error).message}`,
  );
}

/** What docs/protocol.md promises agents, as far as one can see it with an admin key and the clock of the wall. */
export const COORDINATOR_CHECKS: readonly Check<CoordinatorStage>[] = [
  {
    name: 'hands a task to an agent that can do it, and keeps its result',
    async run(stage) {
      const agent = await stage.agent();
      const task_id = await stage.submit({ input_data: { n: [1, null, 'x'] } });
      const run = await take(agent);
      must(run.task_id === task_id && run.attempt === 1, 'another task was handed out, or not as attempt 1');
      const { applied, task_status } = await report(agent, run, { result_data: { ok: true } });
      must(applied && task_status === 'COMPLETED', `the result was ${applied ? task_status : 'not applied'}`);
      const task = await stage.admin(getTask, { params: { task_id } });
      must(
        JSON.stringify(task.result_data) === '{"ok":true}',
        `its result_data is ${JSON.stringify(task.result_data)}`,
      );
    },
  },
  {
    name: 'wakes a poll that waits',
    async run(stage) {
      const agent = await stage.agent();
      const waiting = poll(agent, { wait_ms: 15_000 });
      const since = performance.now();
      await stage.submit();
      must((await waiting).runs.length === 1, 'the poll was answered without the task');
      must(performance.now() - since < 5_000, 'the poll was answered seconds later');
    },
  },
  {
    name: 'answers an empty poll when its time is over',
    async run(stage) {
      const agent = await stage.agent();
      const since = performance.now();
      const { runs } = await poll(agent, { wait_ms: 1_000 });
      const took = performance.now() - since;
      must(runs.length === 0 && took > 800 && took < 6_000, `${runs.length} runs after ${Math.round(took)} ms`);
    },
  },
  {
    name: 'applies a result once, and says so of the second',
    async run(stage) {
      const agent = await stage.agent();
      await stage.submit();
      const run = await take(agent);
      must((await report(agent, run)).applied, 'the first was not applied');
      must(!(await report(agent, run)).applied, 'the second was applied too');
    },
  },
  {
    name: 'refuses a fence that is not the run’s',
    async run(stage) {
      const agent = await stage.agent();
      await stage.submit();
      const run = await take(agent);
      await refused(report(agent, { run_id: run.run_id, fence: run.fence + 1 }), 'stale-lease', 'validation-failed');
      await refused(
        report(agent, { run_id: runIdOf(run.fence + 1_000_000), fence: run.fence + 1_000_000 }),
        'stale-lease',
        'not-found',
      );
      must((await report(agent, run)).applied, 'the right one is refused too');
    },
  },
  {
    name: 'lets nobody speak of another’s run',
    async run(stage) {
      const [agent, other] = [await stage.agent(), await stage.agent()];
      await stage.submit();
      const run = await take(agent);
      await refused(report(other, run), 'stale-lease', 'not-found', 'insufficient-scope');
      must((await report(agent, run)).applied, 'its own agent is refused too');
    },
  },
  {
    name: 'hands out again what an agent holds and does not name',
    async run(stage) {
      const agent = await stage.agent();
      await stage.submit();
      const run = await take(agent);
      const [again] = (await poll(agent, { holding: [] })).runs;
      must(again, 'it is not handed out again');
      must(again.run_id === run.run_id && again.fence === run.fence, 'it has another fence');
      must(
        (await poll(agent, { holding: [run.run_id] })).runs.length === 0,
        'it is handed out again where it is named, too',
      );
    },
  },
  {
    name: 'ends the old life of an agent that starts again, and queues what it held',
    async run(stage) {
      const agent = await stage.agent();
      await stage.submit();
      const old = await take(agent);
      await agent.open({ display_name: 'conformance', capabilities: [stage.capability], slots: 1, labels: {} });
      const run = await take(agent);
      must(
        run.fence > old.fence && run.attempt === 2,
        `attempt ${run.attempt} with fence ${run.fence} after ${old.fence}`,
      );
      await refused(report(agent, old), 'stale-lease');
    },
  },
  {
    name: 'queues at once what an agent that leaves held',
    async run(stage) {
      const [agent, other] = [await stage.agent(), await stage.agent()];
      await stage.submit();
      await take(agent);
      const { requeued } = await agent.call(protocol.leave, { params: agent.params, body: { boot_id: agent.bootId } });
      must(requeued === 1, `${requeued} were queued again`);
      await take(other);
    },
  },
  {
    name: 'tells a beat what is to be stopped and what is lost, and takes no result of what was cancelled',
    async run(stage) {
      const agent = await stage.agent();
      const task_id = await stage.submit();
      const run = await take(agent);
      await stage.admin(cancelTask, { params: { task_id } });
      const invented = { run_id: runIdOf(run.fence + 1_000_000), fence: run.fence + 1_000_000 };
      const { cancel, lost } = await beat(agent, [run, invented]);
      must(cancel.includes(run.run_id), 'the cancel is not told');
      must(lost.includes(invented.run_id), 'a run nobody has is not told as lost');
      await refused(report(agent, run), 'task-terminal');
    },
  },
  {
    name: 'answers in problem documents',
    async run(stage) {
      const answer = await fetch(`${stage.url}/aitp/tasks/${newId('task')}`);
      must(answer.status === 401, `without a key the answer is ${answer.status}`);
      must(answer.headers.get('content-type')?.startsWith('application/problem+json'), 'it is no problem document');
      await refused(stage.admin(getTask, { params: { task_id: newId('task') } }), 'not-found');
      await refused(stage.submit({ priority: 11 }), 'validation-failed');
    },
  },
];
