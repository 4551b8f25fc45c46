// `npm run conformance -- --agent "python my_agent.py"` or `-- --url URL --key KEY`: whether an agent, or a coordinator, keeps to the protocol. docs/testing.md says what it needs.
import { parseArgs } from 'node:util';
import { AGENT_CHECKS } from '@muster/testing/conformance/agent-checks';
import { openAgentStage, type StartAgent } from '@muster/testing/conformance/agent-stage';
import { type CheckResult, runChecks } from '@muster/testing/conformance/check';
import { COORDINATOR_CHECKS, openCoordinatorStage } from '@muster/testing/conformance/coordinator-checks';
import { signal, startLife } from '@muster/testing/process-life';

const USAGE = `npm run conformance -- --agent COMMAND [--only WORDS]
npm run conformance -- --url URL --key KEY [--only WORDS]

  --agent  an agent that offers echo and sleep, as a shell command; it is told MUSTER_URL, MUSTER_ENROLLMENT_TOKEN,
           MUSTER_AGENT_KEY_DIR and MUSTER_AGENT_SLOTS
  --url    a coordinator, with --key or MUSTER_KEY, an admin key
  --only   checks whose names have these words`;

/** The agent is what the shell becomes: `exec`, so that signals reach it. */
const startCommand =
  (command: string): StartAgent =>
  (environment) => {
    const life = startLife(
      { command: 'sh', args: ['-c', `exec ${command}`], cwd: process.cwd(), env: { ...environment } },
      () => {},
    );
    return { signal: (name) => signal(life.pid, name), ended: life.exitCode };
  };

const tell = ({ name, ok, seconds, why }: CheckResult) =>
  console.log(`${ok ? 'ok    ' : 'NOT OK'} ${name} (${seconds.toFixed(1)} s)${why ? `\n         ${why}` : ''}`);

async function main(): Promise<number> {
  const { agent, url, key, only } = parseArgs({
    options: {
      agent: { type: 'string' },
      url: { type: 'string' },
      key: { type: 'string', default: process.env.MUSTER_KEY ?? '' },
      only: { type: 'string', default: '' },
    },
  }).values;
  const wanted = ({ name }: { name: string }) => name.includes(only);
  if (!agent === !url || (url && !key)) {
    console.error(USAGE);
    return 2;
  }
  const results = agent
    ? await runChecks(AGENT_CHECKS.filter(wanted), () => openAgentStage(startCommand(agent)), tell)
    : await runChecks(COORDINATOR_CHECKS.filter(wanted), () => openCoordinatorStage(url!, key), tell);
  const bad = results.filter(({ ok }) => !ok).length;
  console.log(`${results.length - bad} of ${results.length} ok`);
  return bad > 0 || results.length === 0 ? 1 : 0;
}

process.exitCode = await main();
