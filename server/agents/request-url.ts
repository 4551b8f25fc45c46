/** By any of these names a caller on this machine finds what listens on one of its loopback addresses, or on all. */
const LOCAL = ['localhost', '127.0.0.1', '[::1]'];
const ALL = ['0.0.0.0', '[::]'];

/**
 * Whether an `htu` names a path at a base URL, after RFC 3986's normalisation (RFC 9449, section 4.3): the case of scheme
 * and host, the default port, percent-encodings of what needs none. `listening`: the base is where the coordinator listens.
 * What the request says of its host is not asked: whoever sends it could say anything.
 */
export function isUrlOf(htu: string, path: string, base: string, listening: boolean): boolean {
  // A URL as RFC 9449 has it: no query, no fragment, no user; and none of the detours that lead to the same path.
  if (!/^https?:\/\/[^/?#@\\\s]+\/[\w.~!$&'()*+,;=:@%/-]*$/i.test(htu) || /\/(\.|%2e){1,2}(\/|$)/i.test(htu))
    return false;
  if (!URL.canParse(htu)) return false;
  const [wanted, at] = [new URL(htu), new URL(base)];
  if (normal(wanted.pathname) !== normal(path) || wanted.protocol !== at.protocol || wanted.port !== at.port)
    return false;
  return wanted.hostname === at.hostname || (listening && isHere(at.hostname) && LOCAL.includes(wanted.hostname));
}

const isHere = (hostname: string) => [...LOCAL, ...ALL].includes(hostname) || hostname.startsWith('127.');

/** Percent-encodings of unreserved characters decoded, the others in capitals. */
const normal = (path: string) =>
  path.replace(/%[\da-f]{2}/gi, (it) => {
    const character = String.fromCharCode(Number.parseInt(it.slice(1), 16));
    return /[\w.~-]/.test(character) ? character : it.toUpperCase();
  });
