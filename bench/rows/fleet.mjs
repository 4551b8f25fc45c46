// What many agents cost that have nothing to do.
import { percentile } from '../figures.mjs';

const BEATS_PER_SECOND = 10_000;

const beats = {
  name: 'beats',
  title: '10,000 committed heartbeats/s of 100,000 agents, connections kept alive',
  among: ['muster', 'hono'],
  rounds: 1,
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
    const share = (us) => us / ms / 10;
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
  title: '15,000 polls that wait, a connection each',
  among: ['muster', 'hono'],
  rounds: 1,
  goals: [{ figure: 'MB', atMost: { floor: 400, aim: 300 } }],
  async round(subject, { polls }) {
    const before = await subject.residentMb();
    const waiting = await subject.park({ count: polls, settleMs: 3_000 });
    const figures = { MB: await subject.residentMb(), 'MB before': before, waiting };
    await subject.rest();
    return figures;
  },
};

export const fleetRows = [parked, beats];
