// `npm run fleet -- --agents 1000 --profile ramp.yaml`: a fleet against a coordinator, with live counts and a report. Without --url it starts a coordinator of its own.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createSupervisor } from '@muster/testing';
import { assertFindings } from '@muster/testing/checkers';
import { startFleet } from '@muster/testing/fleet/fleet';
import { secondsOf } from '@muster/testing/fleet/load';
import { ProfileError, parseProfile } from '@muster/testing/fleet/profile';
import { reportText } from '@muster/testing/fleet/report';

const USAGE = `npm run fleet -- --profile FILE [--agents N] [--seed N] [--url URL --key KEY] [--history FILE] [--json]

  --profile  a fleet and its load, as YAML (docs/testing.md)
  --agents   how many, over what the profile says
  --seed     for what chance decides, over what the profile says
  --url      a coordinator to go to, with --key or MUSTER_KEY, an admin key; one is started here unless said
  --history  where to write what happened, a line of JSON each
  --json     the report as JSON`;

function options() {
  const { values } = parseArgs({
    options: {
      profile: { type: 'string' },
      agents: { type: 'string' },
      seed: { type: 'string' },
      url: { type: 'string' },
      key: { type: 'string', default: process.env.MUSTER_KEY ?? '' },
      history: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  if (!values.profile) throw new ProfileError('--profile is missing');
  const profile = parseProfile(textOf(values.profile));
  const number = (name: 'agents' | 'seed') => {
    const given = values[name] === undefined ? profile[name] : Number(values[name]);
    if (!Number.isInteger(given) || (name === 'agents' && given < 1))
      throw new ProfileError(`--${name} ${JSON.stringify(values[name])} is not a whole number`);
    return given;
  };
  if (values.url && !values.key) throw new ProfileError('--url needs --key, or MUSTER_KEY');
  return { ...values, profile: { ...profile, agents: number('agents'), seed: number('seed') } };
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new ProfileError(`--profile ${file} cannot be read: ${(error as Error).message}`);
  }
}

async function main(): Promise<void> {
  const { profile, url, key, history, json } = options();
  const supervisor = createSupervisor();
  try {
    // In a process of its own: what the fleet takes of this one's time is not the coordinator's.
    const coordinator = url ? { url, adminKey: key } : await supervisor.coordinator();
    const { agents, owners, seed, personas, phases, task, think_time_ms } = profile;
    const fleet = await startFleet({
      coordinator,
      agents,
      owners,
      seed,
      personas,
      ...(history ? { historyFile: history } : {}),
    });
    const live = setInterval(() => {
      const { agents, claimed, completed, failed, retries } = fleet.tally.counts;
      const line = `${agents} agents, ${claimed} claimed, ${completed} completed, ${failed} failed, ${retries} retries`;
      process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
    }, 1_000);
    try {
      await fleet.load(phases, { task, thinkTimeMs: think_time_ms });
      await fleet.drained({ timeoutMs: 120_000 + 1_000 * secondsOf(phases) });
    } finally {
      clearInterval(live);
      if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
      const report = await fleet.report();
      console.log(json ? JSON.stringify(report, null, 2) : reportText(report));
      await fleet.stop();
      assertFindings(report.promises);
    }
  } finally {
    await supervisor.stop();
  }
}

main().catch((error: unknown) => {
  const expected = error instanceof ProfileError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS');
  console.error(expected ? `${(error as Error).message}\n\n${USAGE}` : error);
  process.exitCode = 1;
});
