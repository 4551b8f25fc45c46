import {
  AGENT_MODE,
  isTerminal,
  type Machine,
  OUTCOMES,
  RUN,
  SCHEDULE,
  STANDING,
  states,
  statesAllowing,
  TASK,
} from '@muster/shared/lifecycle';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const MACHINES: Record<string, Machine> = { TASK, RUN, AGENT_MODE, STANDING, SCHEDULE };
const ended = (machine: Machine) => states(machine).filter((state) => Object.keys(machine[state]!).length === 0);

describe('the machines', () => {
  test.each(Object.entries(MACHINES))(
    '%s leads to its own states only, and out of nothing to nowhere',
    (_, machine) => {
      const known = states(machine);
      const targets = Object.values(machine).flatMap((events) => Object.values(events).flat());
      expect(known).toEqual(expect.arrayContaining(targets));
      for (const state of known.slice(1)) expect(targets, `${state} can be come to`).toContain(state);
      for (const events of Object.values(machine))
        for (const to of Object.values(events)) expect(to.length).toBeGreaterThan(0);
    },
  );

  test('what is allowed from where', () => {
    expect(statesAllowing(TASK, 'cancel')).toEqual(['BLOCKED', 'PENDING', 'ASSIGNED', 'RUNNING', 'VERIFYING']);
    expect(statesAllowing(TASK, 'retry')).toEqual(['FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED']);
    expect(statesAllowing(AGENT_MODE, 'revoke')).toEqual(['OPEN', 'CORDONED', 'DRAINING']);
    expect(statesAllowing(SCHEDULE, 'delete')).toEqual(['ACTIVE', 'PAUSED', 'ENDED']);
    expect(statesAllowing(SCHEDULE, 'nothing')).toEqual([]);
    expect(states(TASK).filter(isTerminal)).toEqual([
      'COMPLETED',
      'FAILED',
      'TIMED_OUT',
      'CANCELLED',
      'EXPIRED',
      'SKIPPED',
    ]);
    expect(OUTCOMES).toEqual(ended(RUN).filter((state) => state !== 'LOST'));
  });
});

describe('the CHECK constraints', () => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows();
  });
  afterAll(() => it.close());

  test.each([
    ['agents_mode', states(AGENT_MODE)],
    ['integrity_standing', states(STANDING)],
    ['schedules_status', states(SCHEDULE)],
    ['runs_status', ended(RUN)],
    ['tasks_closed_status', ['CANCELLED', 'EXPIRED', 'TIMED_OUT', 'FAILED', 'SKIPPED']],
  ])('%s allows what the machine has', async (name, allowed) => {
    const [row] = await it.sql<
      { text: string }[]
    >`select pg_get_constraintdef(oid) as text from pg_constraint where conname = ${name}`;
    expect([...row!.text.matchAll(/'(\w+)'::text/g)].map((match) => match[1]!).sort()).toEqual([...allowed].sort());
  });
});
