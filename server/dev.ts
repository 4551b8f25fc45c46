import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Client, createClient } from '@muster/shared/client';
import * as enrollment from '@muster/shared/contract/enrollment';
import * as schedules from '@muster/shared/contract/schedules';
import * as tasks from '@muster/shared/contract/tasks';
import * as trust from '@muster/shared/contract/trust';
import type { Coordinator } from './coordinator.ts';
import { type Config, ConfigError, parseConfig } from './platform/config.ts';
import { createLog } from './platform/log.ts';
import { packageFile } from './platform/package-file.ts';
import { failStart } from './platform/start-failure.ts';
import { isLoopback } from './platform/unsafe-settings.ts';
import { start } from './start.ts';

const ROOT = fileURLToPath(new URL('.', packageFile('package.json')));
const DEMO = 'demo: counts the words of a sentence every minute';
/** How long the sample agent may take to finish what it has, in milliseconds. */
const AGENT_DRAIN_MS = 10_000;

const say = (text: string) => console.log(text);

/** `npm start`: a whole network on this machine, to look at: coordinator, Postgres, a sample agent, a schedule. */
async function main(): Promise<void> {
  const began = performance.now();
  const config = parseConfig(process.env);
  if (!isLoopback(config.host)) {
    throw new ConfigError(
      `MUSTER_HOST: ${JSON.stringify(config.host)} is not allowed; npm start serves this machine only (127.0.0.1, ::1, localhost), use npm run serve`,
    );
  }
  const coordinator = await start(config, createLog(process.env.MUSTER_LOG_LEVEL ? config.logLevel : 'warn'));
  const admin = createClient({ url: coordinator.url, credential: coordinator.adminKey });
  say(`Coordinator ready: ${coordinator.url}`);
  if (coordinator.adminKeyMade) say(`Admin key made, shown once: ${coordinator.adminKey}`);

  const agent = await startSampleAgent(config, coordinator, admin, () =>
    say(`Network up after ${((performance.now() - began) / 1_000).toFixed(1)} s`),
  );
  await ensureDemo(admin);
  await admin(tasks.createTask, {
    body: { task_type: 'word-count', input_data: { text: 'muster the agents and call the roll' } },
  });
  say(hints(config, coordinator));
  const watching = watchTrust(admin);
  let stopping = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (stopping) process.exit(1);
      stopping = true;
      clearInterval(watching);
      void stop(agent, coordinator);
    });
  }
}

async function stop(agent: ChildProcess, coordinator: Coordinator): Promise<void> {
  say('Stopping: the agent finishes what it has, then the coordinator goes (again Ctrl-C: now)');
  if (agent.exitCode === null && agent.signalCode === null) {
    agent.kill('SIGTERM');
    await Promise.race([once(agent, 'exit'), new Promise((resolve) => setTimeout(resolve, AGENT_DRAIN_MS))]);
    agent.kill('SIGKILL');
  }
  await coordinator.stop();
  process.exit(0);
}

/** Starts the sample agent in a process group of its own: Ctrl-C is for us, the agent is told after. */
async function startSampleAgent(
  config: Config,
  { url }: Coordinator,
  admin: Client,
  registered: () => void,
): Promise<ChildProcess> {
  const { enrollment_token } = await admin(enrollment.createEnrollmentToken, { body: { max_uses: 1 } });
  const flags = [
    '--url',
    url,
    '--name',
    'sample-agent',
    '--key-dir',
    join(config.dataDir, 'sample-agent'),
    '--enable-script',
    '--enable-http',
    '--exit-with-parent',
  ];
  const agent = spawn(
    process.execPath,
    ['--import', 'tsx', '--conditions=development', join(ROOT, 'agent/main.ts'), ...flags],
    {
      cwd: ROOT,
      detached: true,
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, MUSTER_ENROLLMENT_TOKEN: enrollment_token },
    },
  );
  let up = false;
  agent.stdout?.on('data', (chunk: Buffer) => {
    process.stdout.write(chunk);
    if (!up && chunk.includes('Agent started')) {
      up = true;
      registered();
    }
  });
  agent.on('exit', (code) => code && say(`The sample agent ended with ${code}`));
  return agent;
}

async function ensureDemo(admin: Client): Promise<void> {
  const { data } = await admin(schedules.listSchedules, { query: { limit: 200 } });
  if (data.some((schedule) => schedule.description === DEMO)) return;
  const { schedule_id, next_run_at } = await admin(schedules.createSchedule, {
    body: {
      task_type: 'word-count',
      input_data: { text: 'the minute has come' },
      cron_expression: '* * * * *',
      description: DEMO,
    },
  });
  say(`Schedule ${schedule_id} fires every minute, next at ${next_run_at}`);
}

/** Tells when trust moves. */
function watchTrust(admin: Client): NodeJS.Timeout {
  const known = new Map<string, number>();
  return setInterval(async () => {
    const { data } = await admin(trust.getLeaderboard, { query: { limit: 20 } }).catch(() => ({ data: [] }));
    for (const { agent_id, display_name, trust_score } of data) {
      const before = known.get(agent_id) ?? 0.5;
      known.set(agent_id, trust_score);
      if (trust_score !== before) say(`Trust of ${display_name}: ${before.toFixed(3)} -> ${trust_score.toFixed(3)}`);
    }
  }, 2_000);
}

const hints = ({ dataDir, adminKey }: Config, { url }: Coordinator): string => `
Try it from another terminal:

  export MUSTER_KEY=${adminKey ? '"$MUSTER_ADMIN_KEY"' : `"$(cat '${resolve(dataDir, 'admin-key')}')"`}
  curl -s ${url}/aitp/tasks -H "Authorization: Bearer $MUSTER_KEY" -H 'Content-Type: application/json' \\
    -d '{"task_type": "script", "input_data": {"commands": ["uname -a", "date"]}}'
  curl -s '${url}/aitp/tasks?limit=1' -H "Authorization: Bearer $MUSTER_KEY"
  curl -s ${url}/ains/agents -H "Authorization: Bearer $MUSTER_KEY"

The API is described at ${url}/docs
`;

main().catch(failStart);
