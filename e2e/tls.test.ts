import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { fileURLToPath } from 'node:url';
import { createAgent } from '@muster/agent';
import { listAgents } from '@muster/shared/contract/agents';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { createTask, getTask } from '@muster/shared/contract/tasks';
import { eventually } from '@muster/testing';
import { expect, onTestFinished, test } from 'vitest';
import { checkedClient } from './fixtures/checked-client.ts';
import { scratch, supervise } from './fixtures/network.ts';

/** Good for a hundred years and for this machine only: `openssl req -x509 … -addext subjectAltName=DNS:localhost,IP:127.0.0.1`. */
const CERT = fileURLToPath(new URL('fixtures/localhost-cert.pem', import.meta.url));
const KEY = fileURLToPath(new URL('fixtures/localhost-key.pem', import.meta.url));

/** Node's own fetch takes no authority of one's own. */
const fetchTrusting =
  (ca: string): typeof fetch =>
  (url, { method, headers, body } = {}) =>
    new Promise((resolve, reject) => {
      const sent = request(String(url), { method, headers: headers as Record<string, string>, ca }, async (reply) => {
        const chunks: Buffer[] = [];
        for await (const chunk of reply) chunks.push(chunk);
        const answered = Object.entries(reply.headers).map(
          ([name, value]) => [name, String(value)] as [string, string],
        );
        resolve(new Response(Buffer.concat(chunks), { status: reply.statusCode!, headers: answered }));
      });
      sent.once('error', reject);
      sent.end(body as string | undefined);
    });

test('over TLS: an agent that trusts the certificate registers, works and leaves; one that does not gets nowhere', async () => {
  const supervisor = supervise();
  const coordinator = await supervisor.coordinator({ env: { MUSTER_TLS_CERT: CERT, MUSTER_TLS_KEY: KEY } });
  expect(coordinator.url).toMatch(/^https:/);
  expect(coordinator.readyLine.url).toBe(coordinator.url);
  const ca = readFileSync(CERT, 'utf8');
  const admin = checkedClient({ url: coordinator.url, credential: coordinator.adminKey, fetch: fetchTrusting(ca) });
  await expect(fetch(`${coordinator.url}/livez`)).rejects.toThrow();
  await expect(fetch(coordinator.url.replace('https', 'http'))).rejects.toThrow();

  const { enrollment_token } = await admin(createEnrollmentToken, { body: {} });
  const agent = await supervisor.agent({ url: coordinator.url, enrollment_token, args: ['--ca', CERT] });
  const { task_id } = await admin(createTask, {
    body: { task_type: 'word-count', input_data: { text: 'safe and sound' } },
  });
  await eventually(async () => {
    const task = await admin(getTask, { params: { task_id } });
    expect(task).toMatchObject({ status: 'COMPLETED', result_data: { words: 3 } });
  });
  await agent.waitForLine(({ event }) => event === 'beat');
  expect(await agent.stop()).toBe(0);

  const refusal = await new Promise<string>((resolve) => {
    const trustless = createAgent({
      url: coordinator.url,
      enrollment_token,
      key_dir: scratch('trustless'),
      handlers: { echo: () => null },
    });
    onTestFinished(() => trustless.stop());
    trustless.on('unreachable', ({ message }) => resolve(message));
    trustless.start().then(
      () => resolve('it started'),
      (error) => resolve(String(error)),
    );
  });
  expect(refusal).toMatch(/certificate|self.signed/i);
  expect((await admin(listAgents, {})).data).toHaveLength(1);
});
