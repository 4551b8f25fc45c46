// What many agents cost that have nothing to do.
import { setTimeout as pause } from 'node:timers/promises';
import { percentile } from '../figures.mjs';

const BEATS_PER_SECOND = 10_000;
const SETTLE_MS = 3_000;

const beats = {
  name: 'beats',
  title: '10,000 committed heartbeats/s of 100,000 agents, connections kept alive',
  among: ['muster', 'hono'],
  rounds: 1,
  /** On a slow machine HTTP alone may take more of a core than beats should. */
  compared: ['beats/s', 'process %'],
  goals: [
    { figure: 'process %', atMost: { floor: 80, aim: 50 } },
    { figure: 'server %', atMost: { floor: 20, aim: 10 } },
  ],
  /** The first beat of each agent is not counted: it has its token verified. */
  async round(subject, { agents, connections, seconds }, stage) {
    const fleet = { fleet: agents, connections };
    const opened = await subject.openBeats(fleet);
    const [before, server] = [await subject.cpu(), stage.serverCpu()];
    const { ms, took } = await subject.beats({ count: BEATS_PER_SECOND * seconds, perSecond: BEATS_PER_SECOND });
    /** In percent of a core, at the pace that was wanted: what was not reached is not for free. */
    const share = (us) => ((us / took.length) * BEATS_PER_SECOND) / 10_000;
    const figures = {
      'beats/s': (took.length * 1_000) / ms,
      'process %': share((await subject.cpu()).process - before.process),
      'server %': share(stage.serverCpu() - server),
      'p50 ms': percentile(took, 0.5),
      'p99 ms': percentile(took, 0.99),
      'first beats/s': (agents * 1_000) / opened,
    };
    await subject.rest();
    return figures;
  },
};

const parked = {
  name: 'parked',
  title: 'polls that wait, a connection each',
  among: ['muster', 'hono'],
  rounds: 1,
  goals: [{ figure: 'MB at 15,000', atMost: { floor: 400, aim: 300 } }],
  async round(subject, { polls }) {
    const before = await subject.residentMb();
    const waiting = await subject.park({ count: polls, settleMs: SETTLE_MS });
    const now = await subject.residentMb();
    // Where not so many were let in, as if they had been.
    const figures = {
      'MB at 15,000': before + ((now - before) * 15_000) / waiting,
      MB: now,
      'MB before': before,
      waiting,
    };
    await subject.rest();
    // So many connections are not gone in a moment.
    await pause(SETTLE_MS);
    return figures;
  },
};

export const fleetRows = [parked, beats];
