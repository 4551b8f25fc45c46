// @ts-check
// The beat thread: one a process, for all its agents. Beats go on while a handler keeps the main thread busy.
import { parentPort } from 'node:worker_threads';
import { createTransport } from '../protocol/transport.js';
import { Pulse } from './pulse.js';

/** @typedef {import('../protocol/transport.js').Transport} Transport */

/** @type {Map<number, Pulse>} */
const pulses = new Map();
/** @type {Map<string, Transport>} */
const transports = new Map();

/**
 * Agents of one coordinator that trust the same authorities share their connections; another coordinator has another clock.
 * @param {{ url: string, ca?: string }} join
 */
function transportFor({ url, ca }) {
  const of = JSON.stringify([url, ca]);
  const transport = transports.get(of) ?? createTransport({ ca });
  transports.set(of, transport);
  return transport;
}

parentPort?.on('message', (/** @type {import('./messages.ts').ToBeatThread} */ message) => {
  const { seat } = message;
  const pulse = pulses.get(seat);
  switch (message.type) {
    case 'join':
      pulses.set(
        seat,
        new Pulse(message, transportFor(message), (report) => parentPort?.postMessage({ seat, ...report })),
      );
      break;
    case 'renew':
      pulse?.renew(message.refused);
      break;
    case 'rotate':
      pulse?.rotate(message.next_jwk);
      break;
    case 'runs':
      pulse?.runs(message);
      break;
    case 'part':
      pulse?.stop();
      pulses.delete(seat);
  }
});
