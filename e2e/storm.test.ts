import { connect, type Socket } from 'node:net';
import { newId } from '@muster/shared/ids';
import postgres from 'postgres';
import { expect, onTestFinished, test } from 'vitest';
import { inParallel, startProcessNetwork, supervise } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

/** How many agents come back at once; `npm run storm` lets 2,000 come. */
const AGENTS = Number(process.env.STORM ?? 400);
const BEATING = 50;
/** How long one beat may take meanwhile, in milliseconds. */
const BEAT_MS = 5_000;

const many = <T>(n: number, item: (n: number) => T): T[] => Array.from({ length: n }, (_, at) => item(at));

/** Beats once a second, each agent at a moment of its own, until told to stop: how long each beat took, in milliseconds. */
async function beatUntil(
  over: () => boolean,
  agents: readonly { agent: RawAgent; run: { run_id: string; fence: number } }[],
) {
  const took: number[] = [];
  const live = async ({ agent, run }: (typeof agents)[number], n: number) => {
    await new Promise((resolve) => setTimeout(resolve, (1_000 * n) / agents.length));
    while (!over()) {
      const since = performance.now();
      const { lost } = await agent.beat({ runs: [{ run_id: run.run_id, fence: run.fence }] });
      took.push(performance.now() - since);
      expect(lost).toEqual([]);
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  };
  await Promise.all(agents.map(live));
  return took.sort((a, b) => a - b);
}

/** A connection, before anything is said: so that all can speak at once, and in an order that is known. */
async function dial(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect({ port: Number(port), host: hostname, noDelay: true });
  onTestFinished(() => void socket.destroy());
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

/** Registers by hand: what the agent was told, and when. */
function knock(socket: Socket, registration: string): Promise<{ agent_id: string; access_token: string; at: number }> {
  const body = JSON.stringify({ registration });
  socket.write(
    `POST /ains/agents HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  return new Promise((resolve, reject) => {
    let text = '';
    socket.on('close', () => reject(new Error(`hung up after ${JSON.stringify(text)}`)));
    socket.on('data', (chunk) => {
      text += chunk;
      const [head = '', answer] = text.split('\r\n\r\n');
      if (answer?.length !== Number(/^content-length: (\d+)/im.exec(head)?.[1])) return;
      if (head.startsWith('HTTP/1.1 201 ')) resolve({ ...JSON.parse(answer), at: performance.now() });
      else reject(new Error(text));
    });
  });
}

test(`${AGENTS} agents that come back at once are let in as they came, and no beat of others waits for them`, async () => {
  const network = await startProcessNetwork(supervise());
  const sql = postgres(network.coordinator.databaseUrl!, { max: 1, onnotice: () => {} });
  onTestFinished(() => sql.end({ timeout: 1 }));
  const enrollment_token = await network.enrol({ max_uses: 10_000 });
  const join = (capability: string) =>
    RawAgent.register({ url: network.url }, { enrollment_token, capabilities: [capability] });
  const steady = await inParallel(many(BEATING, String), 10, () => join('steady'));
  await inParallel(steady, 10, () => network.submit({ task_type: 'steady', input_data: null }));
  const holders = await inParallel(steady, 10, async (agent) => ({ agent, run: await agent.take() }));
  const fleet = await inParallel(many(AGENTS, String), 20, () => join('fleet'));

  let over = false;
  const beating = beatUntil(() => over, holders);
  // A little before and after too, so that there are beats to compare with.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const ids = fleet.map((agent) => agent.agentId);
  const lines = await inParallel(fleet, 100, () => dial(network.url));
  const registrations = await inParallel(fleet, 1, (agent) => {
    agent.bootId = newId('boot');
    return agent.registrationOf({ enrollment_token, capabilities: ['fleet'] });
  });
  const since = performance.now();
  const landed = await Promise.all(lines.map((line, n) => knock(line, registrations[n]!)));
  const all = performance.now() - since;
  over = true;
  const took = await beating;
  const at = (share: number) => (took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0).toFixed();
  console.log(
    `${AGENTS} agents let in within ${(all / 1_000).toFixed(1)} s; ${took.length} beats meanwhile: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`,
  );

  expect(landed.map(({ agent_id }) => agent_id)).toEqual(ids);
  const tenth = Math.ceil(AGENTS / 10);
  const when = landed.map(({ at }) => at);
  expect(Math.max(...when.slice(0, tenth))).toBeLessThan(Math.min(...when.slice(-tenth)));
  expect(took.length).toBeGreaterThanOrEqual(BEATING);
  expect(took.at(-1)).toBeLessThan(BEAT_MS);
  const [row] = await sql<[{ held: number; ended: number; booted: number }]>`
      select (select count(*)::int from leases) as held, (select count(*)::int from runs) as ended,
        (select count(*)::int from boots where agent_id = any(${ids})) as booted`;
  expect(row).toEqual({ held: BEATING, ended: 0, booted: 2 * AGENTS });
  // The last to be let in are as good as the first.
  for (const n of [0, AGENTS - 1]) {
    fleet[n]!.token = landed[n]!.access_token;
    expect((await fleet[n]!.beat()).acknowledged).toBe(true);
  }
}, 120_000);
