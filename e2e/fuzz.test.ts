import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { linesOf } from '@muster/shared/client';
import type { Endpoint } from '@muster/shared/contract/endpoint';
import { ENDPOINTS } from '@muster/shared/contract/index';
import { startCoordinator, type TestCoordinator } from '@muster/testing';
import fc, { type Arbitrary } from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { arbitraryOf, mangled, word } from './fixtures/arbitraries.ts';
import { checkAnswer, checkProblem } from './fixtures/checked-client.ts';
import { liftLimits, makeWorld, type World } from './fixtures/fuzz-world.ts';
import { inParallel, type Network, networkAt } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

/** Inputs per endpoint; `npm run fuzz` sends 10,000. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 200);
/** The seed of a run that failed repeats its inputs, if not the ids in them. */
const SEED = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));
/** How many inputs share a world. */
const BATCH = 200;
const AT_ONCE = 16;

/** In this process: what it leaves unhandled fails the run, too. */
let coordinator: TestCoordinator;
let network: Network;
const tally: Record<string, Record<string, number>> = {};

beforeAll(async () => {
  coordinator = await startCoordinator({
    env: { MUSTER_BEHIND_PROXY: 'true', MUSTER_LOG_LEVEL: 'error', MUSTER_MAX_CLASSES: '1000000' },
  });
  network = networkAt(coordinator.url, coordinator.adminKey);
});
afterAll(async () => {
  connections.destroy();
  await coordinator.stop();
  const rows = Object.entries(tally).map(([name, seen]) => ({ endpoint: name, inputs: sum(seen), ...seen }));
  console.log(`fuzzed with FUZZ_SEED=${SEED}`);
  if (process.env.FUZZ_RUNS) console.table(rows);
});
function count(name: string, status: number): void {
  const seen = tally[name] ?? {};
  tally[name] = { ...seen, [status]: (seen[status] ?? 0) + 1 };
}
const sum = (seen: Record<string, number>) => Object.values(seen).reduce((all, count) => all + count, 0);

/** A request that an endpoint may be sent. */
interface Input {
  path: string;
  body: string | undefined;
  headers: Record<string, string>;
}

function inputsOf({ path, params, query, flat, body, bodyOptional }: Endpoint, { known }: World): Arbitrary<Input> {
  const json = body ? arbitraryOf(body, known).map((value) => JSON.stringify(value)) : fc.constant(undefined);
  const texts = json.chain((text) =>
    text === undefined
      ? fc.constant(text)
      : fc.oneof({ weight: 30, arbitrary: fc.constant(text) }, { weight: 1, arbitrary: mangled(text) }),
  );
  return fc
    .record({
      ids: params ? arbitraryOf(params, known) : fc.constant({}),
      search: query
        ? // What may be in either place is refused in both.
          fc.oneof(
            { weight: flat ? 3 : 0, arbitrary: fc.constant({}) },
            { weight: 1, arbitrary: arbitraryOf(query, known) },
          )
        : fc.oneof({ weight: 9, arbitrary: fc.constant({}) }, { weight: 1, arbitrary: fc.dictionary(word, word) }),
      body: bodyOptional ? fc.option(texts, { nil: undefined }) : texts,
      strange: fc.option(word, { freq: 9 }),
      address: fc.ipV4(),
    })
    .map(({ ids, search, body, strange, address }) => ({
      path: path.replace(/\{(\w+)\}/g, (_, name: string) => inPath(ids, name)) + searchOf(search),
      body,
      headers: { 'x-forwarded-for': address, ...(strange === null ? {} : strangeHeaders(strange)) },
    }));
}

/** A part of a path; dots would be taken for steps in it, and nothing for another path. */
function inPath(ids: unknown, name: string): string {
  const value = (ids as Record<string, unknown> | null)?.[name];
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined');
  return encodeURIComponent(text.slice(0, 1_000).toWellFormed()).replace(/^\.*$/, 'dots');
}

function searchOf(search: unknown): string {
  if (typeof search !== 'object' || search === null) return '';
  const entries = Object.entries(search).map(([name, value]): [string, string] => [
    name.toWellFormed(),
    (typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).slice(0, 500).toWellFormed(),
  ]);
  const text = `?${new URLSearchParams(entries)}`;
  return text.length > 6_000 ? '?too=long' : text;
}

const strangeHeaders = (text: string) => {
  const value = text.replace(/[^\x20-\x7e]/g, '?').trim();
  return { traceparent: value, 'x-request-id': value, 'if-match': value, 'idempotency-key': value };
};

async function send(endpoint: Endpoint, { agent }: World, { path, body, headers }: Input): Promise<void> {
  const { principals, method } = endpoint;
  const credential = principals.includes('public')
    ? undefined
    : principals.includes('key')
      ? coordinator.adminKey
      : agent.token;
  // Which agent a token speaks for is known; to ask for another's is refused before anything else.
  const at = credential === agent.token ? path.replace(/agent_[0-9a-z]{26}/, agent.agentId) : path;
  const reply = await ask(coordinator.url + at, method, body, {
    ...headers,
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(credential === undefined ? {} : { authorization: `Bearer ${credential}` }),
  });
  count(`${method} ${endpoint.path}`, reply.status);
  // On a busy machine so many readers wait too long for their turn, and are told so.
  const isBusy = reply.status === 503 && reply.text.includes('"code":"overloaded"');
  if (reply.status >= 500 && !isBusy) throw new Error(`${reply.status} ${reply.text}`);
  if (reply.status >= 300) return void (await checkProblem(reply));
  const dry = new URL(coordinator.url + at).searchParams.get('dry_run') === 'true';
  expect(reply.status).toBe(dry ? 200 : (endpoint.status ?? 200));
  checkAnswer(endpoint, endpoint.lines ? linesOf(reply.text) : await reply.json());
}

const connections = new Agent({ keepAlive: true, maxSockets: AT_ONCE });

/** A request without the streams of `fetch`: they take longer than the coordinator. */
async function ask(url: string, method: string, body: string | undefined, headers: Record<string, string>) {
  const asked = request(url, { method, headers, agent: connections }).end(body);
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  const told = await text(answer);
  const get = (name: string) => answer.headers[name]?.toString() ?? null;
  return { status: answer.statusCode!, headers: { get }, text: told, json: async () => JSON.parse(told) };
}

/** What changes something, and what takes a query; the audit chain is not verified ten thousand times. */
const FUZZED = Object.entries(ENDPOINTS).filter(
  ([name, { method, query }]) => method !== 'GET' || (query !== undefined && name !== 'verifyAuditLogs'),
);

describe(`${RUNS} inputs for every endpoint, and no accident (FUZZ_SEED=${SEED})`, () => {
  test.each(FUZZED)('%s', { timeout: 60_000 + RUNS * 100 }, async (_, endpoint) => {
    const runs = endpoint.method === 'GET' ? RUNS / 4 : RUNS;
    for (let done = 0; done < runs; done += BATCH) {
      const world = await makeWorld(network, coordinator, done);
      const inputs = fc.sample(inputsOf(endpoint, world), { numRuns: Math.min(BATCH, runs - done), seed: SEED + done });
      // A poll that would wait for a minute is ended by the next one of its agent.
      const next = () => void world.agent.poll({ slots: 0, wait_ms: 1 }).catch(() => {});
      const ending = endpoint === ENDPOINTS.poll ? setInterval(next, 500) : undefined;
      await inParallel(inputs, AT_ONCE, (input) =>
        send(endpoint, world, input).catch((error: Error) => {
          const shown = JSON.stringify(input).slice(0, 4_000);
          throw new Error(`FUZZ_SEED=${SEED} ${endpoint.method} ${shown}: ${error.message}`, { cause: error });
        }),
      ).finally(() => clearInterval(ending));
    }
  });

  test('the coordinator does its work as before', async () => {
    await liftLimits(network);
    const enrollment_token = await network.enrol();
    const options = { url: coordinator.url, now: () => coordinator.clock.now() };
    const agent = await RawAgent.register(options, { enrollment_token, capabilities: ['afterwards'] });
    const task_id = await network.submit({ task_type: 'afterwards', input_data: { still: 'there' } });
    await agent.complete(await agent.take(), { done: true });
    await network.until(task_id, 'COMPLETED');
    expect((await fetch(`${coordinator.url}/readyz`)).status).toBe(200);
  });
});
