import { type LookupAddress, type LookupOptions, lookup } from 'node:dns';
import { BlockList, isIPv4, isIPv6, type LookupFunction } from 'node:net';
import { TaskError } from '../handler.ts';

/** Addresses that are not the public internet: this machine, its network, its cloud's metadata, and what nobody routes. */
const denied = new BlockList();
for (const [net, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  denied.addSubnet(net, prefix, 'ipv4');
}
for (const [net, prefix] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['3fff::', 20],
] as const) {
  denied.addSubnet(net, prefix, 'ipv6');
}
/** Of IPv6 only this is global unicast; everything outside is denied without being named. */
const global6 = new BlockList();
global6.addSubnet('2000::', 3, 'ipv6');

/** Whether an address is public. An IPv4 address that hides in an IPv6 one is judged as itself. */
export function isPublicAddress(address: string): boolean {
  if (isIPv4(address)) return !denied.check(address, 'ipv4');
  if (!isIPv6(address) || address.includes('%')) return false;
  const hidden = hiddenIPv4(address);
  if (hidden) return isPublicAddress(hidden);
  return global6.check(address, 'ipv6') && !denied.check(address, 'ipv6');
}

/** The IPv4 address inside a v4-mapped, NAT64 or 6to4 address. */
function hiddenIPv4(address: string): string | undefined {
  const words = wordsOf(address);
  const prefix = words
    .slice(0, 6)
    .map((word) => word.toString(16))
    .join(':');
  if (prefix === '0:0:0:0:0:ffff' || prefix === '64:ff9b:0:0:0:0') return dotted(words[6]!, words[7]!);
  if (words[0] === 0x2002) return dotted(words[1]!, words[2]!);
  return undefined;
}

/** The eight words of an IPv6 address; URL has already rewritten a dotted tail and made `::` the only gap. */
function wordsOf(address: string): number[] {
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail] = plain.split('::');
  const words = (part: string) => (part ? part.split(':').map((word) => Number.parseInt(word, 16)) : []);
  const [front, back] = [words(head), words(tail ?? '')];
  return [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back];
}

const dotted = (high: number, low: number): string => [high >> 8, high & 255, low >> 8, low & 255].join('.');

/** A request that would leave where this agent lets tasks go. */
export const egressDenied = (message: string): TaskError =>
  new TaskError(message, { code: 'egress-denied', fault: 'task', retryable: false });

/** Refuses a URL by its scheme, or by its host where that is an address, which no lookup would see. */
export function checkUrl(url: URL, allowPrivate: boolean): void {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw egressDenied(`${url.protocol} is not http or https`);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const isAddress = isIPv4(host) || isIPv6(host);
  if (isAddress && !allowPrivate && !isPublicAddress(host)) throw egressDenied(`${host} is not a public address`);
}

/**
 * A lookup that answers only if every address of a name is public. The connection is made to what was checked, so a name
 * that changes its mind between check and use gains nothing.
 */
export const publicLookup: LookupFunction = (hostname, options: LookupOptions, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    if (error) return callback(error, '', 0);
    const hit = addresses.find(({ address }) => !isPublicAddress(address));
    if (hit) return callback(egressDenied(`${hostname} is at ${hit.address}, which is not a public address`), '', 0);
    if (options.all) return callback(null, addresses);
    const [first] = addresses;
    callback(null, first!.address, first!.family);
  });
};
