import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { startCoordinator } from '../coordinator.ts';
import { Member } from '../fleet/member.ts';
import { type PersonaInput, persona } from '../fleet/persona.ts';
import { Ring } from '../fleet/ring.ts';
import { Tally } from '../fleet/tally.ts';
import { signal, startLife } from '../process-life.ts';
import { programArgs } from '../program.ts';
import { seededRandom } from '../random.ts';
import { AGENT_CHECKS } from './agent-checks.ts';
import { openAgentStage, type StartAgent } from './agent-stage.ts';
import { runChecks } from './check.ts';
import { COORDINATOR_CHECKS, openCoordinatorStage } from './coordinator-checks.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const args = await programArgs(join(repository, 'agent/main.ts'));
const sampleAgent: StartAgent = (environment) => {
  const life = startLife({ command: process.execPath, args, cwd: repository, env: { ...environment } }, () => {});
  return { signal: (name) => signal(life.pid, name), ended: life.exitCode };
};

/** An agent of the fleet's kind, which is not what one wants an agent to be. */
const badAgent =
  (behaviour: PersonaInput): StartAgent =>
  ({ MUSTER_URL, MUSTER_ENROLLMENT_TOKEN }) => {
    const company = {
      url: MUSTER_URL,
      capabilities: ['echo', 'sleep'],
      now: () => new Date(),
      answer: (input: never) => input,
      onTask: () => {},
      tally: new Tally(),
      history: undefined,
    };
    const over = new AbortController();
    const identity = { name: 'bad', enrollmentToken: MUSTER_ENROLLMENT_TOKEN, ring: new Ring() };
    const agent = new Member(identity, persona.parse({ slots: 2, ...behaviour }), seededRandom(1), company);
    const ended = agent.live(over.signal).then(() => 0);
    return { signal: () => over.abort(), ended };
  };

const checksNamed = (...names: string[]) =>
  AGENT_CHECKS.filter(({ name }) => names.some((part) => name.startsWith(part)));

// All at once: each has a stage of its own, and most of the time it waits for an agent.
test.concurrent('the sample agent keeps to the protocol (those checks that take long are in npm run conformance)', async () => {
  const checks = AGENT_CHECKS.filter(({ seconds = 0 }) => seconds === 0);
  const each = checks.map((check) => runChecks([check], () => openAgentStage(sampleAgent)));
  const results = (await Promise.all(each)).flat();
  expect(results.filter(({ ok }) => !ok)).toEqual([]);
  expect(results.length).toBeGreaterThanOrEqual(6);
}, 120_000);

test.concurrent.each<[string, PersonaInput, string, RegExp]>([
  ['answers wrongly', { wrong_rate: 1 }, 'does what it is given', /^echo answered/],
  [
    'goes on with what is cancelled',
    { refuse_cancel: true, speed_ms: 3_000 },
    'stops what is cancelled',
    /^it reported COMPLETED of what was cancelled/,
  ],
])(
  'an agent that %s does not pass',
  async (_, behaviour, check, why) => {
    const results = await runChecks(checksNamed(check), () => openAgentStage(badAgent(behaviour)));
    expect(results).toMatchObject([{ ok: false, why: expect.stringMatching(why) }]);
  },
  60_000,
);

test.concurrent('the coordinator keeps to the protocol', async ({ onTestFinished }) => {
  const coordinator = await startCoordinator();
  onTestFinished(() => coordinator.stop());
  const results = await runChecks(COORDINATOR_CHECKS, () =>
    openCoordinatorStage(coordinator.url, coordinator.adminKey),
  );
  expect(results.filter(({ ok }) => !ok)).toEqual([]);
  expect(results).toHaveLength(COORDINATOR_CHECKS.length);
}, 60_000);
