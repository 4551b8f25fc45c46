import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';

/** Where the caller is. A proxy adds whom it heard to the end of X-Forwarded-For, some with the port; what stands before may be made up. */
export function addressOf(incoming: IncomingMessage, behindProxy: boolean): string | undefined {
  const { remoteAddress } = incoming.socket;
  const heard = behindProxy ? incoming.headers['x-forwarded-for']?.toString().split(',').at(-1)?.trim() : undefined;
  if (!heard) return remoteAddress;
  const plain = heard.replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1').replace(/^\[(.*)\](:\d+)?$/, '$1');
  return isIP(plain) ? plain : remoteAddress;
}
