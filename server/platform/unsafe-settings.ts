import { BlockList, isIP } from 'node:net';

/** What stands where a secret should be put: of ten million keys made at random hardly one holds any of these. */
const PLACEHOLDER =
  /example|change[-_]?me|placeholder|(?<![0-9a-z])your[-_]|replace[-_]|secret|passwor[dt]|12345678|abcdefg|[<>]/i;
/** Fewer different characters than this are no secret, however many there are of them. */
const MIN_DISTINCT = 6;
/** The Ed25519 key of RFC 8037, appendix A, private half and public: everybody has it. */
const PRINTED_KEY = ['nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A', '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'];
const OWN_KEY = 'allowed is a key of your own, or none, and one is made and kept in the data folder';

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** Whether only this machine can reach an address. A name is taken for what it may become, but for `localhost`. */
export function isLoopback(host: string): boolean {
  const family = isIP(host);
  return family ? LOOPBACK.check(host, family === 6 ? 'ipv6' : 'ipv4') : host.toLowerCase() === 'localhost';
}

/** Settings that are well formed and must not be used, each with its name and what is allowed. */
export function unsafeSettings(env: {
  MUSTER_HOST: string;
  MUSTER_TLS_CERT?: string | undefined;
  MUSTER_BEHIND_PROXY: boolean;
  MUSTER_ADMIN_KEY?: string | undefined;
  MUSTER_SIGNING_KEY?: string | undefined;
}): string[] {
  const found: string[] = [];
  if (!isLoopback(env.MUSTER_HOST) && !env.MUSTER_TLS_CERT && !env.MUSTER_BEHIND_PROXY)
    found.push(
      `MUSTER_HOST: ${JSON.stringify(env.MUSTER_HOST)} is not allowed without TLS, keys would travel in the clear; ` +
        'allowed is a loopback address, or MUSTER_TLS_CERT and MUSTER_TLS_KEY, or MUSTER_BEHIND_PROXY=true where a proxy in front terminates TLS',
    );
  if (env.MUSTER_ADMIN_KEY && isExampleKey(env.MUSTER_ADMIN_KEY))
    found.push(`MUSTER_ADMIN_KEY: its value (not shown) is not allowed, it looks like an example; ${OWN_KEY}`);
  if (PRINTED_KEY.some((part) => env.MUSTER_SIGNING_KEY?.includes(part)))
    found.push(
      `MUSTER_SIGNING_KEY: its value (not shown) is not allowed, it is the key printed in RFC 8037; ${OWN_KEY}`,
    );
  return found;
}

const isExampleKey = (key: string) =>
  PLACEHOLDER.test(key) || new Set(key.replace(/^mk_admin_/, '')).size < MIN_DISTINCT;
