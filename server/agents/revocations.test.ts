import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Clock, createClock } from '../platform/clock.ts';
import type { News, Notifier } from '../platform/notify.ts';
import { createRevocations } from './revocations.ts';

describe('what a coordinator knows of tokens that are over', () => {
  let it: Rows;
  let clock: Clock;
  beforeAll(async () => {
    it = await openRows();
    clock = createClock(it.sql);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const start = async () => {
    let hear = (_: News['epoch']) => {};
    const notifier = {
      on: (_: string, heard: typeof hear) => {
        hear = heard;
      },
    } as unknown as Notifier;
    await clock.sync();
    const revocations = createRevocations({ db: it.db, clock, notifier });
    return { revocations, hear: (news: News['epoch']) => hear(news) };
  };
  const move = (agentId: string, epoch: number) =>
    it.sql`update agents set token_epoch = ${epoch}, token_epoch_at = (select muster_now()) where agent_id = ${agentId}`;

  test('is read from the rows, for as long as it matters', async () => {
    const [moved, still] = [await it.agent(), await it.agent()];
    await move(moved.agent_id, 2);
    const { revocations } = await start();
    await revocations.refresh();
    expect([0, 1, 2, 3].map((epoch) => revocations.isOver(moved.agent_id, epoch))).toEqual([true, true, false, false]);
    expect(revocations.isOver(still.agent_id, 0)).toBe(false);
    await it.clock.advance('12m');
    await clock.sync();
    await revocations.refresh();
    expect(revocations.isOver(moved.agent_id, 1)).toBe(false);
  });

  test('does not go back to what was read a moment before the news', async () => {
    const agent = await it.agent();
    const { agent_id } = agent;
    await move(agent_id, 1);
    const { revocations, hear } = await start();
    hear({ agent_id, token_epoch: 2, revoked: true });
    await revocations.refresh();
    expect([revocations.isOver(agent_id, 1), revocations.isRevoked(agent_id)]).toEqual([true, true]);
    // Nor by news that are overtaken.
    hear({ agent_id, token_epoch: 1, revoked: false });
    expect([revocations.isOver(agent_id, 1), revocations.isRevoked(agent_id)]).toEqual([true, true]);
  });
});
