import { createAgent } from '@muster/agent';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { afterEach, describe, expect, test } from 'vitest';
import { startCoordinator, type TestCoordinator, type TestCoordinatorOptions } from './coordinator.ts';
import { scratchFolder } from './scratch.ts';

const running: TestCoordinator[] = [];
afterEach(async () => {
  for (const coordinator of running.splice(0).reverse()) await coordinator.stop();
});

async function start(options?: TestCoordinatorOptions): Promise<TestCoordinator> {
  const coordinator = await startCoordinator(options);
  running.push(coordinator);
  return coordinator;
}

const readiness = async ({ url }: { url: string }) => (await fetch(`${url}/readyz`)).status;

describe('a coordinator for a test', () => {
  test('answers on a port of its own, with a database of its own', async () => {
    const [one, two] = await Promise.all([start(), start()]);
    expect([await readiness(one), await readiness(two)]).toEqual([200, 200]);
    expect(one.url).not.toBe(two.url);
    expect(one.databaseUrl).not.toBe(two.databaseUrl);
  });

  test('leaves no database when it is stopped', async () => {
    const kept = await start();
    const gone = await startCoordinator();
    await gone.stop();
    const name = new URL(gone.databaseUrl).pathname.slice(1);
    expect(await kept.sql`select 1 from pg_database where datname = ${name}`).toEqual([]);
    await expect(fetch(gone.url)).rejects.toThrow();
  });

  test('shares a database with another, which stays when one of them stops', async () => {
    const one = await start();
    const two = await startCoordinator({ databaseUrl: one.databaseUrl });
    expect(await readiness(two)).toBe(200);
    await two.stop();
    expect(await readiness(one)).toBe(200);
  });

  test('goes by the clock of the test', async () => {
    const { clock, sql } = await start();
    const before = await clock.now();
    await clock.advance('3d');
    expect((await clock.now()).getTime() - before.getTime()).toBeGreaterThanOrEqual(3 * 86_400_000);
    const [network] = await sql`select muster_now() - beat_at < '5 s' as beating from cluster`;
    expect(network).toEqual({ beating: true });
  });

  test('begins at the time it is given, be it past or to come', async () => {
    for (const now of ['2019-12-31T23:59:00Z', '2040-02-29T12:00:00Z']) {
      const { clock, url } = await start({ now });
      expect((await clock.now()).getTime() - Date.parse(now)).toBeLessThan(30_000);
      expect(await readiness({ url })).toBe(200);
    }
  });

  test('tells its time with its answers, and agents go by it whatever theirs is', async () => {
    const { clock, url, admin } = await start();
    await clock.advance('3d');
    for (const path of ['/livez', '/nowhere', '/aitp/tasks']) {
      const said = Date.parse((await fetch(url + path)).headers.get('date')!);
      expect(Math.abs(said - (await clock.now()).getTime()), path).toBeLessThan(5_000);
    }
    const folder = scratchFolder('sdk-agent');
    const { enrollment_token } = await admin(createEnrollmentToken, { body: {} });
    const options = { url, enrollment_token, key_dir: folder.path, handlers: { echo: () => null } };
    const agent = createAgent(options);
    try {
      await agent.start();
      await agent.stop();
      // A new life signs anew.
      const again = createAgent(options);
      await again.start();
      await again.stop();
    } finally {
      await agent.stop();
      folder.remove();
    }
  });

  test('on the oldest Postgres the product runs on', async () => {
    const { sql, url } = await start({ postgres: 15 });
    expect((await sql`show server_version_num`)[0]!.server_version_num).toMatch(/^15/);
    expect(await readiness({ url })).toBe(200);
  });

  test('that cannot start says why and leaves nothing', async () => {
    await expect(startCoordinator({ env: { MUSTER_PORT: 'none' } })).rejects.toThrow(/MUSTER_PORT/);
  });
});
